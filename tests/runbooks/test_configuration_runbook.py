"""The runbook of phase 4 in a real kernel: with and without the result of the tests, with waivers of the user's, and as plain papermill runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from fake_stack import TOKEN, FakeStack

from suite.bench import throwaway
from suite.checks.criteria import load as load_criteria
from suite.checks.fault_hardening import OLD_KEY
from suite.checks.fault_tested import finished_job
from suite.errors import SettingsError
from suite.runbooks.catalog import RUNBOOKS, STRESS, every_id
from suite.runbooks.execute import execute
from suite.settings import load, package_file

FOUR = ["P4.1", "P4.2", "P4.3", "P4.4"]


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir), monitoring_interval=1) as (stack, target):
        finished_job(stack, target)
        yield stack, target


def executed(running: Any, out: Path, **settings: str) -> Any:
    stack, _ = running
    here = {"data_dir": str(stack.data), "reports_dir": str(out.parent), **settings}
    return execute("phase4_configuration", {"settings": here}, load({"data_dir": str(stack.data), **settings}), out=out, progress=False)


def test_it_passes_with_the_result_of_the_tests_and_lists_the_recommendations(running: Any, tmp_path: Path) -> None:
    report = executed(running, tmp_path / "out.ipynb", ci_result=str(running[1].ci_result))
    assert report.verdict == "pass" and [result.id for result in report.results] == FOUR, report
    shown = "".join(str(output) for cell in nbformat.read(report.path, 4).cells for output in cell.get("outputs", []))
    assert "Whatever leaves this machine is encrypted (TLS)." in shown and "does not apply" in shown


def test_without_it_p4_2_is_not_run_and_the_verdict_is_fail(running: Any, tmp_path: Path) -> None:
    report = executed(running, tmp_path / "out.ipynb")
    assert [(result.id, result.state) for result in report.results] == [("P4.1", "pass"), ("P4.2", "not-run"), ("P4.3", "pass"), ("P4.4", "pass")]
    assert report.verdict == "fail" and "P4.2" in report.line and "CI_RESULT" in report.results[1].why


def test_a_result_of_another_commit_is_a_fail(running: Any, tmp_path: Path) -> None:
    stack, target = running
    other = tmp_path / "job"
    other.mkdir()
    for file in target.ci_result.parent.iterdir():
        (other / file.name).write_bytes(file.read_bytes().replace(stack.record.commit.encode(), b"f" * 40))
    report = executed(running, tmp_path / "out.ipynb", ci_result=str(other / target.ci_result.name))
    assert report.results[1].state == "fail" and {"commit_same", "digest_same"} == {
        item["name"] for item in report.results[1].conditions if item["met"] is False}


def test_a_waiver_of_the_users_own_is_judged_alike_in_the_kernel_and_by_the_runner(running: Any, tmp_path: Path) -> None:
    stack, target = running
    OLD_KEY.inject(stack)
    mine = tmp_path / "mine.toml"
    for expiry, state in (("9000-01-01", "waived"), ("2001-01-01", "fail")):
        mine.write_text(f"['P4.4'.waivers.key_age]\nowner = 'kim'\nexpiry = {expiry}\nreason = 'it is replaced next week'\n", encoding="utf-8")
        report = executed(running, tmp_path / "out.ipynb", ci_result=str(target.ci_result), waivers=str(mine))
        assert report.results[3].state == state and "kim" in report.results[3].why, report
        assert "doubt" not in [item["name"] for item in report.results[3].evidence]
    for key in stack.keys.list():
        stack.keys.revoke(key.id)
    mine.write_text("['P4.33'.waiver]\nowner = 'kim'\nexpiry = 9000-01-01\nreason = 'r'\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"speaks of 'P4.33'.*did you mean P4"):
        executed(running, tmp_path / "out.ipynb", waivers=str(mine))


def test_plain_papermill_runs_it_and_a_check_that_was_not_run_ends_it_with_an_error(running: Any, tmp_path: Path) -> None:
    here = {"data_dir": str(running[0].data), "reports_dir": str(tmp_path)}
    source = str(package_file("runbooks/phase4_configuration.ipynb"))
    papermill.execute_notebook(source, str(tmp_path / "good.ipynb"), {"settings": {**here, "ci_result": str(running[1].ci_result)}}, kernel_name="python3",
                               progress_bar=False)
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match=r"not passed: P4\.2"):
        papermill.execute_notebook(source, str(tmp_path / "out.ipynb"), {"settings": here}, kernel_name="python3", progress_bar=False)


def test_limits_of_a_profile_hold_for_the_kernel_and_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    text = package_file("runbooks/criteria.toml").read_text(encoding="utf-8")
    for profile, state in (("cpu", "pass"), ("smoke", "fail")):
        own = f"profiles = {{ {profile} = {{ dimension = {{ limit = 512, reason = 'a larger embedder' }} }} }}"
        (tmp_path / "limits.toml").write_text(text.replace('["P2.5"]', f'["P2.5"]\n{own}'), encoding="utf-8")
        with FakeStack().served() as urls:
            asked = {"base_urls": urls, "token_env": "THE_TOKEN", "criteria": str(tmp_path / "limits.toml")}
            report = execute("phase2_health", asked, load(), progress=False)
        assert report.results[4].state == state, report.results[4].why
        assert "doubt" not in [item["name"] for item in report.results[4].evidence]


def test_every_check_has_criteria_of_the_same_weight_and_none_is_left_over() -> None:
    limits = load_criteria()
    checks = {check.id: check for checks in (RUNBOOKS | STRESS).values() for check in checks}
    assert set(limits) == set(checks) == set(every_id())
    assert {identity: limits[identity].weight for identity in limits} == {identity: check.weight for identity, check in checks.items()}
