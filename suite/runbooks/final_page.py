"""The page that the final report and the notebooks of a release are shown on: one file, no script, no network, on screen and on paper."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from suite.errors import StorageError

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(title: str, body: str, language: str) -> str:
    """A whole HTML document around a body that is HTML already."""
    style = Path(__file__).with_name("final.css").read_text(encoding="utf-8")
    return (f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<meta name="referrer" content="no-referrer">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
            f"<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n")


def rows(columns: Sequence[str], lines: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table whose cells are HTML already; those of the columns `numbers` stand to the right."""
    kinds = [' class="number"' if place in numbers else "" for place in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    body = "".join("<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>\n" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def state(name: str, shown: str) -> str:
    """A state in its colour; the word alone carries the meaning."""
    return f'<span class="state {escape(name, quote=True)}">{escape(shown)}</span>'


def save(path: Path, text: str) -> Path:
    """Write a page in one step, for its owner only. Raises StorageError where that cannot be done."""
    partial = None
    try:
        number, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        raise StorageError(f"The report {path} cannot be written ({error.strerror or error}); free some space, or name another folder.") from error
    return path
