"""How a check stood from release to release: flaky, last green, last red, and the plot of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as tree
from pathlib import Path
from typing import Any

import made_releases as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import NotFound
from suite.runbooks import archive
from suite.runbooks.archive import ReleaseRow
from suite.runbooks.history import FLIPS, WINDOW, History, _of, history
from suite.runbooks.history_plot import states as drawn

BAD = {name: {"P2.4": made.check("P2.4", {"broken": 1})} for name in ("fail",)}


def row(number: int, state: str) -> ReleaseRow:
    return ReleaseRow(number, 1_000.0 + number, f"r{number}", "dev", "READY", Path(f"r{number}"), "", "", "", states={"P1.1": state})


@given(st.lists(st.sampled_from(["pass", "fail", "degraded", "not-run", "waived", "not-applicable", "missing"]), max_size=40))
def test_last_green_last_red_and_flips_are_what_the_states_say(states: list[str]) -> None:
    rows = [row(number, state) for number, state in enumerate(states)]
    found = _of("P1.1", rows)
    greens = [number for number, state in enumerate(states) if state == "pass"]
    reds = [number for number, state in enumerate(states) if state in ("fail", "degraded")]
    assert (found.green and found.green.n, found.red and found.red.n) == (greens[-1] if greens else None, reds[-1] if reds else None)
    sides = "".join("g" if state == "pass" else "r" for state in states if state in ("pass", "fail", "degraded"))[-WINDOW:]
    assert found.flips == sides.count("gr") + sides.count("rg") and found.flaky == (found.flips >= FLIPS) and found.states == tuple(states)


def test_a_check_that_broke_and_stays_broken_is_not_flaky_and_one_that_comes_and_goes_is() -> None:
    assert not _of("P1.1", [row(n, state) for n, state in enumerate(["pass"] * 5 + ["fail"] * 5)]).flaky
    assert _of("P1.1", [row(n, state) for n, state in enumerate(["pass", "fail", "not-run", "pass"])]).flaky
    assert not _of("P1.1", [row(n, state) for n, state in enumerate(["pass", "fail", "pass", *["pass"] * WINDOW])]).flaky, "that was long ago"


def test_the_history_of_an_archive_is_read_from_its_ledger(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    made.sealed(reports, [made.release("r0"), made.release("r1", BAD["fail"]), made.release("r2", without=("P5.8",))])
    found = history(reports)
    assert [one.id for one in found.checks] == made.ALL and [one.release for one in found.releases] == ["r0", "r1", "r2"]
    check = next(one for one in found.checks if one.id == "P2.4")
    assert check.states == ("pass", "fail", "pass") and check.flaky and check.green.release == "r2" and check.red.release == "r1"
    last = next(one for one in found.checks if one.id == "P5.8")
    assert last.states == ("pass", "pass", "missing") and last.green.release == "r1" and last.to_dict()["last red"] == "never"
    line = next(line for line in repr(found).splitlines() if line.startswith("P2.4"))
    assert re.search(r"P2\.4 +pass +3 +yes +2 +r2 \(20\d\d-\d\d-\d\d \d\d:\d\d\) +r1 \(", line) and "<table>" in found._repr_html_()
    with pytest.raises(NotFound, match=r"has a check 'P9\.9'; there are P1\.1"):
        history(reports, "P9.9")
    with pytest.raises(NotFound, match="there is no release"):
        history(tmp_path / "none", "P1.1")
    assert history(tmp_path / "none").rows() == [] and "No release" in history(tmp_path / "none").plot().svg


def test_only_the_history_of_one_check_reads_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports, read = tmp_path / "reports", []
    made.sealed(reports, [made.release(f"r{n}", {"P5.5": made.check("P5.5", {"slowest": 1.0 + n}, limit=2.5 + n)}) for n in range(3)])
    real = archive.results
    monkeypatch.setattr(archive, "results", lambda path: (read.append(path.name), real(path))[1])
    history(reports)
    assert read == [], "a thousand releases are listed from the ledger alone"
    one = history(reports, "P5.5")
    assert len(read) == 3 and one.figures["slowest"] == [("r0", 1.0, 2.5), ("r1", 2.0, 3.5), ("r2", 3.0, 4.5)] and set(one.figures) == {"slowest", "free"}


def test_a_release_whose_folder_is_gone_has_states_and_no_figures(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    first, _ = made.sealed(reports, [made.release("r0"), made.release("r1")])
    (first / "results.json").unlink()
    found = history(reports, "P5.5")
    assert found.checks[0].states == ("pass", "pass") and found.figures["slowest"] == [("r0", None, None), ("r1", 0.5, 3.0)]
    tree.fromstring(found.plot().svg)


def shapes(svg: str, name: str) -> list[Any]:
    return tree.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{name}")


def test_the_plot_has_a_box_per_release_and_check_and_a_point_per_figure(tmp_path: Path) -> None:
    rows = tuple(row(n, state) for n, state in enumerate(["pass", "fail", "missing"]))
    figures = {"slowest <s>": [("r0", 1.0, 2.0), ("r1", 3.0, 2.0), ("r2", None, None)]}
    plot = History(rows, (_of("P1.1", rows),), figures).plot()
    boxes = [box.find("{http://www.w3.org/2000/svg}title").text for box in shapes(plot.svg, "rect") if len(box)]
    assert boxes == ["r0: pass", "r1: fail", "r2: missing"] and len(shapes(plot.svg, "circle")) == 2
    assert sum(path.get("stroke") == "#b42318" for path in shapes(plot.svg, "path")) == 2 and "slowest &lt;s&gt;" in plot.svg
    heights = [float(dot.get("cy")) for dot in shapes(plot.svg, "circle")]
    assert heights[0] > heights[1] and "✗" in plot.svg and "P1.1" in repr(plot) and plot._repr_html_().startswith("<img src=")


@given(st.integers(1, 80), st.integers(1, 5))
def test_boxes_of_any_number_of_releases_lie_within_the_picture(releases: int, checks: int) -> None:
    svg = drawn([f"r{n}" for n in range(releases)], {f"P1.{n}": ["fail"] * releases for n in range(checks)}, {})
    boxes = [box for box in shapes(svg, "rect") if len(box)]
    assert len(boxes) == releases * checks and all(float(box.get("x")) + float(box.get("width")) <= 760 for box in boxes)
