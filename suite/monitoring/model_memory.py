"""Which model holds how much memory, as it was planned and as it was seen, and what belongs to none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.gpu import Gpu
from suite.monitoring.table import gauge_family

RAM, GPU = "ram", "gpu"
PROCESS, DIFFERENCE, REST = "process", "difference", "rest"
UNATTRIBUTED = "unattributed"
COLUMNS = ("server", "model", "where", "planned", "seen", "how")


@dataclass(frozen=True)
class ModelMemory:
    """Bytes that a loaded model takes, `planned` before it was loaded and `seen`; None where nobody can say.

    `where` is ram, gpu (all cards together: llama.cpp spreads a model over them by itself), or where there are several one of them (gpu 0, gpu 1).
    `how` is process (the model has a process of its own, which holds so much), difference (so much more was held after it had been loaded than
    before, whatever else happened meanwhile), or rest (what belongs to no model).
    """

    server: str
    model: str
    where: str
    planned: int | None
    seen: int | None
    how: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def with_rest(rows: Iterable[ModelMemory], resident: int, cards: Sequence[Gpu]) -> list[ModelMemory]:
    """The rows, and what is attributed to no model: of the kernel's memory (`resident` bytes), and of all cards.

    A model in a process of its own takes nothing of the kernel's memory. What was given back since the load makes the rest 0, never negative.
    """
    rows = list(rows)
    here = sum(row.seen or 0 for row in rows if row.where == RAM and row.how == DIFFERENCE)
    rest = [ModelMemory("", UNATTRIBUTED, RAM, None, max(0, resident - here), REST)]
    if cards:
        on_cards = sum(row.seen or 0 for row in rows if row.where == GPU)
        rest.append(ModelMemory("", UNATTRIBUTED, GPU, None, max(0, sum(card.used or 0 for card in cards) - on_cards), REST))
    return rows + rest


def resident() -> int:
    """Bytes of this process in the machine's memory."""
    return int(psutil.Process().memory_info().rss)


class ModelMemorySeries(Collector):
    """`suite_model_memory_bytes` and `suite_unattributed_memory_bytes`, read at the moment of the scrape."""

    def __init__(self, rows: Callable[[], Iterable[ModelMemory]]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        """A sample for each number that is known."""
        models, rest = gauge_family("suite_model_memory_bytes"), gauge_family("suite_unattributed_memory_bytes")
        for row in self._rows():
            if row.how == REST:
                rest.add_metric((row.where,), row.seen or 0)
                continue
            for kind, size in (("planned", row.planned), ("seen", row.seen)):
                if size is not None:
                    models.add_metric((row.server, row.model, row.where, kind), size)
        return [models, rest]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the models."""
        return []
