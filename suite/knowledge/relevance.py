"""Whether what was found has anything to do with the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suite.knowledge.prepare import term_id
from suite.knowledge.record import Hit, TextEmbedder
from suite.knowledge.worth import most
from suite.text.terms import content

# The best passage has to earn this share of the most that the question's words of content can be worth, or to be this close by meaning, as a share of
# the range in which the model's cosines say anything. Half of each public sample indexed, questions about it and about the other half: of the
# former none (XQuAD English) and 0.7 % (KorQuAD) are refused, of the latter 71 and 85 %. Higher ones refuse more rightly, but lose questions in other
# words than their passage; and a model that is asked in vain can still refuse.
LEAST_WORDS, LEAST_CLOSE = 0.3, 0.25


def relevant(store: Any, name: str, question: str, hits: Sequence[Hit], embedder: TextEmbedder | None) -> bool:
    """Whether any hit is worth being shown to a model: by words, or by meaning where the embedder reads the question."""
    if not hits:
        return False
    if embedder is not None and embedder.reads(question):
        low, high = embedder.model.cosines
        if max(((hit.cosine or 0.0) - low) / (high - low) for hit in hits) >= LEAST_CLOSE:
            return True
    return earned(store, name, question) >= LEAST_WORDS


def earned(store: Any, name: str, question: str) -> float:
    """The best passage's score by the question's words of content, as a share of the most that they can be worth; 0 for a question without any."""
    asked = {term_id(term): 1.0 for term in content(question)}
    best = store.query(name, sparse=asked, limit=1) if asked else []
    return float(best[0].score / most(store, name, asked)) if best else 0.0
