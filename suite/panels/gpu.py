"""The GPU panel: each card's memory with the 90 % line, load, heat and power, who holds memory; without a card, the machine's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from suite import render
from suite.bench import Bench
from suite.errors import NotReady
from suite.monitoring.gpu import Gpu, gpus
from suite.panels import curves
from suite.panels.curves import Curve, figure
from suite.panels.live import Moving, short
from suite.panels.machine import Look, Machine

EVERY = 3  # ticks between two looks
MODELS_EVERY = 15  # ticks between two looks at the models
KEPT = 120  # looks that are drawn: six minutes
FULL = 0.9  # of a memory: what is planned never goes beyond
NONE = "This machine has no GPU, or no driver that says anything about it. Below are the processor and the memory."
CELLS = 5  # that changed the memory most
GONE = "The driver names no card any more; it did when this panel was opened. `nvidia-smi` or `amd-smi` in a terminal says what it sees."
CARD_COLUMNS = ("card", "memory", "of", "full", "busy", "heat", "power")
HOLDER_COLUMNS = ("card", "process", "whose", "memory of the card")
PROCESS_COLUMNS = ("process", "name", "whose", "memory", "share of a core")
MODEL_COLUMNS = ("model", "server", "where", "planned", "seen", "how")
CELL_COLUMNS = ("cell", "begins with", "memory", "cards")


def gpu(bench: Bench, cards: Callable[[], Iterable[Gpu]] = gpus) -> GpuPanel:
    """A panel over the machine of a bench, to be shown by a cell; raises nothing: what goes wrong is said in it.

    `cards` stands in for the driver, in tests.
    """
    return GpuPanel(bench, cards)


class GpuPanel(Moving):
    """The widgets and what they show: `looks` are the newest looks at the machine, `models` and `cells` who holds memory, `said` a sentence."""

    def __init__(self, bench: Bench, cards: Callable[[], Iterable[Gpu]]) -> None:
        super().__init__(bench, "suite-panel-gpu")
        self.looks: deque[Look] = deque(maxlen=KEPT)
        self.models: list[tuple[Any, ...]] = []
        self.cells: list[tuple[Any, ...]] = []
        self._cards, self._ticks, self._had_cards = cards, 0, False
        self._machine: Machine | None = None
        self.picture, self.tables = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox([widgets.HTML("<strong>GPU and memory</strong>"), self.notice, self.picture, self.tables])
        self._guarded(self._open)

    def renew(self) -> None:
        """Look at the machine now and then, at the models more rarely."""
        self._ticks += 1
        if self._ticks % MODELS_EVERY == 0:
            self._ask_models()
        if self._ticks % EVERY == 0:
            self._look()

    def _open(self) -> None:
        self._machine = Machine(self._bench.status()["host"]["pid"], self._cards)
        self._ask_models()
        self._look()

    def _ask_models(self) -> None:
        watched = self._bench.monitoring
        try:
            models, cells = watched.memory(), watched.cells()
        except NotReady:  # nothing is watched in this stack: the machine is seen all the same
            return
        self.models = [(row.model, row.server or "–", row.where, _bytes(row.planned), _bytes(row.seen), row.how) for row in models.itertuples()]
        moved = cells[cells["ram"] != 0]
        most = moved.reindex(moved["ram"].abs().sort_values(ascending=False).index)[:CELLS]
        self.cells = [(row.cell, short(row.source, 60), _bytes(row.ram), _bytes(row.gpu)) for row in most.itertuples()]

    def _look(self) -> None:
        if self._machine is None:  # it could not be opened: perhaps now
            self._open()
            return
        look = self._machine.look()
        self.looks.append(look)
        self._had_cards = self._had_cards or bool(look.cards)
        self.picture.value, self.tables.value = self._picture(still=False), self._tables()
        self._say("" if look.cards else GONE if self._had_cards else NONE, bad=self._had_cards)
        self.moved()

    def _picture(self, still: bool) -> str:
        """The bars and charts, as SVG, or as images where they are to last."""
        look = self.looks[-1]
        bars = [(f"Card {card.index} · {short(card.name, 60)}", _share(card), _card_words(card)) for card in look.cards]
        bars = bars or [("Memory of the machine", look.share, _filled(look.used, look.total, look.share))]
        shown = []
        for name, share, words in bars:
            svg = curves.bar(0.0 if math.isnan(share) else share, FULL, still)
            shown.append(f'<div style="margin:2px 0">{curves.still(svg, "") if still else svg} <b>{escape(name)}</b>: {escape(words)}</div>')
        charts = []
        for title, lines, most in self._charts():
            svg = curves.curves(title, lines, "ratio", (self.looks[0].at, max(look.at, self.looks[0].at + 60)), FULL if most else None, 1.0, still)
            charts.append(curves.still(svg, f"{title}: {_words(lines)}") if still else svg)
        return f'<div>{"".join(shown)}<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(charts)}</div></div>'

    def _charts(self) -> list[tuple[str, list[Curve], bool]]:
        """Title, lines, and whether there is a limit to be drawn."""
        times = [look.at for look in self.looks]
        machine = [("Memory of the machine", [Curve("memory", times, [look.share for look in self.looks])], True),
                   ("Processors", [Curve("all cores", times, [math.nan if look.cpu is None else look.cpu for look in self.looks])], False)]
        numbers = [card.index for card in self.looks[-1].cards]
        if not numbers:
            return machine
        memory = [Curve(f"card {number}", times, [_of(look, number, _share) for look in self.looks]) for number in numbers]
        busy = [Curve(f"card {number}", times, [_of(look, number, _busy) for look in self.looks]) for number in numbers]
        return [("Memory of the cards", memory, True), ("How busy the cards are", busy, False), *machine]

    def _rows(self) -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
        """Title, columns and rows of each table below the charts."""
        look, machine = self.looks[-1], self._machine
        assert machine is not None  # a look was made
        holders = [(card.index, one.pid, machine.role(one.pid), figure(one.bytes, "bytes") if one.bytes is not None else "the driver does not say")
                   for card in look.cards for one in card.processes or ()]
        processes = [(one.pid, one.name, one.role, figure(one.resident, "bytes"), figure(one.cpu, "ratio")) for one in look.processes]
        found = [("Who holds memory of a card", HOLDER_COLUMNS, holders), ("Models", MODEL_COLUMNS, self.models),
                 ("Processes of the stack", PROCESS_COLUMNS, processes), ("Cells that changed the memory most", CELL_COLUMNS, self.cells)]
        return [table for table in found if table[2]]

    def _tables(self) -> str:
        inside = "".join(f"<div>{render.table(columns, rows, title=title, whole=4)}</div>" for title, columns, rows in self._rows())
        return f'<div style="display:flex;flex-wrap:wrap;gap:4px 36px">{inside}</div>'

    def twin(self) -> tuple[str, str]:
        """The bars and charts as images, the numbers as tables."""
        if not self.looks:
            return render.card("GPU and memory", [], note=self.said), f"GPU and memory\n{self.said}"
        look = self.looks[-1]
        cards = [(card.index, _bytes(card.used), _bytes(card.total), figure(_share(card), "ratio"),
                  *(figure(value, unit) for value, unit in ((None if card.utilisation is None else card.utilisation / 100, "ratio"),
                                                            (card.temperature, "celsius"), (card.power, "watts")))) for card in look.cards]
        whole = (figure(look.used, "bytes"), figure(look.total, "bytes"), figure(look.share, "ratio"), figure(look.cpu, "ratio"))
        cards.append(("machine", *whole, "–", "–"))
        texts = [f"{title}\n{render.text_table(columns, rows)}" for title, columns, rows in (("GPU and memory", CARD_COLUMNS, cards), *self._rows())]
        note = f'<div style="opacity:.75">{escape(self.said)}</div>' if self.said else ""
        html = f"<div><strong>GPU and memory</strong>{note}{self._picture(still=True)}{self._tables()}</div>"
        return html, "\n\n".join([*texts, self.said]).rstrip()


def _of(look: Look, number: int, value: Callable[[Gpu], float]) -> float:
    """A number of one card at one look; no number where the card was not there."""
    return next((value(card) for card in look.cards if card.index == number), math.nan)


def _card_words(card: Gpu) -> str:
    """What the driver says of a card, on one line."""
    facts = [_filled(card.used, card.total, _share(card))]
    facts += [f"{card.utilisation} % busy"] if card.utilisation is not None else []
    facts += [figure(card.temperature, "celsius")] if card.temperature is not None else []
    facts += [figure(card.power, "watts") + (f" of {card.power_limit:.0f}" if card.power_limit else "")] if card.power is not None else []
    facts += [f"slowed by: {', '.join(card.throttled)}"] if card.throttled else []
    return " · ".join(facts)


def _bytes(size: Any) -> str:
    """A size; a dash where nobody can say."""
    return "–" if size is None or pd.isna(size) else figure(size, "bytes")


def _filled(used: int | None, total: int, share: float) -> str:
    return f"{_bytes(used)} of {figure(total, 'bytes')}, {figure(share, 'ratio')} full"


def _share(card: Gpu) -> float:
    return math.nan if card.used is None or not card.total else card.used / card.total


def _busy(card: Gpu) -> float:
    return math.nan if card.utilisation is None else card.utilisation / 100


def _words(lines: list[Curve]) -> str:
    return ", ".join(f"{line.name} {figure(line.last, 'ratio')}" for line in lines)
