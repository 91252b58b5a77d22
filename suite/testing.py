"""Stand-ins for the slow or the unreliable, as public API: tests of your own code can hand them to any part of the suite.

Most of the suite's own tests run the real thing; these are for failing on purpose, for scripted models, and for tests without weights.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
from collections import abc
from hashlib import blake2b as _blake2b
from typing import Any

from suite import errors
from suite.monitoring import probe
from suite.serving import reply
from suite.text import language, terms
from suite.vectors import filter as filters
from suite.vectors import store

__all__ = ["FixedChat", "MemoryStore", "StandInEmbedder", "StandInModel"]


@dataclasses.dataclass(frozen=True)
class StandInModel:
    """What a StandInEmbedder says about itself."""

    name: str = "stand-in"
    dim: int = 384
    languages: tuple[str, ...] = ("en",)
    licence: str = "Apache-2.0"
    sha256: str = ""
    max_tokens: int = 512
    id: str = "stand-in"
    cosines: tuple[float, float] = (0.0, 1.0)


class StandInEmbedder:
    """An embedding part without weights: the unit vector of a text is a hash of its search terms, so only shared words make texts alike.

    `dim` is what the vectors have; `claims`, where given, is what `.model` says instead, for a part that lies. A token is a word, and there are
    two special ones to a text; passages and queries get the same vectors.
    """

    name = "embedding"

    def __init__(self, dim: int = 384, *, claims: int | None = None, languages: abc.Sequence[str] = ("en",), model: str = "stand-in",
                 max_tokens: int = 512) -> None:
        self._dim = dim
        self.model = StandInModel(name=model, dim=dim if claims is None else claims, languages=tuple(languages), max_tokens=max_tokens)
        self.calls = 0

    def embed(self, texts: abc.Sequence[str], kind: str = "passage") -> Any:
        """One unit row of `dim` float32 numbers per text; BadRequest for a text of more than `model.max_tokens` tokens and for another kind."""
        import numpy  # here, because `suite.testing` must not load what a test does not use

        self.calls += 1
        if kind not in ("passage", "query"):
            raise errors.BadRequest(f"kind is {kind!r:.80} but must be one of passage, query.", param="kind")
        for index, count in enumerate(self.tokens(texts)):
            if count > self.model.max_tokens:
                raise errors.BadRequest(f"texts[{index}] has {count} tokens but {self.model.id} reads {self.model.max_tokens} at most; split it.",
                                        param=f"texts[{index}]", tokens=count, limit=self.model.max_tokens)
        rows = numpy.zeros((len(texts), self._dim), dtype=numpy.float32)
        for row, text in zip(rows, texts, strict=True):
            for term in terms.terms(text) or [text]:
                digest = int.from_bytes(_blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "big")
                row[digest % self._dim] += 1.0 if digest >> 63 else -1.0
            length = float(numpy.linalg.norm(row))
            row[:] = row / length if length else 1 / math.sqrt(self._dim)
        return rows

    def tokens(self, texts: abc.Sequence[str]) -> list[int]:
        """The number of words of each text, and two."""
        return [len(text.split()) + 2 for text in texts]

    def count(self, texts: abc.Sequence[str]) -> int:
        """The tokens of all texts together."""
        return sum(self.tokens(texts))

    def head(self, text: str, kind: str = "passage") -> str:
        """The longest beginning of whole words that `embed` takes."""
        ends = [word.end() for word in re.finditer(r"\S+", text)]
        most = self.model.max_tokens - 2
        return text if len(ends) <= most else text[:ends[most - 1]]

    def reads(self, text: str) -> bool:
        """Whether the text is in one of the stand-in's languages."""
        return language.language(text) in self.model.languages

    def start(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def live(self) -> probe.State:
        """Always there."""
        return probe.good()

    def ready(self) -> probe.State:
        """Always ready."""
        return probe.good(dim=self.model.dim)

    def deep(self) -> probe.State:
        """Always works."""
        return probe.good()


class FixedChat:
    """A chat model that gives scripted replies, in order, the last one again and again; `asked` holds the (messages, options) of each call.

    A script entry is a Reply, a text, or an exception, which is raised.
    """

    def __init__(self, *script: reply.Reply | str | BaseException, smoke: bool = True) -> None:
        if not script:
            raise errors.BadRequest("A FixedChat needs at least one reply.")
        self._script = list(script)
        self._smoke = smoke
        self.asked: list[tuple[list[dict[str, str]], dict[str, Any]]] = []

    def __call__(self, messages: list[dict[str, str]], options: abc.Mapping[str, Any] | None = None) -> reply.Reply:
        self.asked.append((messages, dict(options or {})))
        entry = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(entry, BaseException):
            raise entry
        if isinstance(entry, reply.Reply):
            return entry
        words = sum(len(message["content"].split()) for message in messages)
        return reply.Reply(entry, tokens=len(entry.split()), prompt_tokens=words, seconds=0.0, model="fixed", alias="fixed", why="scripted",
                           smoke=self._smoke)


class MemoryStore:
    """A vector store in a dict: exact, slow, gone at the end. `fail` is called with (method, collection) before every write and may raise."""

    name = "qdrant"

    def __init__(self, fail: abc.Callable[[str, str], None] | None = None) -> None:
        self._points: dict[str, dict[str, store.Point]] = {}
        self._infos: dict[str, store.CollectionInfo] = {}
        self.fail = fail
        self.state = probe.good()

    def create(self, name: str, size: int, distance: str = "Cosine", naming: store.Naming = store.OURS) -> None:
        """Make a collection, or find it; another size, distance or naming raises BadRequest."""
        self._about("create", store.check_name(name))
        store.check_shape(size, distance)
        store.check_same(self._infos.setdefault(name, store.CollectionInfo(name, size, distance, 0, naming)), size, distance, naming)
        self._points.setdefault(name, {})

    def drop(self, name: str) -> None:
        """Take a collection away, if it is there."""
        self._about("drop", store.check_name(name))
        self._infos.pop(name, None)
        self._points.pop(name, None)

    def collections(self) -> list[store.CollectionInfo]:
        """All collections by name."""
        return [self.info(name) for name in sorted(self._infos)]

    def info(self, name: str) -> store.CollectionInfo:
        """One collection; raises NotFound."""
        count = len(self._of(name))
        return dataclasses.replace(self._infos[name], points=count)

    def upsert(self, name: str, points: abc.Iterable[store.Point]) -> None:
        """Write points, replacing those with the same id."""
        self._about("upsert", name)
        present, info = self._of(name), self._infos[name]
        present.update({point.id: point for point in [store.check_point(point, info.size, info.distance) for point in points]})

    def get(self, name: str, ids: abc.Sequence[str]) -> list[store.Point]:
        """The points with these ids that exist."""
        present = self._of(name)
        return [present[identity] for identity in ids if identity in present]

    def delete(self, name: str, ids: abc.Sequence[str] | None = None, where: store.Where | None = None) -> int:
        """Delete by ids or by payload, and return how many."""
        self._about("delete", name)
        doomed = self._named(name, ids, store.check_target(ids, where))
        for point in doomed:
            del self._of(name)[point.id]
        return len(doomed)

    def alter(self, name: str, change: abc.Callable[[store.Point], store.Point], ids: abc.Sequence[str] | None = None,
              where: store.Where | None = None) -> int:
        """Replace points by `change` of them, and return how many."""
        named = self._named(name, ids, store.check_target(ids, where, "alter"))
        self.upsert(name, [dataclasses.replace(change(point), id=point.id) for point in named])
        return len(named)

    def count(self, name: str, where: store.Where | None = None) -> int:
        """The number of points that meet `where`."""
        return len(self._meeting(name, where))

    def query(self, name: str, *, vector: abc.Sequence[float] | None = None, sparse: abc.Mapping[int, float] | None = None, limit: int = 10,
              where: store.Where | None = None, fusion_k: int = 60, effort: int | None = None) -> list[store.Scored]:
        """The nearest points by dot product, by terms with IDF, or by both fused; exact, whatever the effort."""
        store.check_limit(limit)
        store.check_effort(effort)
        points, info = self._meeting(name, where), self._infos[name]
        arms = []
        if vector is not None:
            sought = store.check_vector(vector, info.size, info.distance)
            arms.append([(sum(a * b for a, b in zip(sought, point.vector, strict=True)), point) for point in points if point.vector is not None])
        if sparse is not None:
            arms.append(_by_terms(points, sparse, info.naming.idf))
        if not arms:
            raise errors.BadRequest("query() needs a vector, sparse weights, or both.", param="vector")
        ranked = [sorted(arm, key=lambda pair: (-pair[0], pair[1].id)) for arm in arms]
        if len(ranked) == 2:
            fused: dict[str, float] = {}
            for arm in ranked:
                for rank, (_, point) in enumerate(arm):
                    fused[point.id] = fused.get(point.id, 0.0) + 1 / (fusion_k + rank)
            ranked = [[(score, self._of(name)[key]) for key, score in sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))]]
        return [store.Scored(point.id, score, dict(point.payload)) for score, point in ranked[0][:limit]]

    def scroll(self, name: str, where: store.Where | None = None, limit: int = 100, offset: str | None = None) -> list[store.Point]:
        """Points in the order of their ids, after `offset`."""
        store.check_limit(limit)
        found = sorted(self._meeting(name, where), key=lambda point: point.id)
        return [point for point in found if offset is None or point.id > offset][:limit]

    def flush(self) -> None:
        """Nothing to write."""
        self._about("flush", "")

    def copy_to(self, folder: pathlib.Path) -> None:
        """One text file per collection, enough to be compared."""
        for name, points in self._points.items():
            (folder / f"{name}.txt").write_text("\n".join(sorted(points)), encoding="utf-8")

    def start(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def live(self) -> probe.State:
        """Always there."""
        return probe.good()

    def ready(self) -> probe.State:
        """`state`, which a test may set."""
        return self.state

    def deep(self) -> probe.State:
        """`state`, which a test may set."""
        return self.state

    def _about(self, method: str, name: str) -> None:
        if self.fail is not None:
            self.fail(method, name)

    def _of(self, name: str) -> dict[str, store.Point]:
        if name not in self._points:
            raise errors.NotFound(f"There is no vector collection {name!r}; create it first.")
        return self._points[name]

    def _meeting(self, name: str, where: store.Where | None) -> list[store.Point]:
        asked = filters.check_where(where)
        return [point for point in list(self._of(name).values()) if filters.meets(asked, point.id, point.payload)]

    def _named(self, name: str, ids: abc.Sequence[str] | None, where: store.Where | None) -> list[store.Point]:
        return self._meeting(name, where) if ids is None else self.get(name, list(dict.fromkeys(ids)))


def _by_terms(points: abc.Sequence[store.Point], sparse: abc.Mapping[int, float], by_rarity: bool) -> list[tuple[float, store.Point]]:
    """Points that share a term, each with the sum of query weight, inverse document frequency (where asked for) and own weight."""
    held = [(point, point.sparse or {}) for point in points]
    spread = {term: sum(term in weights for _, weights in held) for term in sparse}
    idf = {term: math.log(1 + (len(held) - count + 0.5) / (count + 0.5)) if by_rarity else 1.0 for term, count in spread.items()}
    scored = [(sum(weight * idf[term] * weights.get(term, 0.0) for term, weight in sparse.items()), point) for point, weights in held]
    return [pair for pair in scored if pair[0] > 0]
