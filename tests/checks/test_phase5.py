"""The checks of backups, on a real stack and on stacks of another make; that each of their faults turns them red."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack

from suite.bench import throwaway
from suite.checks import fault_backup
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase5 import BACKUP
from suite.runbooks.execute import execute
from suite.settings import package_file

LIMITS = load()
BY_ID = {check.id: check for check in BACKUP}
BREAKS = {fault_backup.ALTERED_DATABASE: "problems", fault_backup.STALE_DATABASE: "turns_missing", fault_backup.IDLE_VERIFICATION: "rows_different",
          fault_backup.ALTERED_VECTORS: "problems", fault_backup.MISSING_COLLECTION: "collections_missing", fault_backup.MISSING_POINTS: "points_missing"}


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        yield stack, target


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_healthy_stack_passes_and_is_as_it_was_afterwards(running: Any, identity: str) -> None:
    stack, target = running
    stack.memory.remember("Where is the archive?", "On the third floor.")
    stack.memory.sync()
    before = stack.memory.projects(), [info.points for info in stack.store.collections()]
    result = perform(BY_ID[identity], target, LIMITS[identity])
    assert result.state == "pass", result
    assert examine(result.to_dict(), LIMITS) == ("pass", [])
    assert (stack.memory.projects(), [info.points for info in stack.store.collections()]) == before
    [standing] = [item for item in result.evidence if item.get("name") == "standing"]
    assert standing["rpo_s"] >= 0 and standing["rto_s"] > 0


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_stack_of_another_make_has_no_backups_that_could_be_asked_for(identity: str) -> None:
    target = FakeStack(foreign=True).target()
    result = perform(BY_ID[identity], target, LIMITS[identity])
    target.close()
    assert result.state == "not-applicable" and examine(result.to_dict(), LIMITS) == ("not-applicable", [])


def test_a_backup_that_is_refused_fails_with_the_reason(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.errors import StorageError

    def refuse(key_file: str = "") -> None:
        raise StorageError("The disk is full; free some space.")

    stack, target = running
    monkeypatch.setattr(stack.backups, "create", refuse)
    for check in BACKUP:
        result = perform(check, target, LIMITS[check.id])
        assert result.state == "fail" and "The disk is full" in result.why, result


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_every_fault_turns_its_check_red(running: Any, identity: str) -> None:
    """On one stack, each fault undone afterwards; `suite drill` uses a stack for each."""
    stack, target = running
    check, store, backups = BY_ID[identity], stack.store, stack.backups
    kept = {(thing, name): getattr(thing, name) for thing, name in ((store, "copy_to"), (backups, "create"), (backups, "verify"), (backups, "sources"))}
    for fault in (check.fault, *check.others):
        fault.inject(stack)
        try:
            result = perform(check, target, LIMITS[identity])
        finally:
            for (thing, name), honest in kept.items():
                setattr(thing, name, honest)
        assert result.state == "fail" and all(item.get("name") != "error" for item in result.evidence), (fault.sentence, result)
        broken = {item["name"] for item in result.conditions if item["met"] is False}
        assert BREAKS[fault] in broken, (fault.sentence, broken, result)
    assert perform(check, target, LIMITS[identity]).state == "pass"


def without(kind: str) -> Callable[[dict[str, Any]], Any]:
    return lambda body: body.update(searches=[search for search in body["searches"] if search["kind"] != kind])


MADE, VERIFIED, STANDING, COLLECTIONS = "POST /v1/backups", "POST /v1/backups/verify", "GET /v1/backups", "GET /collections"
BENT: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {  # condition: which answer of the stack says what, so that it breaks
    "turns_missing": (MADE, lambda body: body["tables"].update(memories=0)),
    "problems": (VERIFIED, lambda body: body.update(problems=["a file has other content."])),
    "rows_different": (VERIFIED, lambda body: body.update(rows=body["rows"] - 1)),
    "word_searches": (MADE, without("words")), "vector_searches": (MADE, without("vector")),
    "searches_lost": (VERIFIED, lambda body: body.update(searches=body["searches"] - 1)),
    "decisions": (VERIFIED, lambda body: body.update(decisions=1)),
    "rpo": (STANDING, lambda body: body["standing"].update(rpo_s=90_001.0)), "rto": (STANDING, lambda body: body["standing"].update(rto_s=601.0)),
    "collections": (COLLECTIONS, lambda body: body["result"].update(collections=[])),
    "collections_missing": (MADE, lambda body: body.update(collections={})),
    "points_missing": (MADE, lambda body: body.update(collections=dict.fromkeys(body["collections"], 0))),
    "collections_different": (VERIFIED, lambda body: body.update(collections=0)),
    "points_different": (VERIFIED, lambda body: body.update(points=body["points"] + 1)),
    "left_behind": (STANDING, lambda body: body["standing"].update(left_over=[".scratch-1"])),
}


@pytest.mark.parametrize(("identity", "condition"), [(identity, each.name) for identity in sorted(BY_ID) for each in LIMITS[identity].conditions
                                                     if each.name != "made"])  # that one: test_a_backup_that_is_refused_fails_with_the_reason
def test_every_condition_breaks_when_the_stack_says_what_it_must_not(running: Any, monkeypatch: pytest.MonkeyPatch, identity: str,
                                                                    condition: str) -> None:
    stack, target = running
    stack.memory.remember("Where is the archive?", "On the third floor.")
    honest, (which, bend) = target.json, BENT[condition]

    def json_of(method: str, part: str, path: str, **options: Any) -> Any:
        body = honest(method, part, path, **options)
        if f"{method} {path}" == which:
            bend(body)
        return body

    monkeypatch.setattr(target, "json", json_of)
    result = perform(BY_ID[identity], target, LIMITS[identity])
    assert result.state == ("degraded" if condition == "rto" else "fail"), result
    assert condition in {item["name"] for item in result.conditions if item["met"] is False}


def test_every_fault_has_its_own_sentence() -> None:
    faults = [fault for check in BACKUP for fault in (check.fault, *check.others)]
    assert len({fault.sentence for fault in faults}) == len({fault.inject for fault in faults}) == len(faults) == 6


def shown(path: Path) -> str:
    """All that an executed notebook shows as text."""
    return "\n".join("".join(output.get("data", {}).get("text/plain", "")) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
                     for output in cell.get("outputs", []))


def test_the_backup_runbook_runs_as_plain_papermill_and_shows_both_numbers(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}.items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "out.ipynb"
    done = subprocess.run([sys.executable, "-m", "papermill", str(package_file("runbooks/backup.ipynb")), str(out), "--no-progress-bar"],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(words in shown(out) for words in ("P5.7 pass", "P5.8 pass", "RPO, s", "backup: PASS, 2 pass of 2"))


def test_the_restore_drill_joins_the_stack_that_runs(running: Any, tmp_path: Path) -> None:
    stack, _ = running
    here = {"data_dir": str(stack.data), "reports_dir": str(tmp_path)}
    report = execute("restore_drill", {"settings": here}, stack.settings, out=tmp_path / "out.ipynb", progress=False)
    assert report.verdict == "pass" and [result.id for result in report.results] == ["P5.8", "P5.7"], report
    assert "already running, inspected as a guest" in shown(report.path) and "RTO, s" in shown(report.path)
    assert stack.backups.standing().verified >= 2
