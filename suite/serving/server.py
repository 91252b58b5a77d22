"""A model server: one role, one model file, loaded and answering, or the reason why not."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import NotReady, SuiteError
from suite.monitoring.probe import State, bad, good
from suite.serving import trial
from suite.serving.catalog import ProfileModel
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request, checked
from suite.serving.weights import Place, Weights, check, locate
from suite.settings import Settings

if TYPE_CHECKING:
    from suite.serving.decoder import Decoder

RETRY_S = 5


class ModelServer:
    """One of the two model servers. `role` is chat or code; `start()` never raises for a bad model, it remembers why it is not ready."""

    def __init__(self, name: str, role: str, settings: Settings, models_dir: Path, cache_dir: Path, profile: ProfileModel) -> None:
        self.name, self.role, self.settings = name, role, settings
        self.models_dir, self.cache_dir, self.profile = models_dir, cache_dir, profile
        self.load_seconds = 0.0
        self.restarts = 0  # loads after the first, other than swaps that were asked for
        self._loads = 0
        self._decoder: Decoder | None = None
        self._why_not: SuiteError = NotReady(f"{name} has not been started; call start().")
        self._state = threading.RLock()

    def start(self) -> None:
        """Load the model; what goes wrong is kept, and said by ready() and by every request."""
        try:
            self.load()
        except SuiteError as error:
            self._why_not = error

    def close(self) -> None:
        """Unload the model."""
        self.unload()

    def load(self) -> None:
        """Check the file, try it in a child process once, load it here. Raises WeightsError with what is wrong and what to do."""
        with self._state:
            if self._decoder is None:
                self._decoder = self._loaded(self._place())
                self.restarts, self._loads = self._loads, self._loads + 1

    def unload(self) -> None:
        """Stop what is being decoded and give the memory back; requests then raise NotReady."""
        with self._state:
            decoder, self._decoder = self._decoder, None
            self._why_not = NotReady(f"{self.name} was unloaded; load it again.")
            if decoder is not None:
                decoder.close()

    def swap(self, path: str | Path) -> None:
        """Serve another model file: a catalogue name, a file of the models directory, or a path.

        The old one serves until the new one has passed its checks and its trial load; requests that it accepted are finished. Raises
        WeightsError when the new file is bad, and then the old one goes on.
        """
        with self._state:
            place = locate(self.role, str(path), self.profile, self.models_dir)
            self._checked(place)
            decoder, self._decoder = self._decoder, None
            self._why_not = NotReady(f"{self.name} is changing to {place.path.name}; ask again in a moment.")
            if decoder is not None:
                decoder.close(drain=True)
            try:
                self._decoder = self._loaded(place)
            except SuiteError as error:
                self._why_not = error
                raise

    def complete(self, request: Request) -> Reply:
        """The whole reply. Raises BadRequest, ContextOverflow, NotReady, or UpstreamError when decoding fails or times out."""
        return self.stream(request).read()

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece. Raises like `complete`; what goes wrong later is raised while iterating."""
        request = checked(request)
        decoder = self._decoder
        if decoder is None:
            why = self._why_not
            raise NotReady(why.message, part=self.name, retry_after=RETRY_S) from why
        return decoder.stream(request)

    def live(self) -> State:
        """Is there a server, loaded or not?"""
        return good(name=self.name)

    def ready(self) -> State:
        """Is a model loaded?"""
        decoder = self._decoder
        if decoder is None:
            return bad(self._why_not.message, retry_after=RETRY_S, part=self.name)
        return good(model=decoder.model, smoke=decoder.weights.smoke, n_ctx=decoder.n_ctx, busy=decoder.busy)

    def deep(self) -> State:
        """Does it generate a token?"""
        try:
            reply = self.complete(Request.of("1 + 1 = ?", max_tokens=1, temperature=0.0, seed=0, timeout=self.settings.llm_request_timeout))
        except SuiteError as error:
            return bad(error.message, part=self.name)
        if reply.tokens < 1:
            return bad(f"{self.name} ended its reply before the first token; check the model file and its chat template.", part=self.name)
        return good(model=reply.model, tokens=reply.tokens, seconds=reply.seconds, tokens_per_s=reply.tokens_per_s, smoke=reply.smoke)

    def expected(self) -> dict[str, str]:
        """What settings and profile ask this server to run: `model` (catalogue name or empty), `file`, `path`, `sha256` (empty when unpinned)."""
        try:
            place = self._place()
        except SuiteError:
            return {"model": self.profile.model, "file": "", "path": "", "sha256": ""}
        entry = place.entry
        return {"model": entry.name if entry else "", "file": place.path.name, "path": str(place.path), "sha256": entry.sha256 if entry else ""}

    def info(self) -> dict[str, Any]:
        """What is loaded: id, role, path, file, bytes, sha256, verified (None where nobody pinned the hash), n_ctx, threads, speed, counts."""
        decoder = self._decoder
        if decoder is None:
            return {"id": "", "name": self.name, "role": self.role, "loaded": False, "reason": self._why_not.message}
        weights, entry = decoder.weights, decoder.weights.entry
        return {
            "id": decoder.model, "name": self.name, "role": self.role, "loaded": True, "path": str(weights.path), "file": weights.path.name,
            "bytes": weights.bytes, "sha256": weights.sha256, "verified": True if entry else None, "smoke": weights.smoke,
            "licence": entry.licence if entry else str(weights.meta.get("general.license", "")), "n_ctx": decoder.n_ctx,
            "n_threads": decoder.n_threads, "n_gpu_layers": decoder.n_gpu_layers, "load_seconds": self.load_seconds, "busy": decoder.busy,
            "requests": decoder.requests, "tokens": decoder.tokens, "tokens_per_s": decoder.tokens_per_s,
        }

    def _place(self) -> Place:
        return locate(self.role, getattr(self.settings, f"{self.role}_model"), self.profile, self.models_dir)

    def _parameters(self, weights: Weights) -> tuple[int, int]:
        """Context in tokens (never beyond what the model was made for) and layers on the GPU."""
        n_ctx = self.settings.llama_ctx or self.profile.n_ctx
        trained = weights.meta.get(f"{weights.meta['general.architecture']}.context_length")
        layers = getattr(self.settings, f"{self.role}_n_gpu_layers")
        return min(n_ctx, trained) if isinstance(trained, int) and trained > 0 else n_ctx, self.profile.n_gpu_layers if layers < 0 else layers

    def _checked(self, place: Place) -> Weights:
        weights = check(place)
        trial.ensure(weights, *self._parameters(weights), self.cache_dir)
        return weights

    def _loaded(self, place: Place) -> Decoder:
        began = time.monotonic()
        weights = self._checked(place)
        # only now: a llama.cpp built for another processor dies of an illegal instruction, and the trial has shown that this one does not
        from suite.serving import decoder

        n_ctx, layers = self._parameters(weights)
        entry = weights.entry or place.entry
        s = self.settings
        defaults = {"temperature": s.llama_temp, "top_p": s.llama_top_p, "repeat_penalty": s.llama_repeat_penalty}
        loaded = decoder.Decoder(self.name, entry.name if entry else weights.path.stem, weights, n_ctx, layers, threads(s.llama_threads),
                                 s.llama_batch, defaults)
        if sys.getswitchinterval() > decoder.SHORT_SWITCH_S:
            sys.setswitchinterval(decoder.SHORT_SWITCH_S)
        self.load_seconds = time.monotonic() - began
        return loaded


def threads(wanted: int) -> int:
    """Threads to decode with: `wanted`, or when 0 one less than the cores this process may use (with all of them any other work stalls decoding)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, cores - 1)
