"""What a reader makes of a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extract:
    """A document's text; `pages` are the characters at which its pages begin, where its format has pages."""

    text: str
    pages: tuple[int, ...] = ()
