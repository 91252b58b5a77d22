"""P4.2: only a finished other job's result of this very commit counts; without one the check is not-run, never a pass and never a fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fake_stack import FakeStack

from suite.checks import fault_tested as job
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase4 import TESTED
from suite.checks.tested import counted, digest, read, record
from suite.errors import BadRequest, StorageError

LIMITS = load()
COMMIT = "c0ffee1" + "0" * 33  # what the fake stack says
BEGAN = "2026-01-01T00:00:00+00:00"
CASES = '<testcase classname="t" name="one"/><testcase classname="t" name="two"/>'
WRITE = ("import sys; from pathlib import Path; from suite.checks.tested import record; f = Path(sys.argv[1]); "
         "record(f / 'result.json', sys.argv[2], sys.argv[3], {n: f / f'{n}.xml' for n in ('pytest', 'nbval')})")


def report(folder: Path, name: str, cases: str = CASES) -> Path:
    path = folder / f"{name}.xml"
    path.write_text(f'<testsuites><testsuite name="{name}">{cases}</testsuite></testsuites>', encoding="utf-8")
    return path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The result that another process has written."""
    for name in ("pytest", "nbval"):
        report(tmp_path, name)
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path), COMMIT, BEGAN], check=True)
    return tmp_path / "result.json"


@pytest.fixture
def check() -> Iterator[Callable[[Path | None], Any]]:
    """Perform P4.2 on a stack of the commit, with a result file."""
    opened = []

    def performed(path: Path | None, stack: FakeStack | None = None) -> Any:
        target = (stack or FakeStack()).target()
        opened.append(target)
        target.ci_result = path
        done = perform(TESTED, target, LIMITS["P4.2"])
        assert examine(done.to_dict(), LIMITS) == (done.state, [])
        return done

    yield performed
    for target in opened:
        target.close()


def broken(result: Any) -> set[str]:
    return {item["name"] for item in result.conditions if item["met"] is False}


def edit(path: Path, signed: bool = True, **values: Any) -> None:
    """Change what the result says; its digest is made anew, as by somebody who knows how."""
    body = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(body | ({"digest": digest(body)} if signed else {})), encoding="utf-8")


def test_the_result_of_another_job_on_this_commit_is_a_pass(result: Path, check: Any) -> None:
    done = check(result)
    assert done.state == "pass", done.why
    assert [(item["stage"], item["tests"], item["failed"]) for item in done.evidence if item["name"] == "stage"] == [("pytest", 2, 0), ("nbval", 2, 0)]
    assert next(item for item in done.evidence if item["name"] == "job")["digest"] == json.loads(result.read_text())["digest"]


@pytest.mark.parametrize("missing", [None, "nowhere.json"])
def test_without_a_file_it_is_not_run_and_says_what_to_do(missing: str | None, tmp_path: Path, check: Any) -> None:
    done = check(None if missing is None else tmp_path / missing)
    assert (done.state, done.observed["value"]) == ("not-run", None) and "CI_RESULT" in done.why
    assert "suite ci record" in done.why or "does not exist" in done.why


def test_a_stack_of_another_make_does_not_say_its_commit_and_is_not_run(result: Path, check: Any) -> None:
    assert check(result, FakeStack(foreign=True)).state == "not-run"


LATER = (datetime.now(UTC) + timedelta(days=365)).isoformat()


@pytest.mark.parametrize(("values", "condition"), [
    ({"commit": "f" * 40}, "commit_same"), ({"commit": COMMIT + "-dirty"}, "commit_same"), ({"commit": ""}, "commit_same"),
    ({"state": "running"}, "finished"), ({"state": "failed"}, "finished"), ({"state": None}, "finished"), ({"ended_at": LATER}, "ended_before"),
    ({"ended_at": "2025-12-31T00:00:00+00:00"}, "ended_before"), ({"ended_at": None}, "ended_before"), ({"started_at": "yesterday"}, "ended_before"),
    ({"ended_at": "2026-01-02T00:00:00"}, "ended_before"),  # nobody knows in which zone
    ({"writer": {"pid": os.getpid(), "since": psutil.Process().create_time()}}, "other_job"), ({"writer": {}}, "other_job"), ({"writer": 7}, "other_job"),
])
def test_each_wrong_word_in_it_breaks_its_condition_alone(values: dict[str, Any], condition: str, result: Path, check: Any) -> None:
    edit(result, **values)
    done = check(result)
    assert (done.state, broken(done)) == ("fail", {condition})


def test_a_digest_that_is_not_the_one_of_the_file_fails(result: Path, check: Any) -> None:
    edit(result, signed=False, job="another")
    assert broken(check(result)) == {"digest_same"}
    edit(result, signed=False, digest="")
    assert broken(check(result)) == {"digest_same"}


def test_the_reports_are_counted_again_whatever_the_result_says(result: Path, check: Any) -> None:
    report(result.parent, "pytest", CASES.replace('name="one"/>', 'name="one"><failure/></testcase>'))
    done = check(result)
    assert broken(done) == {"reports_altered", "tests_failed"} and done.state == "fail"
    report(result.parent, "pytest", "")
    assert broken(check(result)) == {"reports_altered", "fewest_tests"}
    (result.parent / "pytest.xml").unlink()
    assert broken(check(result)) == {"reports_altered", "fewest_tests"}


def test_a_report_with_the_same_counts_is_not_the_one_that_the_job_saw(result: Path, check: Any) -> None:
    report(result.parent, "pytest", CASES.replace("two", "three"))
    assert broken(check(result)) == {"reports_altered"}


def test_counts_that_are_not_those_of_the_report_count_as_altered(result: Path, check: Any) -> None:
    stages = json.loads(result.read_text())["stages"]
    edit(result, stages=[{**stages[0], "tests": 3}, stages[1]])
    assert broken(check(result)) == {"reports_altered"}


def test_a_stage_that_was_left_out_is_missed_and_a_report_elsewhere_is_none(result: Path, check: Any) -> None:
    stages = json.loads(result.read_text())["stages"]
    edit(result, stages=stages[:1])
    assert broken(check(result)) == {"stages_missing"}
    (result.parent / "other").mkdir()
    report(result.parent / "other", "elsewhere")
    edit(result, stages=[{**stages[0], "report": "other/elsewhere.xml"}, stages[1]])
    assert broken(check(result)) == {"reports_altered", "fewest_tests"}
    edit(result, stages=[])
    assert broken(check(result)) == {"stages_missing", "fewest_tests"}


BREAKS = {job.OTHER_COMMIT: {"commit_same"}, job.WRONG_DIGEST: {"digest_same", "reports_altered"}, job.UNFINISHED_JOB: {"finished"},
          job.FAILING_TEST: {"reports_altered", "tests_failed"}, job.MISSING_STAGE: {"stages_missing"}, job.OWN_WORD: {"other_job"}}


def test_every_fault_is_tried() -> None:
    assert {TESTED.fault, *TESTED.others} == set(BREAKS) and TESTED.prepare is job.finished_job


@dataclass(frozen=True)
class Record:
    """What a host says of itself, as far as this check asks."""

    commit: str


@pytest.mark.parametrize("said", [COMMIT, COMMIT + "-dirty", ""])
def test_a_throwaway_stack_gets_a_job_of_its_own_and_each_fault_breaks_what_it_is_about(said: str, tmp_path: Path) -> None:
    for number, (fault, conditions) in enumerate(BREAKS.items()):
        (tmp_path / str(number) / "cache").mkdir(parents=True)
        fake, stack = FakeStack(), SimpleNamespace(settings=SimpleNamespace(data_dir=tmp_path / str(number)), record=Record(said))
        target, host = fake.target(), fake.host()
        fake.host = lambda stack=stack, host=host: {**host, "commit": stack.record.commit}  # type: ignore[method-assign,misc]
        job.finished_job(stack, target)
        healthy = perform(TESTED, target, LIMITS["P4.2"])
        assert healthy.state == "pass", healthy.why
        fault.inject(stack)
        assert broken(perform(TESTED, target, LIMITS["P4.2"])) == conditions
        target.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "stages": []}', '{"schema": 1}'])
def test_a_damaged_result_is_a_fail_with_its_reason(text: str, result: Path, check: Any) -> None:
    result.write_text(text, encoding="utf-8")
    done = check(result)
    assert done.state == "fail" and "result.json" in done.why and done.conditions[0]["observed"] is False


@pytest.mark.parametrize("commit", ["", "c0ffee1", COMMIT + "-dirty"])
def test_a_stack_that_does_not_say_one_clean_commit_fails(commit: str, result: Path, check: Any) -> None:
    stack = FakeStack()
    host = stack.host()
    stack.host = lambda: {**host, "commit": commit}  # type: ignore[method-assign]
    edit(result, commit=commit)  # the same words, but nobody knows of which code
    assert broken(check(result, stack)) == {"commit_same"}


@pytest.mark.parametrize(("cases", "found"), [
    (CASES, (2, 0, 0)), ('<testcase><skipped/></testcase><testcase/>', (1, 0, 1)), ('<testcase><error/></testcase>', (1, 1, 0)),
    ('<testcase><failure/><skipped/></testcase>', (1, 1, 0)), ("", (0, 0, 0)),
])
def test_tests_are_counted_in_the_report(cases: str, found: tuple[int, int, int], tmp_path: Path) -> None:
    assert counted(report(tmp_path, "pytest", cases)) == found


@pytest.mark.parametrize(("cases", "state"), [(CASES, "finished"), ('<testcase><failure/></testcase>', "failed"), ("", "failed"),
                                              ('<testcase><skipped/></testcase>', "failed")])
def test_a_job_is_finished_when_every_stage_ran_tests_and_none_failed(cases: str, state: str, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    given = {"pytest": report(tmp_path / "reports", "a", cases), "nbval": report(tmp_path / "reports", "b")}
    done = record(tmp_path / "out" / "result.json", COMMIT, BEGAN, given, "run 7", commit_now=COMMIT)
    body = read(tmp_path / "out" / "result.json")
    assert done.state == body["state"] == state and body == json.loads(json.dumps(done.to_dict())) and body["job"] == "run 7"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nbval.xml", "pytest.xml", "result.json"]  # it can be carried elsewhere


@pytest.mark.parametrize("spoil", ["commit", "changed", "no report", "no stage"])
def test_nothing_is_written_and_an_earlier_result_is_gone_when_it_cannot_be_recorded(spoil: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    reports = {"pytest": report(tmp_path, "pytest")}
    record(out, COMMIT, BEGAN, reports)
    with pytest.raises((BadRequest, StorageError)):
        record(out, "" if spoil == "commit" else COMMIT, BEGAN,
               {} if spoil == "no stage" else {**reports, "nbval": tmp_path / "nowhere.xml"} if spoil == "no report" else reports,
               commit_now="f" * 40 if spoil == "changed" else None)
    assert not out.exists()
