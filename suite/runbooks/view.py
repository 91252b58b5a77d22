"""What a cell of a runbook shows."""

from __future__ import annotations


class View:
    """Something to look at in a cell, and the same as text."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._html
