"""Canonical digests: of JSON, of a file, and of an executed notebook with what changes at every execution kept apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.checks.result import MIME

BLOCK = 1 << 20
# what says when, by whom and how quickly a cell was executed, but not what it gave
VOLATILE = frozenset({"started_at", "ended_at", "begun_at", "at", "seconds", "proven_red_at", "started_s", "ready_s", "pid"})
GENERATED = ("injected-parameters", "not-run")  # tags of the cells that the runner puts in, which the packaged runbook does not have


@dataclass(frozen=True)
class NotebookDigest:
    """sha256 of what a notebook says (`content`), of the rest (`volatile`), and of each cell's source as the packaged runbook has it (`sources`)."""

    content: str
    volatile: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"content": self.content, "volatile": self.volatile, "sources": list(self.sources)}


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
    content, volatile = split(notebook)
    return NotebookDigest(of_json(content), of_json(volatile), tuple(sources(notebook)))


def sources(notebook: Mapping[str, Any]) -> list[str]:
    """One digest per cell that the runbook itself has, of its kind and source; cells that the runner put in are left out."""
    return [of_json([cell.get("cell_type"), text(cell.get("source"))]) for cell in cells(notebook) if not generated(cell)]


def split(notebook: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the notebook says, and what only tells of this one execution: metadata, times, cell ids, and the pictures of a record's twin texts."""
    kept, apart = [], []
    for cell in cells(notebook):
        shown = [_output(output) for output in cell.get("outputs") or [] if isinstance(output, Mapping)]
        kept.append([cell.get("cell_type"), text(cell.get("source")), _tags(cell), [first for first, _ in shown]])
        apart.append([cell.get("id"), cell.get("metadata"), cell.get("execution_count"), [second for _, second in shown]])
    return {"cells": kept}, {"cells": apart, "metadata": notebook.get("metadata"), "format": [notebook.get("nbformat"), notebook.get("nbformat_minor")]}


def cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The cells that are any."""
    found = notebook.get("cells")
    return [cell for cell in found if isinstance(cell, Mapping)] if isinstance(found, list) else []


def generated(cell: Mapping[str, Any]) -> bool:
    """Whether the runner put this cell in."""
    return any(tag in _tags(cell) for tag in GENERATED)


def text(value: Any) -> str:
    """Text that a notebook may keep as one piece or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _tags(cell: Mapping[str, Any]) -> list[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    return sorted(map(str, tags)) if isinstance(tags, list) else []


def _output(output: Mapping[str, Any]) -> tuple[Any, Any]:
    data = output.get("data")
    if isinstance(data, Mapping):
        if MIME in data:  # its html and text twins are drawn from the record, times and all
            record, times = _parted(data[MIME])
            return [output.get("output_type"), {MIME: record}], [times, {key: value for key, value in data.items() if key != MIME}]
        return [output.get("output_type"), {key: text(value) if isinstance(value, list) and key.startswith("text/") else _parted(value)[0]
                                            for key, value in data.items()}], [output.get("metadata"), _parted(dict(data))[1]]
    return [output.get("output_type"), {key: text(value) if key in ("text", "traceback") else value for key, value in output.items()
                                        if key not in ("execution_count", "output_type", "metadata")}], output.get("metadata")


def _parted(value: Any) -> tuple[Any, Any]:
    """The value without what is volatile, and that alone."""
    if isinstance(value, Mapping):
        parts = {str(key): _parted(inner) for key, inner in value.items() if key not in VOLATILE}
        gone = {str(key): inner for key, inner in value.items() if key in VOLATILE}
        return {key: kept for key, (kept, _) in parts.items()}, gone | {key: apart for key, (_, apart) in parts.items() if apart}
    if isinstance(value, list):
        pairs = [_parted(item) for item in value]
        return [kept for kept, _ in pairs], [apart for _, apart in pairs] if any(apart for _, apart in pairs) else None
    return value, None
