"""The logs panel: the newest lines with filters, and those that come; beside it the same lines as a static table."""

from __future__ import annotations

import threading
from collections import deque
from html import escape
from typing import Any

import ipywidgets as widgets

from suite import render
from suite.bench import Bench
from suite.monitoring.log_follow import Following
from suite.monitoring.log_line import LEVELS, SERVICES
from suite.panels.live import Moving, legible, short

MOST = 200  # lines that are shown, however many there are: a browser draws no thousands in a second
SHOWN = 400  # characters of a message
ERROR_SHOWN = 4000  # of the end of an error: a traceback says last what went wrong
TWIN_LINES = 30
COLUMNS = ("at (UTC)", "level", "service", "message")
LEVEL_STATES = {"warning": "degraded", "error": "fail", "critical": "fail"}  # whose colour a level has


def logs(bench: Bench) -> LogsPanel:
    """A panel over a bench's log, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return LogsPanel(bench)


class LogsPanel(Moving):
    """The widgets and what they show: `lines` are the rows, newest first, `fast` whether more came at once than are shown, `said` a sentence."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "suite-panel-logs")
        self.lines: deque[dict[str, Any]] = deque(maxlen=MOST)
        self.fast = False
        self._following: Following | None = None
        self._reading = threading.Lock()  # what is followed has one reader at a time
        self.level = widgets.Dropdown(options=[(f"{name} and worse", name) for name in LEVELS], value="info", layout={"width": "180px"})
        self.service = widgets.Dropdown(options=[("every service", ""), *((name, name) for name in SERVICES)], layout={"width": "170px"})
        self.contains = widgets.Text(placeholder="a text that stands in the line", continuous_update=False, layout={"width": "280px"})
        self.follow = widgets.ToggleButton(value=True, description="Follow", icon="arrow-down", tooltip="show lines as they come",
                                           layout={"width": "100px"})
        self.count = widgets.HTML()
        self.rows = widgets.HTML(layout={"height": "340px", "overflow": "auto", "border": "1px solid #8884", "padding": "2px 6px"})
        self.box = widgets.VBox([widgets.HTML("<strong>Log</strong>"), widgets.HBox([self.level, self.service, self.contains, self.follow]),
                                 self.notice, self.count, self.rows])
        self._guarded(self._find)
        for each in (self.level, self.service, self.contains, self.follow):
            each.observe(lambda _change: self.refresh(), "value")

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._find)

    def renew(self) -> None:
        """Show what has come since, where it is followed."""
        self._more()

    def recovered(self) -> None:
        """Look anew: lines may have come meanwhile."""
        self._find()

    def over(self) -> None:
        """No line will come any more."""
        self.follow.value = False
        self.follow.disabled = True

    def _wanted(self) -> dict[str, str]:
        return {"level": self.level.value, "service": self.service.value, "contains": self.contains.value}

    def _find(self, fast: bool = False) -> None:
        mine, wanted = self._next_turn(), self._wanted()
        following = self._bench.logs(follow=True, **wanted) if self.follow.value else None  # first: no line falls in between
        found = self._bench.logs(n=MOST, **wanted).to_dict("records")
        new = following.new().to_dict("records") if following is not None else []
        with self._asked:
            if mine == self._turn:  # nobody has asked again meanwhile
                self._following, self.fast, self.lines = following, fast, deque(maxlen=MOST)
                self._show([*found, *(row for row in new if row not in found)])
                self._say("")
                self.moved()

    def _more(self) -> None:
        new: list[dict[str, Any]] = []
        with self._reading:
            following = self._following
            while following is not None and len(new) < MOST and (more := following.new().to_dict("records")):
                new += more
        if len(new) >= MOST:  # whoever reads them one after the other falls behind
            self._find(fast=True)
            return
        with self._asked:
            if new and following is self._following:
                self._show(new)
                self.moved()

    def _show(self, new: list[dict[str, Any]]) -> None:
        self.lines.extendleft(new)
        self.count.value = f'<div style="opacity:.75">{escape(self._counted())}</div>'
        self.rows.value = "".join(_line(row) for row in self.lines) or '<div style="opacity:.75">No line fits.</div>'

    def _counted(self) -> str:
        fast = " More came at once than are shown: `bench.logs()` has them." if self.fast else ""
        return f"{len(self.lines)} line{'s' * (len(self.lines) != 1)}, the newest first.{fast}"

    def twin(self) -> tuple[str, str]:
        """The filters, and the newest of the lines."""
        wanted = self._wanted()
        text = f", with {short(wanted['contains'], 60)}" if wanted["contains"] else ""
        title = f"Log: {wanted['level']} and worse, {wanted['service'] or 'every service'}{text}"
        rows = [(_clock(row), row["level"], row["service"], _words(row)) for row in list(self.lines)[:TWIN_LINES]]
        shown = "" if len(rows) == len(self.lines) else f"Of them here: {len(rows)}."
        note = " ".join(sentence for sentence in (self._counted(), shown, self.said) if sentence)
        return render.table(COLUMNS, rows, title=title, note=note, whole=3), f"{title}\n{render.text_table(COLUMNS, rows)}\n{note}"


def _line(row: dict[str, Any]) -> str:
    """One line for the widget; the error of it can be unfolded."""
    colour = render.COLOURS.get(LEVEL_STATES.get(row["level"], ""), "")
    level = f'<b style="{f"color:#fff;background:{colour};border-radius:3px;padding:0 4px" if colour else "opacity:.7"}">{escape(row["level"])}</b>'
    error = legible(row["error"][-ERROR_SHOWN:]) if row["error"] else ""
    more = f'<details><summary style="opacity:.7">error</summary><pre style="margin:0">{escape(error)}</pre></details>' if error else ""
    return (f'<div style="font-family:ui-monospace,monospace;font-size:12px;line-height:1.5;overflow-wrap:anywhere">'
            f'<span style="opacity:.6">{_clock(row)}</span> {level} <span style="opacity:.8">{escape(legible(row["service"]))}</span> '
            f"{escape(_words(row))}{more}</div>")


def _clock(row: dict[str, Any]) -> str:
    return str(row["at"].strftime("%m-%d %H:%M:%S"))


def _words(row: dict[str, Any]) -> str:
    """The message on one line, with what cannot be seen as its number."""
    line = legible(row["message"][:SHOWN * 2]).replace("\n", " ⏎ ")
    return line if len(line) <= SHOWN else line[:SHOWN - 1] + "…"
