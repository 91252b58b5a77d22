"""Find the chunks that answer a question: by words, and by meaning where the model can read the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.errors import BadRequest
from suite.knowledge.prepare import meaning, term_id
from suite.knowledge.record import RETRIEVERS, Hit, Hits, Ranker, TextEmbedder
from suite.knowledge.stage import Observe, timed
from suite.knowledge.worth import most
from suite.text.terms import terms, weight
from suite.vectors.store import Scored

DEPTH = 50  # chunks that each arm proposes at least
RERANKED = 20  # chunks that a reranker reads: it is slow
# How much the dense arm counts where it counts at all. Both arms' scores are brought to 0 … 1 first: words by the most that the question's can be
# worth, cosines by the range in which the model's say anything. XQuAD English, recall@1: words 0.953, dense 0.950, ranks fused (RRF, ties broken
# by the scores) 0.975, scores fused 0.981; between 0.5 and 0.8 it differs by two questions of 361.
DENSE_SHARE = 0.7


def retrieve(store: Any, name: str, question: str, limit: int, embedder: TextEmbedder | None, retriever: str = "default",
             ranker: Ranker | None = None, observe: Observe | None = None) -> Hits:
    """At most `limit` hits of the store's collection `name`, best first; `embedder` is None where the dense arm must not count.

    By default the dense arm counts only for a question that the embedder reads. Blind fusion ruins Korean: with an English model, recall@1 on
    the KorQuAD sample fell from 0.92 (words alone) to 0.20. With a `ranker` its order of the best RERANKED counts for the default. The other
    retrievers are there to be compared. `observe` is told how long each stage took. Raises BadRequest for an unknown retriever.
    """
    if retriever not in RETRIEVERS:
        raise BadRequest(f"There is no retriever {retriever!r}; choose one of: {', '.join(RETRIEVERS)}.", param="retriever")
    fused = retriever in ("default", "fused")
    reads = embedder is not None and (embedder.reads(question) if fused else retriever != "sparse")
    sparse = {term_id(term): weight(term) for term in terms(question)} if retriever != "dense" else {}
    vector = None
    if embedder is not None and reads:
        with timed(observe, "embed"):
            vector = meaning(embedder, question)
    depth = max(limit, DEPTH)
    with timed(observe, "search"):
        if retriever == "hybrid" and sparse and vector is not None:
            return Hits(_hit(row, "both", None) for row in store.query(name, vector=vector, sparse=sparse, limit=depth)[:limit])
        by_words = store.query(name, sparse=sparse, limit=depth) if sparse else []
        by_meaning = store.query(name, vector=vector, limit=depth) if vector is not None else []
        ranked = _fused(by_words, by_meaning, embedder, most(store, name, sparse)) if by_meaning and embedder else _alone(by_words)
    if ranker is not None and retriever == "default":
        with timed(observe, "rerank"):
            ranked = _reranked(ranker, question, ranked)
    return Hits(ranked[:limit])


def _alone(by_words: Sequence[Scored]) -> list[Hit]:
    """The hits by words; equal scores go by place, not by chance."""
    hits = [_hit(row, "words", None) for row in by_words]
    return sorted(hits, key=lambda hit: (-hit.score, hit.document, hit.chunk))


def _fused(by_words: Sequence[Scored], by_meaning: Sequence[Scored], embedder: TextEmbedder, worth: float) -> list[Hit]:
    """The hits of both arms by the weighted mean of their scores; a chunk that the model cannot read is judged by its words alone."""
    low, high = embedder.model.cosines
    words, meaning = _by_id(by_words), _by_id(by_meaning)
    share = DENSE_SHARE if words else 1.0
    hits = []
    for id in dict.fromkeys((*meaning, *words)):
        found = meaning.get(id) or words[id]
        cosine = meaning[id].score if id in meaning else None
        close = min(max((cosine - low) / (high - low), 0.0), 1.0) if cosine is not None else 0.0
        said = words[id].score / worth if id in words else 0.0
        unread = cosine is None and not embedder.reads(found.payload["text"])
        score = said if unread else share * close + (1 - share) * said
        arm = "both" if id in meaning and id in words else "dense" if id in meaning else "words"
        hits.append(_hit(found, arm, cosine, score))
    return sorted(hits, key=lambda hit: (-hit.score, -(hit.cosine or 0.0), hit.document, hit.chunk))


def _reranked(ranker: Ranker, question: str, hits: list[Hit]) -> list[Hit]:
    """The first hits by the ranker's scores, the others below them in their order."""
    head, rest = hits[:RERANKED], hits[RERANKED:]
    scores = ranker.scores(question, [hit.text for hit in head]) if head else []
    order = sorted(range(len(head)), key=lambda at: (-scores[at], at))
    return [head[at] for at in order] + rest


def _by_id(rows: Sequence[Scored]) -> Mapping[str, Scored]:
    return {str(row.id): row for row in rows}


def _hit(row: Scored, arm: str, cosine: float | None, score: float | None = None) -> Hit:
    held = row.payload
    return Hit(held["document"], held.get("page"), held["start"], held["end"], held["text"], row.score if score is None else score, arm,
               held["chunk"], str(row.id), tuple(held.get("headings") or ()), held.get("after", ""), cosine)
