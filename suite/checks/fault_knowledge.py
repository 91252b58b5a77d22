"""Faults of retrieval: what is indexed is lost, cut or kept for ever, and what is asked is answered wrongly, late or always."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from suite.checks.fault import Fault, Stack

LATE_S = 3.2  # seconds that a late answer takes: just beyond what a user waits


def bend_upserts(stack: Stack, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change the points that the store is given."""
    store: Any = stack.parts["qdrant"]
    honest = store.upsert
    store.upsert = lambda name, points: honest(name, change(list(points)))


def shift_chunks(stack: Stack) -> None:
    """Let every chunk say that it begins one character later."""
    def shifted(point: Any) -> Any:
        return replace(point, payload={**point.payload, "start": point.payload["start"] + 1}) if "start" in point.payload else point

    bend_upserts(stack, lambda points: [shifted(point) for point in points])


def lose_chunks(stack: Stack) -> None:
    """Leave the second chunk out of every document that has one, as a splitter that steps too far."""
    preparation: Any = stack.parts["rag"]._preparation
    honest = preparation.chunks
    preparation.chunks = lambda source: [chunk for chunk in honest(source) if chunk.index != 1]


def write_over(stack: Stack) -> None:
    """Number the points from one on again in each call, as the original did."""
    bend_upserts(stack, lambda points: [replace(point, id=str(UUID(int=number))) for number, point in enumerate(points, 1)])


def forget_index(stack: Stack) -> None:
    """Take every document for one that has changed."""
    stack.parts["rag"]._index.is_current = lambda row, digest: False


def freeze_index(stack: Stack) -> None:
    """Take no document for one that has changed."""
    stack.parts["rag"]._index.is_current = lambda row, digest: True


def keep_collections(stack: Stack) -> None:
    """Let the store acknowledge that a collection is dropped, and keep it."""
    stack.parts["qdrant"].drop = lambda name: True


def score_worst_first(stack: Stack) -> None:
    """Let the store give the best score to the worst hit, and so on."""
    store: Any = stack.parts["qdrant"]
    honest = store.query

    def query(*asked: Any, **options: Any) -> list[Any]:
        rows = honest(*asked, **options)
        return [replace(row, score=other.score) for row, other in zip(rows[::-1], rows, strict=True)]

    store.query = query


def answer_all(stack: Stack) -> None:
    """Show the model whatever was found, even when it has nothing to do with the question."""
    rag: Any = stack.parts["rag"]
    honest = rag._answer

    def answer(known: Any, question: str, limit: int, window: Any) -> Any:
        found = honest(known, question, limit, window)
        return replace(found, text=f"{found.hits[0].text} [1]", refused=False) if found.refused and found.hits else found

    rag._answer = answer


def never_answer(stack: Stack) -> None:
    """Refuse every question."""
    rag: Any = stack.parts["rag"]
    honest = rag._answer
    rag._answer = lambda *asked: replace(honest(*asked), text="The documents do not say.", citations=(), refused=True)


def ask_late(stack: Stack) -> None:
    """Let the first question that is not cached wait, as behind a long one."""
    rag: Any = stack.parts["rag"]
    honest, waited = rag._answer, []

    def answer(*asked: Any) -> Any:
        if not waited:
            waited.append(True)
            time.sleep(LATE_S)
        return honest(*asked)

    rag._answer = answer


def keep_no_answers(stack: Stack) -> None:
    """Write every answer anew, although it was asked before."""
    stack.parts["rag"]._answers.get = lambda key: None


def cache_slowly(stack: Stack) -> None:
    """Let each answer that is kept be found after a second, as in a table without an index."""
    answers: Any = stack.parts["rag"]._answers
    honest = answers.get

    def get(key: str) -> Any:
        found = honest(key)
        if found is not None:
            time.sleep(1.0)
        return found

    answers.get = get


SHIFTED_CHUNKS = Fault("every chunk said that it begins one character later", shift_chunks)
LOST_CHUNKS = Fault("the second chunk of each document was left out", lose_chunks)
WRITTEN_OVER = Fault("points were numbered anew in each call, over those of the last", write_over)
FORGOTTEN_INDEX = Fault("every document was taken for one that has changed", forget_index)
FROZEN_INDEX = Fault("no document was taken for one that has changed", freeze_index)
KEPT_COLLECTIONS = Fault("the store acknowledged dropped collections and kept them", keep_collections)
WORST_FIRST = Fault("the store gave the best scores to the worst hits", score_worst_first)
ANSWERED_ALL = Fault("questions that no document answers were answered", answer_all)
NEVER_ANSWERED = Fault("every question was refused", never_answer)
LATE_ANSWER = Fault(f"one answer took {LATE_S:g} s", ask_late)
KEPT_NOTHING = Fault("no answer was kept", keep_no_answers)
SLOW_CACHE = Fault("an answer that was kept took a second", cache_slowly)
