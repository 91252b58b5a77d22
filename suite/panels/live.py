"""What panels that renew themselves share: the thread that looks again, the sentence above the rows, and the static twin beside the widgets."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import DisplayHandle, display

from suite import render
from suite.bench import Bench
from suite.errors import HostGone, SuiteError

TICK = 1.0  # seconds between two looks
TWIN_SECONDS = 300.0  # between two static twins of a panel that moves all the time
STOPPED = "This bench was stopped; call suite.start() for a new one."


class Live(ABC):
    """A panel that renews itself from its first display on, until its bench is stopped or `close` is called.

    A click is worked off in a thread of its own, so that the kernel goes on. `said` is the sentence above the rows.
    """

    box: widgets.VBox

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench, self._name = bench, name
        self._shown: DisplayHandle | None = None
        self._ended, self._troubled = threading.Event(), False
        self._asked, self._turn = threading.Lock(), 0
        self.renewing: threading.Thread | None = None
        self.said = ""
        self.notice = widgets.HTML()

    def close(self) -> None:
        """Renew it no more; what it shows stays."""
        self._ended.set()

    @abstractmethod
    def renew(self) -> None:
        """What is done every second; raises what goes wrong."""

    def over(self) -> None:  # noqa: B027 - not every panel has something to do then
        """What is to be done once the bench was stopped."""

    def recovered(self) -> None:
        """Take back what was said of a look that failed."""
        self._say("")

    @abstractmethod
    def twin(self) -> tuple[str, str]:
        """The same as HTML and as text, for a place without widgets."""

    def _next_turn(self) -> int:
        """The number of a look that begins now: of two at once the later one is shown."""
        with self._asked:
            self._turn += 1
            return self._turn

    def _renew(self) -> None:
        while not self._ended.wait(TICK):
            self._guarded(self._renew_once, trouble=True)

    def _renew_once(self) -> None:
        if self._bench.stopped:
            self._ended.set()
            self.over()
            raise HostGone(STOPPED)
        self.renew()
        if self._troubled:
            self._troubled = False
            self.recovered()

    def _later(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(work,), name=self._name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None], trouble: bool = False) -> None:
        """Do it; what goes wrong is one sentence above the rows."""
        try:
            work()
        except SuiteError as error:
            self._troubled = trouble
            self._say(f"{type(error).__name__}: {error.message}", bad=True)
        except Exception as error:  # noqa: BLE001 - the edge of the panel: a click has nobody else to tell
            self._troubled = trouble
            self._say(f"{type(error).__name__}: {error}", bad=True)

    def _say(self, sentence: str, bad: bool = False) -> None:
        if sentence == self.said:
            return  # the same trouble every second is told once
        self.said = sentence
        style = f"color:{render.COLOURS['fail']}" if bad else "opacity:.75"
        self.notice.value = f'<div style="{style}" role="status">{escape(sentence)}</div>' if sentence else ""
        self._redraw()

    def _redraw(self) -> None:
        if self._shown is not None:
            self._shown.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, Any]:
        made: dict[str, Any] = self.box._repr_mimebundle_()
        html, text = self.twin()
        return {**made, "text/html": html, "text/plain": text}

    def _ipython_display_(self) -> None:
        self._shown = display(self._bundle(), raw=True, display_id=True)
        if self.renewing is None:
            self.renewing = threading.Thread(target=self._renew, name=f"{self._name}-renewing", daemon=True)
            self.renewing.start()


class Moving(Live):
    """A panel whose picture moves all the time: the widgets follow at once, the static twin now and then.

    A browser makes the whole view of a panel anew when its twin changes, and what was typed or unfolded in it is lost.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__(bench, name)
        self._twin_at, self._moved = time.monotonic(), False

    def close(self) -> None:
        """Renew it no more; what it shows stays, in the saved notebook too."""
        super().close()
        self._redraw()

    def moved(self) -> None:
        """What is to be called when the picture has changed."""
        self._moved = True

    def _renew_once(self) -> None:
        super()._renew_once()
        if self._moved and time.monotonic() - self._twin_at >= TWIN_SECONDS:
            self._redraw()

    def _redraw(self) -> None:
        self._twin_at, self._moved = time.monotonic(), False
        super()._redraw()


def worded(text: str, state: str) -> str:
    """A word in the colour of a state; grey for a state without one. The word alone carries the meaning."""
    colour = render.COLOURS.get(state, render.COLOURS["not-run"])
    return f'<span style="color:#fff;background:{colour};border-radius:3px;padding:1px 7px;font-size:12px">{escape(str(text))}</span>'


def close(box: widgets.Box) -> None:
    """Take a row of widgets off the page, and out of the kernel."""
    for each in (*box.children, box):
        each.layout.close()
        each.close()


def legible(text: str) -> str:
    """Text without what cannot be seen or turns the reading direction: each such character as its number, line ends as they are."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\u{ord(char):04x}" for char in text)


def short(text: str, most: int) -> str:
    """The text on one line, its end left out where it is longer."""
    line = legible(" ".join(text.split()))
    return line if len(line) <= most else line[:most - 1] + "…"
