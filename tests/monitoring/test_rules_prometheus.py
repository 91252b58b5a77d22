"""Our rules and a real Prometheus agree about every generated history."""

from __future__ import annotations

import subprocess
from pathlib import Path

import prometheus_stage as stage
import pytest
from replayed_rules import replay

from suite.monitoring.load_rules import load_rules
from suite.monitoring.promql import FILE, expression, rule_file

pytestmark = pytest.mark.skipif(not stage.installed(), reason=stage.MISSING)
HISTORIES, SEED = 200, 20_250_930


def test_two_hundred_histories_hold_and_fire_alike(tmp_path: Path) -> None:
    done = replay(HISTORIES, SEED, tmp_path)
    assert done.different == [], done.different[0]
    assert done.fired > 10_000 and done.rules >= {rule.key for rule in load_rules()}, f"too little happened: {done}, {done.rules}"


def test_promtool_accepts_the_rule_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(rule_file(load_rules()), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", str(tmp_path / FILE)], capture_output=True, text=True)
    assert checked.returncode == 0 and f"{len(load_rules())} rules found" in checked.stdout, checked.stderr


def test_promtool_refuses_a_broken_rule_file(tmp_path: Path) -> None:
    broken = rule_file(load_rules()).replace(expression(load_rules()[0]), "up = = 0")
    (tmp_path / FILE).write_text(broken, encoding="utf-8")
    assert subprocess.run(["promtool", "check", "rules", str(tmp_path / FILE)], capture_output=True).returncode == 1
