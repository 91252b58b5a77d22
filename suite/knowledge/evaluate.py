"""How often the right passage is found, measured on questions whose passage is known."""

from __future__ import annotations

import json
import math
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import BadRequest
from suite.knowledge.record import RETRIEVERS, Hit
from suite.render import table
from suite.text.language import language

DEPTH = 50  # chunks that are asked for: ten passages' worth, though a long passage has several
RANKS = (1, 5, 10)
RESAMPLES, CONFIDENCE = 1000, 0.95

Search = Callable[[str, int, str], Sequence[Hit]]  # question, limit, retriever


@dataclass(frozen=True)
class Question:
    """A question and where its answer is: in `document`, and in the chunk that holds `quote` when one is given; without a document, nowhere."""

    text: str
    document: str = ""
    quote: str = ""

    @classmethod
    def of(cls, given: Question | Mapping[str, Any]) -> Question:
        """The question that a mapping with `question`, `document` and perhaps `quote` describes. Raises BadRequest."""
        if isinstance(given, Question):
            return given
        fields = {name: given.get(name, "") for name in ("question", "document", "quote")} if isinstance(given, Mapping) else {}
        if not fields or not all(isinstance(value, str) for value in fields.values()) or not fields["question"].strip():
            raise BadRequest(f"{str(given)[:80]!r} is no question; give texts as `question`, `document` and, if the place matters, `quote`.",
                             param="questions")
        return cls(fields["question"], fields["document"], fields["quote"])

    def rank(self, hits: Sequence[Hit]) -> int | None:
        """The place of the right hit, the first being 0: among the documents, or with a quote among the chunks; None when it is not there."""
        if self.quote:
            wanted = _plain(self.quote)
            return next((at for at, hit in enumerate(hits) if hit.document == self.document and wanted in _plain(hit.text)), None)
        documents = list(dict.fromkeys(hit.document for hit in hits))
        return documents.index(self.document) if self.document in documents else None


@dataclass(frozen=True)
class Evaluation:
    """One row per retriever and language; the retriever `default` is what `ask` uses. `interval` is of recall@1, by resampling the questions."""

    rows: tuple[dict[str, Any], ...]

    def frame(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def row(self, retriever: str = "default", language: str = "all") -> dict[str, Any]:
        """The row of a retriever and a language. Raises BadRequest when there is none."""
        found = [row for row in self.rows if (row["retriever"], row["language"]) == (retriever, language)]
        if not found:
            raise BadRequest(f"Nothing was measured for retriever {retriever!r} and language {language!r}.")
        return found[0]

    def __repr__(self) -> str:
        lines = [f"{'retriever':<10}{'language':<10}{'n':>6}" + "".join(f"{name:>11}" for name in _measures()) + "   recall@1, 95 %"]
        for row in self.rows:
            low, high = row["interval"]
            figures = "".join(f"{row[name]:>11.4f}" for name in _measures())
            lines.append(f"{row['retriever']:<10}{row['language']:<10}{row['n']:>6}{figures}   {low:.3f} to {high:.3f}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names = ("retriever", "language", "n", *_measures(), "recall@1, 95 %")
        return table(names, [(row["retriever"], row["language"], row["n"], *(f"{row[name]:.4f}" for name in _measures()),
                              "{:.3f} to {:.3f}".format(*row["interval"])) for row in self.rows])


def evaluate(search: Search, questions: Iterable[Question | Mapping[str, Any]], retrievers: Sequence[str] = RETRIEVERS,
             progress: Callable[[Iterable[Question]], Iterable[Question]] = iter) -> Evaluation:
    """Ask all questions that have an answer, with each retriever, and count at which place the right passage came.

    Raises BadRequest when no question has one, and whatever `search` raises.
    """
    asked = [one for one in map(Question.of, questions) if one.document]
    if not asked:
        raise BadRequest("None of the questions says in which document its answer is, so there is nothing to measure.", param="questions")
    places: dict[tuple[str, str], list[int | None]] = {}
    for question in progress(asked):
        for retriever in retrievers:
            rank = question.rank(search(question.text, DEPTH, retriever))
            for group in (language(question.text), "all"):
                places.setdefault((retriever, group), []).append(rank)
    groups = sorted({group for _, group in places}, key=lambda group: (group == "all", group))
    return Evaluation(tuple(_row(retriever, group, places[retriever, group]) for group in groups for retriever in retrievers))


def squad(file: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """The different paragraphs of a file in SQuAD's format, and its answerable questions with the number of the paragraph each belongs to.

    Raises BadRequest when the file is not there or not of that format.
    """
    places: dict[str, int] = {}
    questions: list[tuple[str, int]] = []
    try:
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                place = places.setdefault(str(paragraph["context"]), len(places))
                questions += [(str(one["question"]), place) for one in paragraph["qas"] if not one.get("is_impossible")]
    except OSError as error:
        raise BadRequest(f"{file} cannot be read ({error.strerror}); name a file in SQuAD's format.", param="dataset") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"{file} is not in SQuAD's format ({type(error).__name__}: {str(error)[:80]}); it needs data, paragraphs, context and qas.",
                         param="dataset") from error
    return list(places), questions


def evaluate_dataset(face: Any, file: Path, folder: Path, retrievers: Sequence[str] = RETRIEVERS,
                     progress: Callable[[Iterable[Question]], Iterable[Question]] = iter) -> Evaluation:
    """The same on a file in SQuAD's format: its paragraphs are written into `folder`, indexed by `face` as a collection of its own, and dropped.

    Raises BadRequest as `squad` does, and when a paragraph is not indexed: `folder` has to be one that `face` may read.
    """
    paragraphs, questions = squad(file)
    collection = f"dataset-{uuid.uuid4().hex[:12]}"
    paths = [folder / f"{number:06}.txt" for number in range(len(paragraphs))]
    for path, paragraph in zip(paths, paragraphs, strict=True):
        path.write_text(paragraph, encoding="utf-8")
    try:
        added = face.add(collection, [str(folder)], folder)
        if added.skipped:
            path, why = added.skipped[0]
            raise BadRequest(f"{len(added.skipped)} of {len(paragraphs)} paragraphs were not indexed, the first ({path}) because: {why}",
                             param="folder")
        return evaluate(lambda question, limit, retriever: face.search(collection, question, limit, retriever),
                        [Question(text, str(paths[place])) for text, place in questions], retrievers, progress)
    finally:
        face.drop(collection)


def _row(retriever: str, group: str, places: Sequence[int | None]) -> dict[str, Any]:
    import numpy as np  # here: whoever only starts a bench need not load it

    first = np.array([place == 0 for place in places], dtype=float)
    chance = np.random.default_rng(0)
    resampled = [first[chance.integers(0, len(first), len(first))].mean() for _ in range(RESAMPLES)]
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    found = [place for place in places if place is not None and place < 10]
    figures = {f"recall@{most}": sum(place < most for place in found) / len(places) for most in RANKS}
    figures["mrr@10"] = math.fsum(1 / (place + 1) for place in found) / len(places)
    figures["ndcg@10"] = math.fsum(1 / math.log2(place + 2) for place in found) / len(places)
    return {"retriever": retriever, "language": group, "n": len(places), **{name: round(value, 4) for name, value in figures.items()},
            "interval": [round(float(edge), 4) for edge in np.quantile(resampled, edges)]}


def _measures() -> tuple[str, ...]:
    return (*(f"recall@{most}" for most in RANKS), "mrr@10", "ndcg@10")


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
