"""The runbook of phase 1 in a kernel of its own, which starts a real stack on this very machine."""

from __future__ import annotations

from pathlib import Path

from suite import checkout
from suite.runbooks.execute import execute
from suite.settings import load


def test_all_six_checks_are_recorded_and_what_is_red_is_only_an_unclean_checkout(tmp_path: Path, models_dir: Path) -> None:
    settings = load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir)})
    given = {"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir), "port_base": "auto"}
    before = checkout.look(checkout.root())
    report = execute("phase1_environment", {"settings": given}, settings, progress=False)
    states = {result.id: (result.state, result.why) for result in report.results}
    assert list(states) == [f"P1.{number}" for number in range(1, 7)] and report.trouble == ""
    assert {identity for identity, (state, _) in states.items() if state != "pass"} <= {"P1.5"}, states
    expected = "not-applicable" if before is None else "pass" if before.clean else "fail"
    assert states["P1.5"][0] == expected, states["P1.5"]
    assert report.smoke
