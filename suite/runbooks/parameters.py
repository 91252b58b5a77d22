"""The parameters that a notebook was executed with, read from its own cells."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from suite.runbooks.digest import INJECTED, cells, tags, text


def parameters_of(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the cell tagged `parameters`, and over them those that papermill injected; whatever is no plain value is left out."""
    found: dict[str, Any] = {}
    for tag in ("parameters", INJECTED):
        for cell in cells(notebook):
            if tag in tags(cell):
                found |= _values(text(cell.get("source")))
    return found


def _values(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        lines = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return found
    for line in lines:
        targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) and line.value else []
        for target in targets:
            try:
                if isinstance(target, ast.Name):
                    found[target.id] = ast.literal_eval(line.value)  # type: ignore[union-attr]
            except (ValueError, TypeError):
                continue
    return found
