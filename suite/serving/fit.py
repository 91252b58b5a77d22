"""Plans memory before anything is loaded: which models fit together on a card and in the machine, and how many layers of each go onto the card."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from suite.errors import BadRequest
from suite.monitoring.gpu import Gpu
from suite.serving.catalog import CatalogModel
from suite.serving.parameters import Parameters
from suite.serving.weights import Weights

CEILING = 0.9  # of a memory, by all who use it together: beyond that, what others take in the meantime ends in an abort
AUTO = -1  # layers on the card: as many as fit
CACHE_BYTES = {"f16": 2.0, "q8_0": 34 / 32}  # per number that is kept for a token
DRIVER = 256 << 20  # what CUDA takes for itself in a process that uses a card
PER_WORD = 300  # bytes that llama.cpp keeps in memory for each word of a vocabulary
Q4_K, Q6_K = 144 / 256, 210 / 256  # bytes per weight: what a Q4_K_M file has for reading tokens, and for writing them
INNER = 6  # where a file's own figure is not known yet: the inner layer is at most so many times as wide as the model
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Memory:
    """A memory of `total` bytes, of which `free` can be had now; zeros where there is none."""

    total: int = 0
    free: int = 0

    @property
    def room(self) -> int:
        """What may still be taken: 90 % of all, less what others have."""
        return max(0, int(self.total * CEILING) - (self.total - self.free))


@dataclass(frozen=True)
class ModelSize:
    """What a model takes, in bytes: each of its `blocks` (layers), the matrix that `reads` tokens, what `writes` them (`tied`: the same matrix).

    `kept` is how many numbers each block keeps of a token; `vocabulary`, `width` and `inner` (width within a layer) are counts.
    """

    name: str
    blocks: tuple[int, ...]
    reads: int
    writes: int
    kept: tuple[int, ...]
    vocabulary: int
    width: int
    inner: int
    tied: bool = False

    @property
    def most(self) -> int:
        """All that can be put onto a card: the blocks, and the output as one more."""
        return len(self.blocks) + 1

    @classmethod
    def of(cls, weights: Weights) -> ModelSize:
        """From the tensor table of a checked file."""
        arch = weights.meta["general.architecture"]

        def number(key: str, default: int) -> int:
            name = f"{arch}.{key}"
            value = max(weights.values[name], default=default) if name in weights.values else weights.meta.get(name, default)
            return value if isinstance(value, int) else default

        layers, heads = number("block_count", 1), number("attention.head_count", 1)
        width = number("embedding_length", 1)
        head = width // max(1, heads)
        length = number("attention.key_length", head) + number("attention.value_length", head)
        groups = weights.values.get(f"{arch}.attention.head_count_kv") or (number("attention.head_count_kv", heads),) * layers
        blocks, others = [0] * layers, {}
        for tensor in weights.table:
            first, _, rest = tensor.name.partition(".")
            layer = rest.partition(".")[0]
            if first == "blk" and layer.isdecimal() and int(layer) < layers:
                blocks[int(layer)] += tensor.bytes
            else:
                others[tensor.name] = tensor.bytes
        reads = others.get("token_embd.weight", 0)
        tied = "output.weight" not in others
        writes = sum(others.values()) - reads + (reads if tied else 0)
        return cls(weights.path.stem, tuple(blocks), reads, writes, tuple(group * length for group in groups)[:layers],
                   int(weights.meta.get("tokenizer.ggml.tokens", 0)), width, number("feed_forward_length", INNER * width), tied)

    @classmethod
    def of_entry(cls, entry: CatalogModel) -> ModelSize:
        """From the catalogue, before the file is there. Raises BadRequest for a model whose shape the catalogue does not know."""
        if not entry.layers:
            raise BadRequest(f"The catalogue does not know the shape of {entry.name}; pull it first, then its own header is read.", param="model")
        words = entry.vocabulary * entry.width
        reads = int(words * (Q6_K if entry.tied else Q4_K))
        writes = int(words * Q6_K)
        block = (entry.bytes - reads - (0 if entry.tied else writes)) // entry.layers
        return cls(entry.name, (block,) * entry.layers, reads, writes, (2 * entry.kv_heads * entry.head,) * entry.layers, entry.vocabulary,
                   entry.width, INNER * entry.width, entry.tied)

    def take(self, parameters: Parameters, layers: int) -> tuple[int, int]:
        """Bytes on the card and in the machine with `layers` layers on the card, counted as llama.cpp does: the output first, then from the last."""
        count = min(max(layers, 0), self.most)
        split = len(self.blocks) - max(0, count - 1)
        cache = [int(numbers * CACHE_BYTES[parameters.kv_type]) * (-(-parameters.kv_tokens // 256) * 256) for numbers in self.kept]
        machine = self.reads + sum(self.blocks[:split]) + sum(cache[:split]) + self.vocabulary * PER_WORD + self.step(parameters, count == 0)
        if count == 0:
            return 0, machine + (0 if self.tied else self.writes)
        return self.writes + sum(self.blocks[split:]) + sum(cache[split:]) + self.step(parameters, True), machine

    def step(self, parameters: Parameters, writes: bool) -> int:
        """Bytes that one step of computation needs: scores for all tokens of a batch where they are written, the widest layer, the mask."""
        return parameters.n_batch * (4 * ((self.vocabulary if writes else 0) + self.inner + 2 * self.width) + 2 * parameters.kv_tokens)


@dataclass(frozen=True)
class Part:
    """One model of a plan: its layers on the card out of `most` (the output counts as one), its bytes there and in the machine."""

    name: str
    n_gpu_layers: int
    most: int
    card: int
    machine: int


@dataclass(frozen=True)
class Plan:
    """The models in the order of their importance, what they take together, what there is room for, and a sentence about it."""

    parts: tuple[Part, ...]
    card: int
    machine: int
    card_room: int
    machine_room: int
    fits: bool
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def plan(models: Sequence[tuple[ModelSize, Parameters]], card: Memory, machine: Memory, processes: int = 1) -> Plan:
    """How these models lie in memory together, the most important first; `n_gpu_layers` AUTO means as many layers on the card as fit.

    `processes` is in how many processes they run: a driver takes memory in each that uses a card. A model gets layers on the card only once the
    one before it has all of its own there. The sentence says, where it does not fit, what would.
    """
    made = _laid_out(models, card, machine, processes)
    if made.fits:
        return made
    return dataclasses.replace(made, sentence=f"{made.sentence} {_remedy(models, card, machine, processes)}")


def layers(weights: Weights, parameters: Parameters, gpu: Gpu | None) -> int:
    """How many layers of a checked file go onto a card as it is now: all, some, or 0 without a card. For `n_gpu_layers` = AUTO."""
    if gpu is None:
        return 0
    return _most_layers(ModelSize.of(weights), parameters, Memory(gpu.total, gpu.free or 0).room - DRIVER)


def here(root: Path = CGROUPS) -> Memory:
    """The memory of this machine, or of the container where that has less; `root` is where the kernel shows control groups."""
    seen = psutil.virtual_memory()
    total, free = seen.total, seen.available
    for limit, used, inactive in (("memory.max", "memory.current", "inactive_file"),
                                  ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file")):
        most = _number(root / limit)
        if most is None or most >= min(total, UNLIMITED):
            continue
        stat = _text((root / limit).parent / "memory.stat").split()
        reclaimable = next((int(stat[at + 1]) for at in range(0, len(stat) - 1, 2) if stat[at] == inactive and stat[at + 1].isdecimal()), 0)
        total, free = most, min(free, max(0, most - (_number(root / used) or 0) + reclaimable))
    return Memory(total, min(free, total))


def _laid_out(models: Sequence[tuple[ModelSize, Parameters]], card: Memory, machine: Memory, processes: int) -> Plan:
    parts, left, whole = [], card.room - processes * DRIVER, True
    for size, parameters in models:
        count = 0
        if card.total and parameters.n_gpu_layers != AUTO:
            count = min(max(0, parameters.n_gpu_layers), size.most)
        elif whole:
            count = _most_layers(size, parameters, left)
        there, inside = size.take(parameters, count)
        left, whole = left - there, whole and count == size.most
        parts.append(Part(size.name, count, size.most, there, inside))
    on_card = sum(part.card for part in parts) + DRIVER * min(processes, sum(part.n_gpu_layers > 0 for part in parts))
    inside = sum(part.machine for part in parts)
    fits = on_card <= card.room and inside <= machine.room
    return Plan(tuple(parts), on_card, inside, card.room, machine.room, fits, _sentence(parts, on_card, inside, card, machine))


def _most_layers(size: ModelSize, parameters: Parameters, room: int) -> int:
    return next((count for count in range(size.most, 0, -1) if size.take(parameters, count)[0] <= room), 0)


def _sentence(parts: Sequence[Part], on_card: int, inside: int, card: Memory, machine: Memory) -> str:
    if inside > machine.room:
        return (f"Does not fit: {_names(parts)} would take {_mib(inside)} of the machine's memory, of which {_mib(machine.room)} may be taken "
                f"({_mib(machine.total)} in all, {_mib(machine.free)} free, {CEILING:.0%} at most).")
    if on_card > card.room:
        return (f"Does not fit: {_names(parts)} would take {_mib(on_card)} of the card, of which {_mib(card.room)} may be taken "
                f"({_mib(card.total)} in all, {_mib(card.free)} free, {CEILING:.0%} at most).")
    if not card.total:
        return f"Fits without a card: {_names(parts)} on the processor, {_mib(inside)} of {_mib(machine.room)}."
    where = ", ".join(f"{part.name} {'whole' if part.n_gpu_layers == part.most else f'with {part.n_gpu_layers} of {part.most} layers'}"
                      for part in parts)
    return f"Fits: {where} on the card, {_mib(on_card)} of {_mib(card.room)}; {_mib(inside)} of {_mib(machine.room)} in the machine's memory."


def _remedy(models: Sequence[tuple[ModelSize, Parameters]], card: Memory, machine: Memory, processes: int) -> str:
    """What would fit, the least loss first: fewer layers on the card, a smaller cache in half the memory, a shorter one, one model at a time."""
    free = [(size, dataclasses.replace(parameters, n_gpu_layers=AUTO)) for size, parameters in models]
    found = _laid_out(free, card, machine, processes)
    if found.fits:
        return "It fits with " + " and ".join(f"{part.n_gpu_layers} layers of {part.name}" for part in found.parts) + " on the card."
    packed = [(size, dataclasses.replace(parameters, kv_type="q8_0")) for size, parameters in free]
    if _laid_out(packed, card, machine, processes).fits:
        return "It fits with LLAMA_KV_TYPE=q8_0."
    for tokens in (4096, 2048, 1024):
        shorter = [(size, dataclasses.replace(parameters, kv_tokens=min(tokens, parameters.kv_tokens))) for size, parameters in packed]
        if _laid_out(shorter, card, machine, processes).fits:
            return f"It fits with LLAMA_KV_TYPE=q8_0 and LLAMA_KV_TOKENS={tokens} (and LLAMA_CTX at most that)."
    if len(models) > 1 and all(_laid_out([each], card, machine, 1).fits for each in free):
        return "One at a time they fit: let them take turns, or choose a smaller one."
    return "Choose a smaller model, or a smaller file of this one."


def _names(parts: Sequence[Part]) -> str:
    return " and ".join(part.name for part in parts)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # another kind of system
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None
