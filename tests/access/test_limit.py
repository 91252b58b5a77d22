"""Limits: so many calls in a sliding window and so many at once, of one actor and one tool, whatever others do."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suite.access.limit import Limits
from suite.access.permission import Permission, Sensitivity
from suite.access.policy import load_policy
from suite.access.window import MANY, Windows
from suite.errors import TooMany

ROW = Permission("read_file", "file.read", Sensitivity.HIGH, calls=3, seconds=60, burst=2)


def test_one_more_than_calls_and_burst_is_refused_and_says_when() -> None:
    limits = Limits()
    for _ in range(5):
        limits.take("ann", ROW)
    with pytest.raises(TooMany, match="5 times in 60 s, which is the most; try again in") as refused:
        limits.take("ann", ROW)
    assert 1 <= refused.value.facts["retry_after"] <= 60 and refused.value.status == 429
    used = limits.used("ann", ROW)
    assert (used.calls, used.most, used.remaining) == (5, 5, 0) and 0 < used.retry_after <= 60


def test_a_refused_call_takes_no_room_and_others_have_their_own() -> None:
    limits = Limits()
    for _ in range(50):
        try:
            limits.take("flood", ROW)
        except TooMany:
            continue
    limits.take("ann", ROW)
    limits.take("flood", Permission("other", "x", Sensitivity.LOW, calls=1))
    assert limits.used("flood", ROW).calls == 5 and limits.used("ann", ROW).calls == 1


def test_a_tool_without_a_limit_is_never_refused() -> None:
    limits, free = Limits(), Permission("free", "x", Sensitivity.LOW)
    for _ in range(300):
        limits.take("ann", free)
    assert limits.used("ann", free).most == 0


def test_as_many_run_at_once_as_the_sensitivity_allows_and_a_place_is_given_back() -> None:
    limits = Limits()
    inside, go = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with limits.running("ann", ROW):
            inside.release()
            go.wait(20)

    threads = [threading.Thread(target=hold) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    with pytest.raises(TooMany, match="5 calls of read_file by 'ann' are running"), limits.running("ann", ROW):
        raise AssertionError("one too many")
    with limits.running("bob", ROW):
        assert limits.used("ann", ROW).running == 5
    go.set()
    for thread in threads:
        thread.join(20)
    with limits.running("ann", ROW):
        assert limits.used("ann", ROW).running == 1
    assert limits.used("ann", ROW).running == 0


def test_a_call_that_fails_gives_its_place_back() -> None:
    limits = Limits()
    with pytest.raises(ValueError, match="boom"), limits.running("ann", ROW):
        raise ValueError("boom")
    assert limits.used("ann", ROW).running == 0


def test_the_policy_has_the_limits_of_the_original() -> None:
    found = {tool: (row.calls, row.seconds, row.burst) for tool, row in load_policy().tools.items()}
    assert found["read_file"] == (100, 60, 20) and found["list_files"] == (60, 60, 10) and found["switch_model"] == (5, 300, 1)
    assert found["execute_bash"] == (10, 60, 2) and found["web_automate"] == (5, 60, 1) and found["git_add"] == (20, 60, 3)
    assert all(calls for calls, _, _ in found.values())
    assert {level.name: Permission("t", "p", level).at_once for level in Sensitivity} == {"LOW": 20, "MEDIUM": 10, "HIGH": 5, "CRITICAL": 2}


@example([(0.0, "ann"), (3.0, "ann")], 1, 3)
@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["ann", "bob"])), max_size=60), st.integers(1, 4), st.integers(1, 30))
def test_a_window_slides_with_every_call(calls: list[tuple[float, str]], most: int, seconds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        now, windows = [1000.0], Windows()
        patch.setattr(time, "time", lambda: now[0])
        taken: list[tuple[float, str]] = []
        for pause, who in calls:
            now[0] += pause
            inside = [at for at, whose in taken if whose == who and at > now[0] - seconds]
            assert windows.acquire_entry(who, most, seconds) == (len(inside) < most)
            if len(inside) < most:
                taken.append((now[0], who))
                inside.append(now[0])
            assert windows.get_moving_window(who, most, seconds) == (inside[0], len(inside))


def test_no_thread_is_started_and_names_that_nobody_uses_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows()
    windows.timer.join(5)  # the one with which the library's memory begins
    before = threading.active_count()
    for number in range(MANY - 1):
        windows.acquire_entry(f"invented-{number}", 5, 60)
    assert threading.active_count() == before and len(windows.events) == MANY - 1
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 61)
    windows.acquire_entry("ann", 5, 60)
    assert list(windows.events) == ["ann"]
