"""How the execution of a runbook ended, cell by cell; and the capsule that a kernel which died leaves behind."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from suite.checks.check import now
from suite.monitoring.gpu import gpus
from suite.runbooks.scrub import scrub
from suite.text.secret import masked_text

FINISHED, CRASHED, TIMED_OUT, NOT_RUN = "finished", "crashed", "timed-out", "not-run"
LAST, WORDS = 2000, 8000  # characters that are kept of the last output, and of what the process said: a dump of its threads is long
SECONDS = 0.5  # between two looks at a kernel's memory
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


@dataclass
class Ending:
    """What the engine writes while it works: `state` is finished, crashed, timed-out or not-run; `cells` rows of {index, title, seconds}."""

    state: str = FINISHED
    trouble: str = ""
    cells: list[dict[str, Any]] = field(default_factory=list)
    crash: dict[str, Any] | None = None
    started_at: str = ""
    ended_at: str = ""
    notebook: Any = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the notebook."""
        return {"state": self.state, "trouble": self.trouble, "cells": list(self.cells), "crash": self.crash, "started_at": self.started_at,
                "ended_at": self.ended_at}


def titles(cells: list[Mapping[str, Any]]) -> list[str]:
    """For each cell the last heading at or above it, as people call it: for a check its id and title."""
    found, title = [], ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            headings = _HEADING.findall(cell["source"])
            title = headings[-1] if headings else title
        found.append(title or f"cell {len(found)}")
    return found


class Pulse:
    """Watches the memory of one process from a thread, so that something is known when it is gone."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self.last: int | None = None
        self.peak = 0
        self._killed = _oom_kills()
        self._thread = threading.Thread(target=self._watch, name="suite-pulse", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            process = psutil.Process(self._pid)
            while True:
                self.last = process.memory_info().rss or self.last  # a process that has just ended has none
                self.peak = max(self.peak, self.last or 0)
                if self._stop.wait(SECONDS):
                    return
        except psutil.Error:
            return

    def close(self) -> None:
        """End the watch."""
        self._stop.set()
        self._thread.join()

    def oom_kills(self) -> int | None:
        """How many processes of this machine the kernel has killed for want of memory since the watch began; None where it does not say."""
        after = _oom_kills()
        return None if after is None or self._killed is None else after - self._killed


def _oom_kills() -> int | None:
    try:
        rows = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return int(rows["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def capsule(index: int, title: str, cells: list[Mapping[str, Any]], code: int | None, pulse: Pulse | None, stderr: str) -> dict[str, Any]:
    """What is known of a kernel that died in the cell at `index`: how, the last output, memory (bytes) and cards at the end."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    killed = pulse.oom_kills() if pulse is not None else None
    return {
        "at": now(), "cell": index, "title": title, "exit": code, "how": _how(code, killed), "last_output": _last_output(cells[:index + 1]),
        "stderr": scrub(masked_text(stderr))[-WORDS:],
        "memory": {"kernel_last": pulse.last if pulse else None, "kernel_peak": pulse.peak if pulse else None, "machine_total": memory.total,
                   "machine_available": memory.available, "swap_free": swap.free, "oom_kills": killed},
        "gpu": [{"index": card.index, "name": card.name, "total": card.total, "used": card.used, "free": card.free} for card in gpus()],
    }


def _how(code: int | None, killed: int | None) -> str:
    if code is None:
        return "it no longer answers"
    if code >= 0:
        return f"it ended by itself with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if code == -signal.SIGKILL and killed:
        return f"it was killed ({name}) while the system was killing processes for want of memory"
    return f"it was killed ({name})"


def _last_output(cells: list[Mapping[str, Any]]) -> str:
    """The end of the newest text that any of these cells has given."""
    for cell in reversed(cells):
        texts = []
        for output in cell.get("outputs", []):
            data = output.get("data") or {}
            texts.append("".join(output.get("text") or data.get("text/plain") or output.get("traceback") or []))
        if any(texts):
            return masked_text("\n".join(texts))[-LAST:]
    return ""


def told(crash: Mapping[str, Any]) -> str:
    """The capsule as markdown, for the notebook."""
    memory = crash["memory"]
    rows = [("died", f"{crash['how']}, at {crash['at']}"), ("in", f"cell {crash['cell']}: {crash['title']}"),
            ("its memory", f"{_size(memory['kernel_last'])} at the last look, {_size(memory['kernel_peak'])} at most"),
            ("the machine's", f"{_size(memory['machine_available'])} of {_size(memory['machine_total'])} free"),
            *((f"card {card['index']}", f"{card['name']}, {_size(card['used'])} of {_size(card['total'])} used") for card in crash["gpu"])]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    words = "".join(f"\n\n{title}:\n\n```\n{text.replace('```', '` ` `')}\n```" for title, text in
                    (("Last output", crash["last_output"]), ("Last words of the process", crash["stderr"])) if text.strip())
    return f"## The kernel died\n\n| | |\n|---|---|\n{table}{words}"


def _size(number: int | None) -> str:
    return "unknown" if not number else f"{number / (1 << 20):,.0f} MiB"
