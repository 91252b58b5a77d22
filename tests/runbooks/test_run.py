"""A run from inside the kernel: nothing a stack does keeps a check from having a result, and the last cell says the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_stack import TOKEN, FakeStack, change, status

from suite.checks.drill import Drill, record
from suite.checks.target import Target
from suite.errors import BadRequest, NotFound, PortBusy, RunFailed, SettingsError
from suite.runbooks.run import Run, begin
from suite.settings import load

NINE = [f"P2.{number}" for number in range(1, 10)]


class FakeBench:
    """What start() gives, over a fake stack."""

    def __init__(self, stack: FakeStack, hosting: bool = True) -> None:
        self.stack, self.hosting, self.settings, self.stopped, self.asked = stack, hosting, load(), False, {}

    def start(self, profile: str | None = None, **asked: Any) -> FakeBench:
        self.asked = {"profile": profile, **asked}
        return self

    def target(self) -> Target:
        return self.stack.target()

    def stop(self) -> None:
        self.stopped = True


def started(stack: FakeStack, hosting: bool = True, **parameters: Any) -> tuple[Run, FakeBench]:
    bench = FakeBench(stack, hosting)

    def start(*args: Any, **asked: Any) -> FakeBench:
        if hosting and stack.began is not None:
            import time

            stack.began = time.time()
        return bench.start(*args, **asked)

    return begin("phase2_health", start=start, **parameters), bench


def test_a_stack_that_this_run_started_passes_and_is_stopped_at_the_end() -> None:
    run, bench = started(FakeStack())
    assert [run.check(name).state for name in NINE] == ["pass"] * 9
    assert "PASS" in repr(run.finish()) and "smoke" in repr(run.table()).lower()
    assert bench.stopped and run.facts["stack"] == "started by this run"
    assert "rag" in repr(run.plot()) and "<svg" in run.plot()._repr_html_()


def test_an_open_stack_of_this_process_is_left_running() -> None:
    stack = FakeStack()
    stack.began = 1.0
    bench = FakeBench(stack)
    run = begin("phase2_health", start=bench.start)
    [run.check(name) for name in NINE]
    run.finish()
    assert not bench.stopped


def test_without_a_profile_the_run_inspects_whatever_is_there_and_with_one_it_insists() -> None:
    assert started(FakeStack())[1].asked == {"profile": None, "attach": True}
    assert started(FakeStack(), profile="smoke")[1].asked == {"profile": "smoke", "attach": False}
    assert started(FakeStack(), settings={"rag_topk": 3})[1].asked == {"profile": None, "attach": True, "rag_topk": 3}


def test_a_red_check_does_not_stop_the_others_and_the_last_cell_raises() -> None:
    run, bench = started(FakeStack().bend("embedding POST /embed", change(dim=1)))
    states = {name: run.check(name).state for name in NINE}
    assert states.pop("P2.5") == "fail" and set(states.values()) == {"pass"}
    with pytest.raises(RunFailed, match=r"P2\.5"):
        run.finish()
    assert bench.stopped


def test_a_cell_that_was_not_executed_fails_the_run_as_not_run() -> None:
    run, _ = started(FakeStack())
    [run.check(name) for name in NINE[:-1]]
    with pytest.raises(RunFailed, match=r"1 not-run of 9 \(not passed: P2\.9\)"):
        run.finish()


def test_a_stack_that_cannot_be_started_leaves_nine_not_run_with_the_reason() -> None:
    def start(*_: Any, **__: Any) -> Any:
        raise PortBusy("Port 8000 is taken by pid 1.")

    run = begin("phase2_health", start=start)
    results = [run.check(name) for name in NINE]
    assert {result.state for result in results} == {"not-run"} and "Port 8000" in results[0].why
    with pytest.raises(RunFailed, match="Port 8000"):
        run.finish()


@pytest.mark.parametrize("parameters", [{"expect_profile": "gpu-6gb"}, {"expect_commit": "deadbee"}, {"expect_commit": "c0ff"}])
def test_another_stack_than_the_one_meant_fails_the_run_although_all_checks_pass(parameters: dict[str, str]) -> None:
    run, _ = started(FakeStack(), **parameters)
    assert [run.check(name).state for name in NINE] == ["pass"] * 9
    with pytest.raises(RunFailed, match="another stack than the one meant"):
        run.finish()


def test_the_stack_that_was_meant_passes() -> None:
    run, _ = started(FakeStack(), expect_profile="smoke", expect_commit="c0ffee1")
    [run.check(name) for name in NINE]
    run.finish()


def test_a_changed_checkout_is_not_the_commit_it_started_from() -> None:
    dirty = {"commit": "c0ffee1234-dirty"}
    stack = FakeStack().bend("api-gateway GET /v1/parts", lambda found: (200, {**found[1], "host": found[1]["host"] | dirty}))
    assert started(stack, expect_commit="c0ffee1")[0].facts["mismatches"]


def test_a_stack_by_url_is_checked_with_the_token_of_the_environment_which_no_record_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    with FakeStack().served() as urls:
        run = begin("phase2_health", start=lambda *_, **__: pytest.fail("a stack was started"), base_urls=json.dumps(urls), token_env="THE_TOKEN")
        results = [run.check(name) for name in NINE]
        run.finish()
    assert {result.state for result in results} == {"pass"}
    assert TOKEN not in json.dumps([run._repr_mimebundle_(), *(result._repr_mimebundle_() for result in results)])


@pytest.mark.parametrize("parameters", [{"base_urls": {"x": "http://y"}}, {"budget_s": 0}, {"budget_s": "soon"}, {"criteria": "nowhere.toml"},
                                        {"base_urls": "http://127.0.0.1", "token_env": "NOT_SET_ANYWHERE"}])
def test_a_parameter_that_cannot_be_used_is_refused_before_anything_starts(parameters: dict[str, Any]) -> None:
    with pytest.raises((BadRequest, SettingsError)):
        begin("phase2_health", start=lambda *_, **__: pytest.fail("a stack was started"), **parameters)


def test_an_unknown_check_or_runbook_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(NotFound, match="phase2_health"):
        begin("phase9", start=lambda *_, **__: None)
    with pytest.raises(NotFound, match=r"P2\.1"):
        started(FakeStack())[0].check("P9.1")


def test_a_result_says_when_its_check_was_last_proven_red(tmp_path: Path) -> None:
    record(tmp_path, Drill("P2.5", "a test", True, "2026-01-02T03:04:05+00:00"))
    run, _ = started(FakeStack(), settings={"reports_dir": str(tmp_path)})
    assert run.check("P2.5").proven_red_at == "2026-01-02T03:04:05+00:00"
    assert run.check("P2.6").proven_red_at is None


def test_a_stopped_gateway_leaves_a_whole_run() -> None:
    run, _ = started(FakeStack().bend("api-gateway .*", status(500)))
    states = [run.check(name).state for name in NINE]
    assert "not-run" not in states or set(states) == {"not-run"}
    with pytest.raises(RunFailed):
        run.finish()
