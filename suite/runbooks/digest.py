"""Canonical digests: of JSON, of a file, and of an executed notebook with and without what changes at every execution."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.checks.condition import plain
from suite.checks.result import MIME

BLOCK = 1 << 20
# what says when, by whom and how quickly a cell was executed, but not what it gave
VOLATILE = frozenset({"started_at", "ended_at", "begun_at", "at", "seconds", "proven_red_at", "started_s", "ready_s", "pid"})
INJECTED, NOT_RUN, MARKER = "injected-parameters", "not-run", "papermill-error-cell-tag"
GENERATED = (INJECTED, NOT_RUN, MARKER)  # tags of the cells that papermill and the runner put in, which the packaged runbook does not have


@dataclass(frozen=True)
class NotebookDigest:
    """sha256 of what a notebook says without what is volatile (`content`), of all of it (`whole`), and of each cell's source (`sources`)."""

    content: str
    whole: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"content": self.content, "whole": self.whole, "sources": list(self.sources)}


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value: keys in order, no spaces, UTF-8. Raises ValueError for numbers that JSON does not know."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def of_json(value: Any) -> str:
    """sha256 of the canonical form, 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def of_notebook(notebook: Mapping[str, Any]) -> NotebookDigest:
    """The digests of a notebook as read from its JSON; two executions that gave the same have the same `content`."""
    return NotebookDigest(of_json(plain(content(notebook))), of_json(plain(notebook)), tuple(sources(notebook)))


def sources(notebook: Mapping[str, Any]) -> list[str]:
    """One digest per cell that the runbook itself has, of its kind and source; cells that the runner put in are left out."""
    return [of_json([cell.get("cell_type"), text(cell.get("source"))]) for cell in cells(notebook) if not generated(cell)]


def content(notebook: Mapping[str, Any]) -> list[Any]:
    """What the notebook says, cell by cell: kind, source, tags, outputs; without metadata, ids, counts, times, and the twin texts of a record."""
    return [[cell.get("cell_type"), text(cell.get("source")), tags(cell), [_shown(output) for output in cell.get("outputs") or []]]
            for cell in cells(notebook)]


def cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The cells that are any."""
    found = notebook.get("cells")
    return [cell for cell in found if isinstance(cell, Mapping)] if isinstance(found, list) else []


def generated(cell: Mapping[str, Any]) -> bool:
    """Whether the runner put this cell in."""
    return any(tag in tags(cell) for tag in GENERATED)


def text(value: Any) -> str:
    """Text that a notebook may keep as one piece or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def tags(cell: Mapping[str, Any]) -> list[str]:
    """The cell's tags, in order."""
    metadata = cell.get("metadata")
    found = metadata.get("tags") if isinstance(metadata, Mapping) else None
    return sorted(map(str, found)) if isinstance(found, list) else []


def _shown(output: Any) -> Any:
    if not isinstance(output, Mapping):
        return output
    data = output.get("data")
    if not isinstance(data, Mapping):
        return {key: text(value) if key in ("text", "traceback") else value for key, value in output.items()
                if key not in ("execution_count", "metadata")}
    if MIME in data:  # its html and text twins are drawn from the record, times and all
        return [output.get("output_type"), _steady(data[MIME])]
    return [output.get("output_type"), {key: text(value) if key.startswith("text/") else _steady(value) for key, value in data.items()}]


def _steady(value: Any) -> Any:
    """The value without what is volatile."""
    if isinstance(value, Mapping):
        return {str(key): _steady(inner) for key, inner in value.items() if key not in VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value
