"""What a model takes of the machine's memory and of the cards: planned from its file, seen around its load or at its own process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from suite.monitoring.gpu import Gpu, gpus
from suite.monitoring.model_memory import DIFFERENCE, GPU, PROCESS, RAM, ModelMemory, resident
from suite.serving.fit import ModelSize
from suite.serving.parameters import Parameters
from suite.serving.weights import Weights


@dataclass(frozen=True)
class Look:
    """What this process held at one moment: bytes of memory, and of each card its own (None where the driver does not say) and everybody's."""

    resident: int
    cards: Mapping[int, tuple[int | None, int | None]]


@dataclass(frozen=True)
class Held:
    """Bytes of one model: what was planned in memory and on cards, and what was more after its load than before."""

    planned: tuple[int, int]
    resident: int
    cards: Mapping[int, int | None]

    @classmethod
    def between(cls, weights: Weights, parameters: Parameters, before: Look, after: Look) -> Held:
        """From a look before the load and one after it."""
        on_card, in_memory = ModelSize.of(weights).take(parameters, parameters.n_gpu_layers)
        more = {index: _more(before.cards.get(index, (None, None)), now) for index, now in after.cards.items()}
        # other parts are started beside the models: what they gave back meanwhile must not make a size negative
        return cls((in_memory, on_card), max(0, after.resident - before.resident), more)

    def rows(self, server: str, model: str, pid: int | None, cards: Sequence[Gpu]) -> list[ModelMemory]:
        """A row for each memory that it takes, or should; `pid` is the process of its own, if it has one, and `cards` are as they are now."""
        rows = [ModelMemory(server, model, RAM, self.planned[0], *self._in_memory(pid))]
        if not self.planned[1]:
            return rows
        sizes = {card.index: self._on_card(card, pid) for card in cards}
        known = [size for size, _ in sizes.values() if size is not None]
        ways = {how for _, how in sizes.values()} or {PROCESS if pid else DIFFERENCE}
        rows.append(ModelMemory(server, model, GPU, self.planned[1], sum(known) if len(known) == len(sizes) else None,
                                PROCESS if ways == {PROCESS} else DIFFERENCE))
        single = [ModelMemory(server, model, f"{GPU} {index}", None, size, how) for index, (size, how) in sizes.items()]
        return rows + (single if len(single) > 1 else [])

    def _in_memory(self, pid: int | None) -> tuple[int | None, str]:
        if pid is None:
            return self.resident, DIFFERENCE
        try:
            return int(psutil.Process(pid).memory_info().rss), PROCESS
        except psutil.Error:  # it died a moment ago
            return None, PROCESS

    def _on_card(self, card: Gpu, pid: int | None) -> tuple[int | None, str]:
        own = card.held_by(pid) if pid is not None else None
        return (own, PROCESS) if own else (self.cards.get(card.index), DIFFERENCE)


def look(parameters: Parameters, here: bool) -> Look:
    """How it is now; cards only for a model that is to lie on one. `here`: it is loaded into this process."""
    cards = gpus() if parameters.n_gpu_layers > 0 else ()
    return Look(resident(), {card.index: (card.held_by(os.getpid()) if here else None, card.used) for card in cards})


def _more(before: tuple[int | None, int | None], after: tuple[int | None, int | None]) -> int | None:
    """By this process' own bytes where the driver knows them, else by everybody's.

    WSL2 lists processes without a size, and in a container they have other numbers than here: then this one seems to hold nothing.
    """
    (own, everybody), (own_now, everybody_now) = before, after
    if own is not None and own_now:
        return max(0, own_now - own)
    return max(0, everybody_now - everybody) if everybody is not None and everybody_now is not None else None
