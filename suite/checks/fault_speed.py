"""Faults of speed and memory: replies that come late, empty or uncounted, and memory that is full, or holds less than it should."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.table import MONITORING

LATE_S, LATE_ONE = 3.2, 17  # seconds that one reply takes, and which
ALL_LAYERS = 999
CARD = 24 * 10**9
COARSE = (0.1, 0.5, 1.0)  # bucket edges that the original had: no reading could pass 1 s


def bend_replies(stack: Stack, change: Any) -> None:
    """Change what the gateway answers, given the number of the request and the honest answer's making."""
    gateway: Any = stack.parts["api-gateway"]
    honest, count = gateway.complete, iter(range(10**9))
    gateway.complete = lambda *given, **more: change(next(count), lambda: honest(*given, **more))


def answer_late(stack: Stack) -> None:
    """Let one reply of sixty take longer than a user waits."""
    def change(number: int, honest: Any) -> Any:
        if number == LATE_ONE:
            time.sleep(LATE_S)
        return honest()

    bend_replies(stack, change)


def answer_empty(stack: Stack) -> None:
    """Let every tenth reply be without a word, with status 200."""
    bend_replies(stack, lambda number, honest: replace(honest(), text="") if number % 10 == 5 else honest())


def bend_page(stack: Stack, job: str, change: Any) -> None:
    """Change the families that a target gives."""
    registry: Any = stack.metrics.registry(job)
    honest = registry.collect
    registry.collect = lambda: (change(family) for family in honest())


def blunt_buckets(stack: Stack) -> None:
    """Give the gateway's histogram of seconds the bucket edges that the original had."""
    def change(family: Any) -> Any:
        if family.name == "suite_request_seconds":
            family.samples = [one for one in family.samples if "le" not in one.labels or float(one.labels["le"]) in (*COARSE, float("inf"))]
        return family

    bend_page(stack, "api-gateway", change)


def count_nothing(stack: Stack) -> None:
    """Count no request of the gateway's any more."""
    honest = stack.metrics.observe
    stack.metrics.observe = lambda job, *more: None if job == "api-gateway" else honest(job, *more)


def driver(used: Any) -> SimpleNamespace:
    """A made NVML with one card of 24 GB of which `used()` bytes are taken."""
    return SimpleNamespace(
        nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlSystemGetDriverVersion=lambda: "1.0", nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetName=lambda _: "drill", nvmlDeviceGetUUID=lambda _: "GPU-drill",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=CARD, used=int(used()), free=CARD - int(used())))


@contextmanager
def made_card(used: Any) -> Iterator[None]:
    """Let the driver be a made one."""
    honest = sys.modules.get("pynvml")
    sys.modules["pynvml"] = driver(used)  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pynvml"]
        if honest is not None:
            sys.modules["pynvml"] = honest
