"""Faults under load: replies that are another's, empty, refused or other than alone, and rates that break down."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.checks.load_call import TOWNS
from suite.errors import NotReady
from suite.serving.reply import ReplyStream

WARM = 30  # requests of the chat server before which nothing is wrong yet: validity and the questions alone
CROWD = 5  # requests at once from which on a rate breaks down


def bend_replies(stack: Stack, text: Callable[[int, str], str], pause: Callable[[int], float] = lambda number: 0.0) -> None:
    """Change the text of what the chat server writes, or let it wait, given the number of the reply."""
    server: Any = stack.parts["inference-chat"]
    honest, count = server.stream, itertools.count()

    def stream(request: Any) -> ReplyStream:
        number, made = next(count), honest(request)

        def pieces() -> Iterator[str]:
            time.sleep(pause(number))
            yield text(number, "".join(made))

        return ReplyStream(pieces(), lambda: replace(made.reply, text=text(number, made.reply.text)), made.close)

    server.stream = stream


def mix(stack: Stack) -> None:
    """Let a reply hold what another was asked about, as when two sequences share a slot."""
    bend_replies(stack, lambda number, said: f"{said} {' '.join(TOWNS[:2])}" if number > WARM and number % 7 == 0 else said)


def empty(stack: Stack) -> None:
    """Let a reply be without a word now and then."""
    bend_replies(stack, lambda number, said: "" if number > WARM and number % 7 == 0 else said)


def change(stack: Stack) -> None:
    """Let most replies be others than the same question got alone."""
    bend_replies(stack, lambda number, said: f"{said} ({number})" if number > WARM else said)


def slow_alone(stack: Stack) -> None:
    """Let each reply take three seconds even when nobody else asks."""
    bend_replies(stack, lambda number, said: said, lambda number: 3.1)


def refuse(stack: Stack) -> None:
    """Refuse a request once there are several at once."""
    _crowded(stack, _refusal)


def collapse(stack: Stack) -> None:
    """Answer one after the other, half a second each, once there are many at once."""
    line = threading.Lock()

    def wait() -> None:
        with line:
            time.sleep(0.5)

    _crowded(stack, wait)


def _refusal() -> None:
    raise NotReady("there are too many; a drill does that", retry_after=5)


def _crowded(stack: Stack, act: Callable[[], None]) -> None:
    """Act on whoever comes while so many others are being answered by the gateway's servers."""
    turn, busy = threading.Lock(), [0]
    for part in ("inference-chat", "inference-code"):
        server: Any = stack.parts[part]

        def stream(request: Any, honest: Any = server.stream) -> ReplyStream:
            with turn:
                busy[0] += 1
                crowded = busy[0] > CROWD
            try:
                if crowded:
                    act()
                made = honest(request)
            except BaseException:
                leave()
                raise

            def pieces() -> Iterator[str]:
                try:
                    yield from made
                finally:
                    leave()

            return ReplyStream(pieces(), lambda: made.reply, made.close)

        server.stream = stream

    def leave() -> None:
        with turn:
            busy[0] -= 1


def hide_server(stack: Stack) -> None:
    """Let the chat server say nothing of how busy it is."""
    server: Any = stack.parts["inference-chat"]
    honest = server.info
    server.info = lambda: {name: value for name, value in honest().items() if name not in ("busy", "waiting")}


def leave_scaling_out(stack: Stack) -> None:
    """Look at no rule that says what to change at which load."""
    alerts: Any = stack.monitor.watch._alerts
    alerts.rules = tuple(rule for rule in alerts.rules if not rule.name.startswith("Scale"))


MIXED = Fault("replies held what others were asked about", mix)
EMPTY = Fault("replies had no word in them", empty)
BREAKS = Fault("requests were refused once there were several", refuse)
CHANGES = Fault("replies were others than the same questions got alone", change)
SLOW_ALONE = Fault("a single caller waited three seconds for each reply", slow_alone)
COLLAPSES = Fault("requests were answered one after the other once there were several", collapse)
UNSCALED = Fault("nobody looked at the rules of scaling.toml", leave_scaling_out)
SILENT_SERVER = Fault("the chat server did not say how busy it is", hide_server)
