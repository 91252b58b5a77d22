"""The golden set: documents of an invented institute, and questions in Korean and English whose answers are known or known to be nowhere."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import SettingsError
from suite.knowledge.evaluate import Question
from suite.settings import package_file

# By what a question can be found: words it shares with the passage; only what it means; Korean words in other forms; names of code; a row of a table;
# English words in a Korean question; a name or number in a document of the other language; and nothing, because no document answers it.
KINDS = ("plain", "paraphrase", "inflected", "code", "table", "mixed", "cross", "unanswerable")
LANGUAGES = ("ko", "en", "mixed")


@dataclass(frozen=True)
class GoldenQuestion:
    """A question of the set, in Korean, English or, for Korean with English terms, `mixed`.

    `document` is a file name in the set's folder and `quote` an exact part of its text that holds one of `answers`, each of which would do.
    All three are empty where no document has the answer: near misses, and questions about something else altogether.
    """

    id: str
    question: str
    language: str
    kind: str
    document: str
    quote: str
    answers: tuple[str, ...]

    def answered_by(self, text: str) -> bool:
        """Whether one of the accepted answers stands in the text, whatever its spaces and the size of its letters."""
        return any(_plain(answer) in _plain(text) for answer in self.answers)


@dataclass(frozen=True)
class Golden:
    """The set: `folder` holds the documents, `gates` is the file of its limits, in the form of criteria.toml."""

    folder: Path
    gates: Path
    questions: tuple[GoldenQuestion, ...]

    @property
    def answerable(self) -> tuple[GoldenQuestion, ...]:
        """The questions that a document answers."""
        return tuple(one for one in self.questions if one.document)

    @property
    def unanswerable(self) -> tuple[GoldenQuestion, ...]:
        """The questions that must get no answer."""
        return tuple(one for one in self.questions if not one.document)

    def asked(self, one: GoldenQuestion) -> Question:
        """The question as `evaluate` takes it, about the document in `folder`."""
        return Question(one.question, str(self.folder / one.document) if one.document else "", one.quote)


def load(folder: Path | None = None) -> Golden:
    """Read the set below `folder` (the packaged one when None): documents/, questions.json, gates.toml.

    Raises SettingsError when a part of it is missing or malformed.
    """
    place = (package_file("runbooks/golden") if folder is None else Path(folder)).resolve()
    file = place / "questions.json"
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        questions = tuple(_question(row) for row in rows)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"The golden set's {file} cannot be read ({type(error).__name__}: {str(error)[:120]}); "
                            "name a folder with documents/, questions.json and gates.toml, or none for the packaged set.") from error
    lost = [one.id for one in questions if one.document and not (place / "documents" / one.document).is_file()]
    if lost:
        raise SettingsError(f"The golden set in {place} lacks the documents of {', '.join(lost[:5])}; put them into its documents/ folder.")
    return Golden(place / "documents", place / "gates.toml", questions)


def _question(row: dict[str, Any]) -> GoldenQuestion:
    made = GoldenQuestion(**{**row, "answers": tuple(row["answers"])})
    texts = (made.id, made.question, made.language, made.kind, made.document, made.quote, *made.answers)
    if not all(isinstance(text, str) for text in texts) or made.kind not in KINDS or made.language not in LANGUAGES:
        raise ValueError(f"question {made.id!r} has another form, kind or language than those of the set")
    if bool(made.document) != (made.kind != "unanswerable") or not bool(made.document) == bool(made.quote) == bool(made.answers):
        raise ValueError(f"question {made.id!r} must have document, quote and answers, or none of them and the kind unanswerable")
    return made


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
