"""An executed notebook as one HTML file: what was said, run and shown, with an anchor at the record of each check."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from suite.checks.result import MIME
from suite.errors import BadRequest
from suite.runbooks.final_clean import clean
from suite.runbooks.final_page import page, save

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def write_html(notebook: Path) -> Path:
    """Write `NAME.html` beside the notebook NAME.ipynb and give its path.

    Nothing in it runs or loads anything. Raises BadRequest for a file that is no notebook, StorageError where the page cannot be written.
    """
    import nbformat

    try:
        read = nbformat.reads(notebook.read_text(encoding="utf-8"), as_version=4)
        cells = list(read.cells)
    except Exception as error:  # nbformat raises what its parts raise, of many kinds
        raise BadRequest(f"{notebook} cannot be shown: it is no notebook ({type(error).__name__}: {str(error)[:200]}).") from error
    title = next((line.removeprefix("# ").strip() for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
                  if line.startswith("# ")), notebook.stem)
    marked: set[str] = set()
    body = "".join(_code(cell, marked) if cell.cell_type == "code" else _markdown(cell.source) if cell.cell_type == "markdown"
                   else _plain(cell.source) for cell in cells)
    foot = f'<p class="foot">{escape(notebook.name)}</p>'
    return save(notebook.with_suffix(".html"), page(title, f"<main>\n{body}</main>\n{foot}", "en"))


def _markdown(source: str) -> str:
    """Prose; HTML in it is shown as text."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    return f'<div class="prose">{clean(reader.render(source))}</div>\n'


def _code(cell: Mapping[str, Any], marked: set[str]) -> str:
    """A cell's source and outputs; the ids of the checks that it recorded are its anchors."""
    outputs = cell.get("outputs", [])
    new = [name for name in _recorded(outputs) if name not in marked]
    marked.update(new)
    anchors = "".join(f'<a id="{escape(name, quote=True)}"></a>' for name in new)
    number = f'<span class="number-of">[{cell.get("execution_count") or " "}]</span>'
    source = f'<pre class="in">{escape(cell["source"])}</pre>' if cell["source"].strip() else ""
    shown = "".join(f'<div class="out">{_output(output)}</div>' for output in outputs)
    return f'<div class="cell">{anchors}{number}{source}{shown}</div>\n' if source or shown else ""


def _recorded(outputs: list[Mapping[str, Any]]) -> Iterator[str]:
    for output in outputs:
        found = output.get("data", {}).get(MIME)
        for record in found if isinstance(found, list) else [found]:
            if isinstance(record, Mapping) and isinstance(record.get("id"), str):
                yield record["id"]


def _output(output: Mapping[str, Any]) -> str:
    """The richest form that needs nobody to run anything."""
    if output["output_type"] == "stream":
        return _plain(_joined(output["text"]))
    if output["output_type"] == "error":
        return _plain("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}")
    data = output.get("data", {})
    if "text/html" in data:
        return clean(_joined(data["text/html"]))
    if "image/svg+xml" in data:
        svg = b64encode(_joined(data["image/svg+xml"]).encode("utf-8")).decode("ascii")
        return f'<img alt="{escape(_joined(data.get("text/plain", "")), quote=True)}" src="data:image/svg+xml;base64,{svg}">'
    for kind in IMAGES:
        if kind in data:
            source = escape(_joined(data[kind]).strip(), quote=True)
            return clean(f'<img alt="{escape(_joined(data.get("text/plain", "")), quote=True)}" src="data:{kind};base64,{source}">')
    if "text/markdown" in data:
        return _markdown(_joined(data["text/markdown"]))
    return _plain(_joined(data.get("text/plain", "")))


def _plain(text: str) -> str:
    return f"<pre>{escape(_ANSI.sub('', text))}</pre>\n" if text.strip() else ""


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)
