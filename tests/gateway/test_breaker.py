"""The breaker against a model of what its sentence says, under every order of beginnings, ends and ticks of the clock."""

from __future__ import annotations

import gc
import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from suite.gateway.breaker import CLOSED, HALF_OPEN, OPEN, Breaker

FAILURES, SECONDS = 3, 10.0


class Breakers(RuleBasedStateMachine):
    """The model: failures in a row since the last change, when it opened, which requests are of the present state, which one is the probe."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.breaker = Breaker(FAILURES, SECONDS, lambda: self.now)
        self.opened_at, self.row, self.probe = None, 0, None
        self.fresh, self.stale = [], []  # permits of the present state and of one that has passed

    def expected(self):
        return CLOSED if self.opened_at is None else OPEN if self.now < self.opened_at + SECONDS else HALF_OPEN

    def changed(self, opened):
        self.opened_at, self.row, self.probe = (self.now if opened else None), 0, None
        self.stale += self.fresh
        self.fresh = []

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 10.0, 25.0]))
    def tick(self, seconds):
        self.now += seconds

    @rule()
    def enter(self):
        permit = self.breaker.enter()
        allowed = self.expected() == CLOSED or (self.expected() == HALF_OPEN and self.probe is None)
        assert (permit is not None) == allowed
        if permit is not None:
            self.fresh.append(permit)
            self.probe = permit if self.opened_at is not None else None

    def take(self, data):
        several = self.fresh + self.stale
        permit = several[data.draw(st.integers(0, len(several) - 1))]
        current = permit in self.fresh
        (self.fresh if current else self.stale).remove(permit)
        return permit, current

    @precondition(lambda self: self.fresh or self.stale)
    @rule(data=st.data())
    def good(self, data):
        permit, current = self.take(data)
        permit.good()
        if current and self.opened_at is not None:
            self.changed(False)
        elif current:
            self.row = 0

    @precondition(lambda self: self.fresh or self.stale)
    @rule(data=st.data())
    def bad(self, data):
        permit, current = self.take(data)
        permit.bad("it failed")
        if current:
            self.row += 1
            if self.opened_at is not None or self.row >= FAILURES:
                self.changed(True)

    @precondition(lambda self: self.fresh or self.stale)
    @rule(data=st.data())
    def void(self, data):
        permit, current = self.take(data)
        permit.void()
        if current and permit is self.probe:
            self.probe = None

    @precondition(lambda self: self.fresh)
    @rule(data=st.data())
    def begun(self, data):
        permit = self.fresh[data.draw(st.integers(0, len(self.fresh) - 1))]
        permit.begun()
        if self.opened_at is not None:  # the probe has begun to answer: closed, and its own failure still counts
            self.fresh.remove(permit)
            self.changed(False)
            self.fresh.append(permit)

    @invariant()
    def the_state_is_the_one_expected(self):
        assert self.breaker.state == self.expected()
        assert self.breaker.rests() == (max(0.0, self.opened_at + SECONDS - self.now) if self.opened_at is not None else 0.0)


Breakers.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreaker = Breakers.TestCase


def test_of_many_threads_exactly_one_gets_the_probe():
    now = [0.0]
    breaker = Breaker(1, 5.0, lambda: now[0])
    breaker.enter().bad("down")
    now[0] = 6.0
    start, permits = threading.Barrier(16), []

    def ask():
        start.wait()
        permits.append(breaker.enter())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(permit is not None for permit in permits) == 1


def test_a_probe_that_nobody_settles_does_not_keep_the_server_out():
    now = [0.0]
    breaker = Breaker(1, 5.0, lambda: now[0])
    breaker.enter().bad("down")
    now[0] = 6.0
    probe = breaker.enter()
    assert probe is not None and breaker.enter() is None
    del probe
    gc.collect()
    assert breaker.enter() is not None
