"""What a verification found, and the record of it that is kept beside the snapshot: a backup counts only once it was restored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suite import render
from suite.backup.folder import write_whole
from suite.backup.snapshot import manifest_digest
from suite.errors import StorageError

SUFFIX = ".verified.json"


@dataclass(frozen=True)
class Verification:
    """How a restore into a scratch folder went: every problem is a sentence; none means that all that was saved came back.

    `seconds` is the time from the first byte read to the last answer compared; `rows` and `points` were counted in the restored data, `searches` and
    `decisions` asked again; `at` is UTC seconds since 1970; `parts` names what was restored.
    """

    path: str
    files: int
    problems: tuple[str, ...]
    seconds: float = 0.0
    rows: int = 0
    points: int = 0
    collections: int = 0
    searches: int = 0
    decisions: int = 0
    at: float = 0.0
    parts: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def check(self) -> None:
        """Raise StorageError with all problems, if there is any."""
        if self.problems:
            raise StorageError(f"The backup {self.path} is not as it was written: {' '.join(self.problems)} Restore from another one.",
                               problems=list(self.problems))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "problems": list(self.problems), "parts": list(self.parts), "ok": self.ok}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Verification:
        """The record that `to_dict` gave."""
        known = {key: value for key, value in body.items() if key != "ok"}
        return cls(**{**known, "problems": tuple(body["problems"]), "parts": tuple(body["parts"])})

    def __repr__(self) -> str:
        what = "restored and compared" if self.ok else f"{len(self.problems)} problems: {' '.join(self.problems)}"
        return f"Verification({self.path}, {what}, {self.seconds:.2f} s)"

    def _repr_html_(self) -> str:
        names = ("path", "files", "rows", "collections", "points", "searches", "decisions")
        rows: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in names]
        rows += [("seconds", f"{self.seconds:.2f}"), *(("problem", problem) for problem in self.problems)]
        return render.card("Verification", rows, badge_text="pass" if self.ok else "fail")


def keep(found: Verification) -> None:
    """Write a good verification beside its snapshot, bound to its manifest; after a bad one a former record goes."""
    place = _place(Path(found.path))
    try:
        if found.ok:
            write_whole(place, json.dumps({"manifest": manifest_digest(Path(found.path)), **found.to_dict()}, ensure_ascii=False, indent=1) + "\n")
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"The record {place} of a verification cannot be written ({error.strerror}); make its folder writable.") from error


def kept(snapshot: Path) -> Verification | None:
    """The last good verification of this very snapshot; None when there is none, it is another's, or nobody can read it."""
    try:
        body = json.loads(_place(snapshot).read_text(encoding="utf-8"))
        return Verification.from_dict(body) if body.pop("manifest") == manifest_digest(snapshot) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # a record that cannot be read proves nothing


def forget(snapshot: Path) -> None:
    """Remove the record of a snapshot."""
    _place(snapshot).unlink(missing_ok=True)


def _place(snapshot: Path) -> Path:
    return snapshot.with_name(snapshot.name + SUFFIX)
