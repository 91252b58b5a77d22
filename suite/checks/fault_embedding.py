"""Faults of the embedder: it cuts in silence, takes too little, or claims languages that it does not read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.errors import BadRequest

MOST_TEXTS, MOST_CHARACTERS, MOST_WORDS, FEW = 1024, 8000, 60, 100


def cut_lists(stack: Stack) -> None:
    """Leave out what stands beyond the 1024th text, as the original did."""
    bend_texts(stack, lambda texts: texts[:MOST_TEXTS])


def cut_texts(stack: Stack) -> None:
    """Leave out what stands beyond the 8000th character, and beyond what the model reads, as the original did."""
    bend_texts(stack, lambda texts: [" ".join(text[:MOST_CHARACTERS].split()[:MOST_WORDS]) for text in texts])


def bend_texts(stack: Stack, change: Any) -> None:
    """Change the texts before they are embedded."""
    embedder: Any = stack.parts["embedding"]
    honest = embedder.embed
    embedder.embed = lambda texts, **more: honest(change(list(texts)), **more)


def refuse_lists(stack: Stack) -> None:
    """Take a hundred texts at most."""
    embedder: Any = stack.parts["embedding"]
    honest = embedder.embed

    def embed(texts: list[str], **more: Any) -> Any:
        if len(texts) > FEW:
            raise BadRequest(f"{len(texts)} texts were sent, more than {FEW}; a drill does that.", param="texts")
        return honest(texts, **more)

    embedder.embed = embed


def state(stack: Stack, *languages: str) -> None:
    """Let the model state these languages, whatever it reads."""
    embedder: Any = stack.parts["embedding"]
    embedder.model = replace(embedder.model, languages=languages)


def claim_korean(stack: Stack) -> None:
    """Let the English model state that it reads Korean, and give every Korean text the same vector."""
    embedder: Any = stack.parts["embedding"]
    honest = embedder.embed
    state(stack, "en", "ko")
    embedder.embed = lambda texts, **more: honest(["the same" if "가" <= max(text, default="") <= "힣" else text for text in texts], **more)


def state_nothing(stack: Stack) -> None:
    """Let the model state no language."""
    state(stack)


CUT_LISTS = Fault("texts beyond the 1024th were left out in silence", cut_lists)
CUT_TEXTS = Fault("what stood beyond a text's 8000th character was left out in silence", cut_texts)
SMALL_LISTS = Fault("more than a hundred texts were refused", refuse_lists)
CLAIMED_KOREAN = Fault("a model that cannot tell Korean texts apart stated Korean", claim_korean)
UNSTATED = Fault("the model stated no language", state_nothing)
