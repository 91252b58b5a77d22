"""Find the chunks that answer a question: by words, and by meaning where the model can read the question."""

from __future__ import annotations

from typing import Any

from suite.errors import BadRequest
from suite.knowledge.index import term_id
from suite.knowledge.record import RETRIEVERS, Hit, TextEmbedder
from suite.text.terms import terms, weight

DEPTH = 20  # chunks that each arm proposes at least: a fused rank of fewer says little


def retrieve(store: Any, name: str, question: str, limit: int, embedder: TextEmbedder | None, retriever: str = "default") -> list[Hit]:
    """At most `limit` hits of the store's collection `name`, best first; `embedder` is None where the dense arm must not count.

    By default the dense arm counts only for a question that the embedder reads. Blind fusion ruins Korean: with an English model, recall@1 on
    the KorQuAD sample fell from 0.92 (words alone) to 0.20. The other retrievers are there to be compared. Raises BadRequest for an unknown one.
    """
    if retriever not in RETRIEVERS:
        raise BadRequest(f"There is no retriever {retriever!r}; choose one of: {', '.join(RETRIEVERS)}.", param="retriever")
    read = embedder is not None and (embedder.reads(question) if retriever == "default" else retriever != "sparse")
    sparse = {term_id(term): weight(term) for term in terms(question)} if retriever != "dense" else None
    vector = embedder.embed([question])[0].tolist() if embedder is not None and read else None
    if not sparse and vector is None:
        return []
    found = store.query(name, vector=vector, sparse=sparse or None, limit=max(limit, DEPTH))
    arm = "words" if vector is None else "both" if sparse else "dense"
    return [Hit(row.payload["document"], row.payload.get("page"), row.payload["start"], row.payload["end"], row.payload["text"], row.score, arm,
                row.payload["chunk"], str(row.id)) for row in found[:limit]]
