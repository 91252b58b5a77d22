"""From a model file and the settings to a decoder: everything that is checked and decided before, in the order in which it is cheapest to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.monitoring.gpu import Gpu, gpus
from suite.monitoring.model_memory import ModelMemory
from suite.serving import fit, trial
from suite.serving.catalog import ProfileModel
from suite.serving.held import Held, look
from suite.serving.parameters import Parameters
from suite.serving.weights import Place, Weights, check, licensed
from suite.settings import Settings

if TYPE_CHECKING:
    from suite.serving.child import ChildDecoder
    from suite.serving.decoder import Decoder


@dataclass(frozen=True)
class Prepared:
    """A file that passed its checks and its trial load, and how it is to be loaded; `stamp` is the file's size and time when it was checked."""

    place: Place
    weights: Weights
    parameters: Parameters
    stamp: tuple[int, int]

    @property
    def model(self) -> str:
        """The catalogue name, or the file's stem."""
        return _name(self.place, self.weights)


@dataclass(frozen=True)
class Loaded:
    """A model in memory; without its decoder, the memo of one that was."""

    prepared: Prepared
    fixed: dict[str, Any] = field(repr=False)
    decoder: Decoder | ChildDecoder | None = None
    supervised: bool = False
    held: Held | None = field(default=None, repr=False)

    def facts(self) -> dict[str, Any]:
        """Which file it is and how it was loaded; `intact`: it has not changed since; `pid` is its own process, None in the kernel."""
        return {**self.fixed, "intact": stamp(self.prepared.place.path) == self.prepared.stamp, "pid": getattr(self.decoder, "pid", None)}

    def memory(self, server: str, cards: Sequence[Gpu]) -> list[ModelMemory]:
        """What it takes of each memory, planned and seen; `cards` are as they are now."""
        pid = getattr(self.decoder, "pid", None)  # of a process of its own
        return self.held.rows(server, self.prepared.model, pid, cards) if self.held else []


def prepare(place: Place, settings: Settings, profile: ProfileModel, role: str, cache_dir: Path,
            room: Callable[[str], None] = lambda _model: None) -> Prepared:
    """Check the file, its licence and how it fits, `room` being made for it before its trial load. Raises WeightsError, Denied."""
    seen = stamp(place.path)  # before it is read: a file that changes meanwhile is not the one that was checked
    weights = check(place)
    licensed(place, weights, settings.stage, settings.licence_waiver)
    room(_name(place, weights))
    parameters = decide(weights, settings, profile, role)
    trial.ensure(weights, parameters, cache_dir)
    return Prepared(place, weights, parameters, seen)


def decide(weights: Weights, settings: Settings, profile: ProfileModel, role: str) -> Parameters:
    """The settings over the profile; the context is never beyond what the model was made for, and the cache holds at least one conversation.

    Where both leave the layers on the card open, as many as fit into the memory that is free on it at this moment.
    """
    n_ctx = settings.llama_ctx or profile.n_ctx
    trained = weights.meta.get(f"{weights.meta['general.architecture']}.context_length")
    if isinstance(trained, int) and trained > 0:
        n_ctx = min(n_ctx, trained)
    layers = getattr(settings, f"{role}_n_gpu_layers")
    if layers < 0:
        layers = profile.n_gpu_layers
    wanted = Parameters(
        n_ctx=n_ctx, slots=settings.llama_slots or profile.slots, kv_tokens=max(n_ctx, settings.llama_kv_tokens or profile.kv_tokens),
        n_gpu_layers=layers, n_threads=threads(settings.llama_threads), n_batch=settings.llama_batch,
        kv_type=settings.llama_kv_type, queue=settings.llama_queue)
    return replace(wanted, n_gpu_layers=fit.layers(weights, wanted, next(iter(gpus()), None))) if layers == fit.AUTO else wanted


def settle(prepared: Prepared, settings: Settings, profile: ProfileModel, role: str, cache_dir: Path) -> Prepared:
    """The same once more, for when memory has become free since: more layers may fit on the card, and are tried. Raises WeightsError."""
    parameters = decide(prepared.weights, settings, profile, role)
    if parameters == prepared.parameters:
        return prepared
    trial.ensure(prepared.weights, parameters, cache_dir)
    return replace(prepared, parameters=parameters)


def load(name: str, prepared: Prepared, settings: Settings) -> Loaded:
    """Load it, in this process or in one of its own. Raises WeightsError."""
    weights, s = prepared.weights, settings
    defaults = {"temperature": s.llama_temp, "top_p": s.llama_top_p, "repeat_penalty": s.llama_repeat_penalty}
    supervised = s.serving_isolation == "process"
    if supervised:
        from suite.serving.child import ChildDecoder as Kind
    else:
        # only now: a llama.cpp built for another processor dies of an illegal instruction, and the trial has shown that this one does not
        from suite.serving.decoder import SHORT_SWITCH_S
        from suite.serving.decoder import Decoder as Kind

        if sys.getswitchinterval() > SHORT_SWITCH_S:
            sys.setswitchinterval(SHORT_SWITCH_S)
    before = look(prepared.parameters, not supervised)
    decoder = Kind(name, prepared.model, weights, prepared.parameters, defaults)
    held = Held.between(weights, prepared.parameters, before, look(prepared.parameters, not supervised))
    entry = weights.entry
    fixed = {
        "id": prepared.model, "path": str(weights.path), "file": weights.path.name, "bytes": weights.bytes, "sha256": weights.sha256,
        "verified": True if entry else None, "smoke": weights.smoke,
        "licence": entry.licence if entry else str(weights.meta.get("general.license", "")), **decoder.facts(),
        "n_batch": prepared.parameters.n_batch, "queue": prepared.parameters.queue,
    }
    return Loaded(prepared, fixed, decoder, supervised, held)


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; zeros for a file that is not there."""
    try:
        seen = os.stat(path)
    except OSError:
        return 0, 0
    return seen.st_size, seen.st_mtime_ns


def threads(wanted: int) -> int:
    """Threads to decode with: `wanted`, or when 0 one less than the cores this process may use (with all of them any other work stalls decoding)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, cores - 1)


def _name(place: Place, weights: Weights) -> str:
    entry = weights.entry or place.entry
    return entry.name if entry else weights.path.stem
