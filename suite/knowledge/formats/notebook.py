"""Jupyter notebooks: what their cells say; not what came out of them, which is what the next run makes."""

from __future__ import annotations

import json

from suite.errors import BadRequest
from suite.knowledge.formats.extract import Extract, fence
from suite.knowledge.formats.plain import decoded


def read(data: bytes) -> Extract:
    """Text cells as they are, code cells as blocks of code. Raises BadRequest when it is no notebook."""
    try:
        notebook = json.loads(decoded(data))
        language = str(notebook.get("metadata", {}).get("language_info", {}).get("name", ""))
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]  # a text, or a list of its lines
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"is no notebook ({type(error).__name__}: {str(error)[:120]})") from error
    return Extract("\n\n".join(_code(said, language) if kind == "code" else said for kind, said in cells if said.strip()) + "\n")


def _code(said: str, language: str) -> str:
    marks = fence(said)
    return f"{marks}{language}\n{said}\n{marks}"
