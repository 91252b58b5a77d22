"""The memory panel: search, filter, mark as favourite, forget; beside the widgets, the same rows as a static table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import DisplayHandle, display

from suite import render
from suite.bench import Bench
from suite.errors import SuiteError
from suite.memory.record import Remembered

MOST = 20  # rows that are shown
SHOWN = 120  # characters of a text in a row
WIDE, NARROW = "320px", "120px"
HOWS = (("words and meaning", "hybrid"), ("words", "words"), ("meaning", "vector"))
COLUMNS = ("day", "importance", "", "question", "reply", "tags")


def memory(bench: Bench, project: str = "") -> MemoryPanel:
    """A panel over a bench's memory, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return MemoryPanel(bench, project)


class MemoryPanel:
    """The widgets and what they show: `turns` are the rows, `said` the sentence above them.

    The work of a click is done in a thread of its own, so that the kernel goes on; of two searches at once the later one is shown.
    """

    def __init__(self, bench: Bench, project: str = "") -> None:
        self._bench = bench
        self._shown: DisplayHandle | None = None
        self._asked, self._turn = threading.Lock(), 0
        self.turns: list[Remembered] = []
        self.said = ""
        self.query = widgets.Text(placeholder="what to look for; empty: the newest", continuous_update=False, layout={"width": WIDE})
        self.how = widgets.Dropdown(options=HOWS, value="hybrid", tooltip="how to look", layout={"width": "170px"})
        self.project = widgets.Dropdown(options=[], tooltip="project", layout={"width": "200px"})
        self.tags = widgets.Text(placeholder="tags, with commas", continuous_update=False, layout={"width": "160px"})
        self.importance = widgets.BoundedIntText(value=1, min=1, max=10, description="importance ≥", layout={"width": "150px"},
                                                 style={"description_width": "initial"})
        self.search = widgets.Button(description="Search", icon="search", button_style="primary", layout={"width": NARROW})
        self.notice, self.detail = widgets.HTML(), widgets.HTML()
        self.rows = widgets.VBox()
        self.box = widgets.VBox([widgets.HBox([self.query, self.how, self.search]),
                                 widgets.HBox([self.project, self.tags, self.importance]), self.notice, self.rows, self.detail])
        self._guarded(lambda: self._open(project))
        for each in (self.query, self.how, self.project, self.tags, self.importance):
            each.observe(lambda _change: self.refresh(), "value")
        self.search.on_click(lambda _button: self.refresh())

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._find)

    def _open(self, project: str) -> None:
        meant = self._bench.memory.project(project)
        self.project.options = [(row.name or row.id, row.id) for row in self._bench.memory.projects()]
        self.project.value = meant
        self._find()

    def _find(self) -> None:
        memory, query = self._bench.memory, self.query.value.strip()
        conditions: dict[str, Any] = {"tags": [tag.strip() for tag in self.tags.value.split(",") if tag.strip()],
                                      "importance_min": self.importance.value, "limit": MOST, "project": self.project.value or ""}
        with self._asked:
            self._turn += 1
            mine = self._turn
        if query:
            found = memory.recall(query, how=self.how.value, **conditions)
            turns, note = [row.memory for row in found], found.note
        else:
            turns, note = memory.turns(**conditions), ""
        with self._asked:
            if mine == self._turn:  # nobody has asked again meanwhile
                self._show(turns, f"{len(turns)} found" + (f". {note}" if note else ""))

    def _show(self, turns: list[Remembered], said: str) -> None:
        self.turns = turns
        self.rows.children = [self._row(turn) for turn in turns]
        self._say(said)

    def _row(self, turn: Remembered) -> widgets.HBox:
        head = f'<span style="opacity:.7">{_day(turn.created)} · {turn.importance}</span> <b>{escape(_short(turn.question or turn.kind))}</b>'
        text = widgets.HTML(f'<div style="line-height:1.35">{head}<br>{escape(_short(turn.reply))}</div>', layout={"width": "640px"})
        star = widgets.Button(description="★" if turn.favourite else "☆", layout={"width": "40px"},
                              tooltip="no favourite any more" if turn.favourite else "make it a favourite, kept for ever")
        details = widgets.Button(description="Details", layout={"width": "80px"})
        forget = widgets.Button(description="Forget", layout={"width": NARROW})
        star.on_click(lambda _button: self._later(lambda: self._favour(turn)))
        details.on_click(lambda _button: self._later(lambda: self._detail(turn.id)))
        forget.on_click(lambda button: self._forget(button, turn))
        return widgets.HBox([star, details, forget, text], layout={"align_items": "flex-start", "margin": "0 0 4px 0"})

    def _favour(self, turn: Remembered) -> None:
        self._bench.memory.edit(turn.id, favourite=not turn.favourite)
        self._find()

    def _detail(self, identity: str) -> None:
        self.detail.value = self._bench.memory.get(identity)._repr_html_()

    def _forget(self, button: widgets.Button, turn: Remembered) -> None:
        """The first click asks, the second does it: nothing brings a forgotten turn back."""
        if button.button_style != "danger":
            button.description, button.button_style = "Really forget?", "danger"
        else:
            self._later(lambda: self._forgotten(turn))

    def _forgotten(self, turn: Remembered) -> None:
        gone = self._bench.memory.forget(turn.id)
        self.detail.value = ""
        self._find()
        left = "its vector waits for the store" if gone.queued else "no row, no search term and no vector of it is left"
        self._say(f"Forgotten: {left}." if gone else f"There is no memory {turn.id} any more." if not gone.found else f"Not forgotten whole: {gone}.")

    def _later(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(work,), name="suite-panel-memory", daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do it; what goes wrong is one sentence above the rows."""
        try:
            work()
        except SuiteError as error:
            self._say(f"{type(error).__name__}: {error.message}", bad=True)
        except Exception as error:  # noqa: BLE001 - the edge of the panel: a click has nobody else to tell
            self._say(f"{type(error).__name__}: {error}", bad=True)

    def _say(self, sentence: str, bad: bool = False) -> None:
        self.said = sentence
        style = f"color:{render.COLOURS['fail']}" if bad else "opacity:.75"
        self.notice.value = f'<div style="{style}" role="status">{escape(sentence)}</div>'
        if self._shown is not None:
            self._shown.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, Any]:
        """The widgets, and the same rows for a place without them."""
        made: dict[str, Any] = self.box._repr_mimebundle_()
        rows = list(self._static())
        title = f"Memory of {self.project.value or '-'}"
        return {**made, "text/html": render.table(COLUMNS, rows, title=title, note=self.said),
                "text/plain": f"{title}\n{render.text_table(COLUMNS, rows)}\n{self.said}"}

    def _static(self) -> Iterable[tuple[Any, ...]]:
        for turn in self.turns:
            yield (_day(turn.created), turn.importance, "★" if turn.favourite else "", _short(turn.question or turn.kind), _short(turn.reply),
                   ", ".join(turn.tags))

    def _ipython_display_(self) -> None:
        self._shown = display(self._bundle(), raw=True, display_id=True)


def _day(moment: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(moment))
    except (OverflowError, ValueError, OSError):  # an imported turn may be of any year
        return "-"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN - 1] + "…"
