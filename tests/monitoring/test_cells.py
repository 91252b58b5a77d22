"""Cells of a notebook and the memory that differed over their runs: with IPython's own events, and in real kernels of a host and a guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.events import EventManager
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult
from test_kernels import kernel

from suite.monitoring import cells as watching
from suite.monitoring.cells import Cards, CellWatch


class Shell:
    """What IPython does around a cell: its events, in its order; `run` executes a function as a cell."""

    def __init__(self) -> None:
        from IPython.core.events import available_events

        self.events = EventManager(self, available_events)
        self.count = 0

    def run(self, source: str = "x", work: Any = lambda: None, stored: bool = True) -> None:
        info = ExecutionInfo(source, stored, False, True, "cell")
        result = ExecutionResult(info)
        self.events.trigger("pre_run_cell", info)
        if stored:
            self.count += 1
            result.execution_count = self.count
        work()
        self.events.trigger("post_run_cell", result)


class Sizes:
    """Answers of a driver, one after the other."""

    def __init__(self, *answers: Cards) -> None:
        self.answers, self.closed = list(answers), 0

    def read(self, pid: int) -> Cards:
        return self.answers.pop(0) if self.answers else {}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def watch(shell: Shell) -> Iterator[CellWatch]:
    made = CellWatch(shell, Sizes)
    made.open()
    yield made
    made.close()


def test_a_cell_that_takes_memory_is_told_from_one_that_does_not(shell: Shell, watch: CellWatch) -> None:
    kept: list[Any] = []
    shell.run("big = bytearray(64_000_000)", lambda: kept.append(b"x" * 64_000_000))
    shell.run("kept.clear()", kept.clear)
    shell.run("1 + 1")
    first, second, third = watch.rows()
    assert (first.cell, first.source, first.gpu) == (1, "big = bytearray(64_000_000)", None) and first.seconds > 0
    assert first.ram > 60_000_000 and second.ram < -60_000_000 and abs(third.ram) < 8_000_000


def test_the_cell_that_begins_to_look_and_those_without_a_number_are_left_out(shell: Shell) -> None:
    watch = CellWatch(shell, Sizes)
    shell.run("bench = suite.start()", watch.open)
    shell.run("hidden", stored=False)
    shell.run("outer", lambda: (shell.run("inner", stored=False), shell.run("nested")))
    assert [cell.source for cell in watch.rows()] == ["nested", "outer"]
    shell.run("bench.stop()", watch.close)
    shell.run("after")
    assert [cell.source for cell in watch.rows()] == ["nested", "outer"]
    assert not shell.events.callbacks["pre_run_cell"] and not shell.events.callbacks["post_run_cell"]
    watch.close()


def test_the_history_is_bounded_and_a_cell_that_never_ends_is_forgotten(shell: Shell, watch: CellWatch) -> None:
    for number in range(watching.MOST_CELLS + 5):
        shell.events.trigger("pre_run_cell", ExecutionInfo("lost", True, False, True, "cell"))
        shell.run(f"cell {number}")
    assert len(watch.rows()) == watching.MOST_CELLS == 200 and watch.rows()[0].source == "cell 5"
    assert len(watch._begun) <= watching.MOST_NESTED


@pytest.mark.parametrize(("source", "line"), [
    ("\n\n  first = 1\nsecond = 2", "first = 1"), ("", ""), ("x" * 100_000, "x" * 60),
    ("password = 'hunter2'", "password = '***'"), ("y = 1 # " + "z" * 45 + " token=abcdefghijklmnop", "y = 1 # " + "z" * 45 + " token="),
    ("ask('suite_" + "k" * 43 + "')", "ask('***')"), ("x = " + "y" * 30 + " # suite_" + "k" * 43, "x = " + "y" * 30 + " # ***"),
])
def test_the_first_line_is_cut_and_holds_no_secret(shell: Shell, watch: CellWatch, source: str, line: str) -> None:
    shell.run(source)
    assert watch.rows()[0].source == line


@pytest.mark.parametrize(("before", "after", "gpu"), [
    ({0: (100, 500)}, {0: (70, 900)}, -30), ({0: (0, 500)}, {0: (40, 900)}, 40), ({0: (40, 500)}, {0: (0, 500)}, -40),
    ({0: (None, 500)}, {0: (None, 900)}, 400), ({0: (0, 500)}, {0: (0, 900)}, 400),  # WSL2, and a container
    ({0: (1, 9), 1: (2, 9)}, {0: (5, 9), 1: (8, 9)}, 10), ({0: (1, 9), 1: (None, None)}, {0: (5, 9), 1: (None, 9)}, None), ({}, {}, None),
    ({}, {0: (5, 9)}, None),
])
def test_what_differs_on_cards(shell: Shell, before: Cards, after: Cards, gpu: int | None) -> None:
    sizes = Sizes(before, after)
    watch = CellWatch(shell, lambda: sizes)
    watch.open()
    shell.run()
    watch.close()
    assert watch.rows()[0].gpu == gpu and sizes.closed == 1


def test_opening_twice_looks_once_and_without_a_notebook_there_is_nothing(shell: Shell) -> None:
    opened: list[Sizes] = []
    watch = CellWatch(shell, lambda: opened.append(Sizes()) or opened[-1])
    watch.open()
    watch.open()
    shell.run()
    watch.close()
    assert len(watch.rows()) == 1 and [one.closed for one in opened] == [1]
    nowhere = CellWatch(None, Sizes)
    nowhere.open()
    nowhere.close()
    assert nowhere.rows() == []


def test_in_kernels_of_a_host_and_a_guest_each_sees_its_own_cells(models_dir: Path, tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}
    hooks = "len(get_ipython().events.callbacks['pre_run_cell']), len(get_ipython().events.callbacks['post_run_cell'])"
    shown = "print_ = bench.monitoring.cells(); __import__('json').dumps([print_.source.tolist(), print_.cell.tolist(), print_.ram.tolist()])"
    with kernel(env) as host, kernel(env) as guest:
        for one, name in ((host, "big"), (guest, "other")):
            before = one.run(hooks)
            one.run("import suite; bench = suite.start()")
            one.run(f"{name} = b'x' * 90_000_000")
            one.run("1 / 0")
            sources, numbers, ram = json.loads(eval(one.run(shown)))
            assert sources == [f"{name} = b'x' * 90_000_000", "1 / 0"] and numbers == [3, 4] and ram[0] > 80_000_000
            assert one.run("str(bench.monitoring.cells().dtypes['gpu']), len(bench.monitoring.cells())") == "('Int64', 3)"
            one.stopped = before
        assert host.run("bench.hosting") == "True" and guest.run("bench.hosting") == "False"
        for one in (guest, host):
            assert one.run(hooks) != one.stopped
            one.run("bench.stop()")
            assert one.run(hooks) == one.stopped


def test_outside_a_notebook_the_shell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(watching.sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert watching._shell() is None
    monkeypatch.delitem(watching.sys.modules, "IPython")
    assert watching._shell() is None
