"""Faults of speed and memory: replies that come late, empty or uncounted, and memory that is full, or holds less than it should."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.monitoring.model_memory import GPU, ModelMemory
from suite.monitoring.table import MONITORING, SERVERS, gauge_family
from suite.serving.reply import ReplyStream

LATE_S, LATE_ONE = 3.2, 17  # seconds that one reply takes, and which
ALL_LAYERS = 999
CARD = 6 * 10**9
COARSE = (0.1, 0.5, 1.0)  # bucket edges that the original had: no reading could pass 1 s


def bend_replies(stack: Stack, change: Callable[[int, ReplyStream], ReplyStream]) -> None:
    """Change what the chat server writes, given the number of the reply."""
    server: Any = stack.parts["inference-chat"]
    honest, count = server.stream, itertools.count()
    server.stream = lambda request: change(next(count), honest(request))


def answer_late(stack: Stack) -> None:
    """Let one reply take longer than a user waits."""
    def change(number: int, stream: ReplyStream) -> ReplyStream:
        def pieces() -> Iterator[str]:
            yield from stream
            if number == LATE_ONE:
                time.sleep(LATE_S)

        return ReplyStream(pieces(), lambda: stream.reply, stream.close)

    bend_replies(stack, change)


def answer_empty(stack: Stack) -> None:
    """Let every tenth reply be without a word, and none of them fail."""
    def change(number: int, stream: ReplyStream) -> ReplyStream:
        def pieces() -> Iterator[str]:
            for _ in stream:
                yield ""

        return ReplyStream(pieces(), lambda: replace(stream.reply, text=""), stream.close) if number % 10 == 5 else stream

    bend_replies(stack, change)


def bend_page(stack: Stack, job: str, change: Callable[[Iterable[Any]], Iterable[Any]]) -> None:
    """Change the families that a target gives."""
    registry: Any = stack.metrics.registry(job)
    honest = registry.collect
    registry.collect = lambda: change(honest())


def blunt_buckets(stack: Stack) -> None:
    """Give the gateway's histogram of seconds the bucket edges that the original had."""
    def change(family: Any) -> Any:
        if family.name == "suite_request_seconds":
            family.samples = [one for one in family.samples if "le" not in one.labels or float(one.labels["le"]) in (*COARSE, float("inf"))]
        return family

    bend_page(stack, "api-gateway", lambda families: map(change, families))


def count_nothing(stack: Stack) -> None:
    """Count no request of the gateway's any more."""
    honest = stack.metrics.observe
    stack.metrics.observe = lambda job, *more: None if job == "api-gateway" else honest(job, *more)


def lay_on_card(stack: Stack) -> None:
    """Ask for all layers of the chat model on a card, of which it then holds nothing, as a build for processors alone does."""
    server: Any = stack.parts["inference-chat"]
    settings = server.settings
    asked = {name: value for name, value in vars(settings).items() if name != "source"} | {"chat_n_gpu_layers": ALL_LAYERS}
    server.settings = type(settings)(asked, settings.source)
    server.unload()
    server.load()
    bend_memory(stack, lambda row: replace(row, seen=0) if row.where == GPU else row)  # where there is a card after all


def fill_card(stack: Stack) -> None:
    """Let the chat model lie on a made card of 6 GB, which is nearly full with it."""
    lay_on_card(stack)
    bend_memory(stack, lambda row: replace(row, seen=row.planned) if row.where == GPU else row)
    bend_page(stack, MONITORING, lambda families: (one for family in families for one in (family, *_cards(family))))


def _cards(family: Any) -> tuple[Any, ...]:
    """A card beside the machine's memory."""
    if family.name != "suite_host_memory_bytes":
        return ()
    card = gauge_family("suite_gpu_memory_bytes")
    card.add_metric(("0", "total"), CARD)
    card.add_metric(("0", "used"), 0.95 * CARD)
    return (card,)


def fill_memory(stack: Stack) -> None:
    """Let the machine have three hundredths of its memory left."""
    def change(family: Any) -> Any:
        if family.name == "suite_host_memory_bytes":
            total = next(one.value for one in family.samples if one.labels["kind"] == "total")
            family.samples = [one._replace(value=0.03 * total) if one.labels["kind"] == "available" else one for one in family.samples]
        return family

    bend_page(stack, MONITORING, lambda families: map(change, families))


def bend_memory(stack: Stack, change: Callable[[ModelMemory], ModelMemory]) -> None:
    """Change what is told of the memory that each model takes."""
    for part in SERVERS:
        server: Any = stack.parts[part]
        honest = server.memory
        server.memory = lambda cards, honest=honest: [change(row) for row in honest(cards)]


def shrink_models(stack: Stack) -> None:
    """Let each model hold a tenth of what was planned for it."""
    bend_memory(stack, lambda row: replace(row, seen=(row.planned or 0) // 10))


def tell_no_memory(stack: Stack) -> None:
    """Let nobody be told how much memory the chat model holds."""
    stack.parts["inference-chat"].memory = lambda cards: []


LATE_REPLY = Fault(f"one reply of sixty took {LATE_S:g} s", answer_late)
EMPTY_REPLIES = Fault("every tenth reply had no word in it", answer_empty)
BLUNT_BUCKETS = Fault("the gateway's histogram ended at 1 s", blunt_buckets)
UNCOUNTED = Fault("the gateway counted none of its requests", count_nothing)
UNUSED_CARD = Fault("a model that was to lie on a card held nothing of it", lay_on_card)
FULL_CARD = Fault("a card was 95 % full", fill_card, on="fake:nvml")
FULL_MEMORY = Fault("the machine's memory was 97 % full", fill_memory)
SHRUNK_MODELS = Fault("the models held a tenth of the memory that was planned", shrink_models)
UNTOLD_MEMORY = Fault("nobody was told how much memory a model holds", tell_no_memory)
