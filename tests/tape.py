"""A stack that was heard once: its answers are given again in their order, and one of them can be bent."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from suite.checks.target import Target

Bend = Callable[[Any], Any]  # the JSON of an answer (its text where it is none); what is returned takes its place, None: it was changed in place


@dataclass
class Tape:
    """`bend(route, change, only)` lets `change` see the answers of a route ("part METHOD path-pattern"), `only` those places from 0, -1 the last.

    `late(route, seconds, only)` lets them seem slow; `status(route, code, only)` gives them another status.
    """

    answers: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    urls: dict[str, str] = field(default_factory=dict)
    bends: list[tuple[str, str, Any, tuple[int, ...]]] = field(default_factory=list)
    seconds: float = 0.0

    def record(self, target: Target) -> Target:
        """Let the target keep what it hears here."""
        honest = target.call
        self.urls = {part: f"http://{part}" for part in target.urls}

        def call(method: str, part: str, path: str, **options: Any) -> httpx.Response:
            answer = honest(method, part, path, **options)
            self.answers[f"{part} {method} {path}"].append((answer.status_code, answer.text))
            return answer

        target.call = call  # type: ignore[method-assign]
        return target

    def bent(self, *bends: tuple[str, str, Any, tuple[int, ...]]) -> Tape:
        """The same answers, differently bent."""
        return Tape(self.answers, self.urls, list(bends))

    def target(self) -> Target:
        """What hears them again."""
        counts: dict[str, int] = defaultdict(int)

        def handle(request: httpx.Request) -> httpx.Response:
            route = f"{request.url.host} {request.method} {request.url.path}"
            kept, place = self.answers[route], counts[route]
            counts[route] += 1
            code, text = kept[min(place, len(kept) - 1)]
            for pattern, how, value, only in self.bends:
                if re.fullmatch(pattern, route) and (not only or place in [at % len(kept) for at in only]):
                    code, text = self._bend(how, value, code, text)
            return httpx.Response(code, text=text)

        return Target(self.urls, transport=httpx.MockTransport(handle), clock=lambda: time.perf_counter() + self.seconds)

    def _bend(self, how: str, value: Any, code: int, text: str) -> tuple[int, str]:
        if how == "late":
            self.seconds += value
        if how == "status":
            return value, text
        if how == "text":
            return code, value(text)
        if how == "json":
            body = json.loads(text)
            made = value(body)
            return code, json.dumps(body if made is None else made)
        return code, text


def bend(route: str, change: Bend, *only: int) -> tuple[str, str, Any, tuple[int, ...]]:
    return route, "json", change, only


def rewrite(route: str, change: Callable[[str], str], *only: int) -> tuple[str, str, Any, tuple[int, ...]]:
    return route, "text", change, only


def late(route: str, seconds: float, *only: int) -> tuple[str, str, Any, tuple[int, ...]]:
    return route, "late", seconds, only


def status(route: str, code: int, *only: int) -> tuple[str, str, Any, tuple[int, ...]]:
    return route, "status", code, only
