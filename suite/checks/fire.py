"""What a fire drill of an alert rule is made of: how its cause is brought about and taken back, and the throw-away stack on which that is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from suite.checks.fault import Stack
from suite.checks.listen import Listener
from suite.checks.target import Target
from suite.errors import SuiteError
from suite.monitoring.alert import FIRING
from suite.monitoring.monitor import Monitor

STEP = 15.0  # seconds by which the clock is moved before each round, as far as rounds lie apart in a stack at work
How = Literal["caused", "reported"]
Cause = Callable[["Scene"], AbstractContextManager[None]]


class MovedClock:
    """The time of day, which can be moved on: a rule waits for minutes, a drill does not."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        """UTC seconds."""
        return time.time() + self._ahead

    def forward(self, seconds: float) -> None:
        """Move it on."""
        self._ahead += seconds


@dataclass
class Scene:
    """A stack, what can be asked of it, its clock, and who listens for its notifications. `watchers` look at it from outside, beside its own."""

    stack: Stack
    target: Target
    clock: MovedClock
    listener: Listener
    watchers: list[Monitor] = field(default_factory=list)
    burning: set[str] = field(default_factory=set)  # the keys of all rules that have fired so far

    def call(self, method: str, part: str, path: str, **options: Any) -> httpx.Response:
        """Ask a part over HTTP; any answer is given."""
        return self.target.call(method, part, path, **options)

    def together(self, asks: Iterable[Callable[[], Any]]) -> list[threading.Thread]:
        """Begin to do several things at once, and give the threads; what the stack refuses is refused."""
        def quietly(ask: Callable[[], Any]) -> None:
            with suppress(SuiteError):
                ask()

        threads = [threading.Thread(target=quietly, args=(ask,), name="suite-fire-drill", daemon=True) for ask in asks]
        for thread in threads:
            thread.start()
        return threads

    def ask_all(self, count: int, ask: Callable[[int], Any]) -> None:
        """Do something `count` times at once, with the number of each, and wait until all of it is done."""
        for thread in self.together([lambda number=number: ask(number) for number in range(count)]):  # type: ignore[misc]
            thread.join()

    def chat(self, part: str = "api-gateway", model: str = "") -> httpx.Response:
        """Ask a model for one token."""
        body = {"model": model or self.stack.settings.api_gateway_chat_model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        return self.call("POST", part, "/v1/chat/completions", json=body)

    def round(self) -> None:
        """Move the clock on, and have everything looked at: over HTTP, then the rules, then whoever is told."""
        self.clock.forward(STEP)
        self.stack.parts["memory-maintainer"].wake()
        for monitor in (self.stack.monitor, *self.watchers):
            monitor.scraper.scrape()
            self.burning |= {alert.rule for alert in monitor.watch.active() if alert.state == FIRING}

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Make rounds until it holds, for so many seconds of the moved clock at most."""
        for _ in range(int(seconds / STEP)):
            if condition():
                return True
            self.round()
        return condition()


def nothing(scene: Scene) -> None:
    """Nothing has to be there before."""


def once(act: Callable[[Scene], None]) -> Cause:
    """A cause that is over when it has happened: nothing is to be taken back but what grows old by itself."""
    @contextmanager
    def cause(scene: Scene) -> Iterator[None]:
        act(scene)
        yield

    return cause


@dataclass(frozen=True)
class Fire:
    """The fire drill of one rule, by its key (name/severity).

    `caused`: what the rule warns of is made to happen. `reported`: it cannot be made to happen here, and what is asked below the metric says that
    it does. `beside` are the critical rules that the same cause explains. `settings` are those that the stack needs beside the usual ones.
    `ends`: the alert is resolved when the cause is taken back, or it `stops`, being one that has to arrive for ever.
    """

    rule: str
    how: How
    sentence: str
    cause: Cause
    before: Callable[[Scene], None] = nothing
    beside: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    ends: Literal["resolved", "stops"] = "resolved"


@contextmanager
def bent(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Let an attribute be something else for as long as the block runs."""
    kept, honest = name in vars(thing), getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        if kept:
            setattr(thing, name, honest)
        else:
            delattr(thing, name)
