"""HTML pages, by Beautiful Soup: the text with its headings and lists, without scripts, styles and other things that nobody reads."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString

from suite.knowledge.formats.extract import Extract
from suite.knowledge.formats.plain import decoded

_SKIPPED_NAMES = "script style noscript template svg iframe head nav"
_BLOCK_NAMES = ("address article aside blockquote body dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr html li main ol p pre "
                "section table tbody td tfoot th thead tr ul br")
_SKIPPED, _BLOCKS = frozenset(_SKIPPED_NAMES.split()), frozenset(_BLOCK_NAMES.split())
_HEADING = re.compile(r"h([1-6])")
_STATED = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_LATER = 2048  # bytes in which a page states its encoding


def read(data: bytes) -> Extract:
    """The text of a page. Raises BadRequest when the bytes are no text."""
    stated = _STATED.search(data[:_LATER])
    try:
        text = data.decode(stated[1].decode("ascii")) if stated else decoded(data)
    except (LookupError, UnicodeDecodeError):
        text = decoded(data)
    soup = BeautifulSoup(text, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    pieces: list[str] = [f"# {title}\n"] if title else []
    _walk(soup, pieces)
    lines = [re.sub(r"[ \t\xa0]+", " ", line).strip() for line in "".join(pieces).split("\n")]
    return Extract(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n")


def _walk(top: Tag, pieces: list[str]) -> None:
    """The text below an element, in order. A list of what is still to do instead of recursion: pages may be nested thousands deep."""
    waiting: list[tuple[object, bool]] = [(node, False) for node in reversed(list(top.children))]  # and whether it stands in <pre>
    while waiting:
        node, kept = waiting.pop()
        if isinstance(node, Tag):
            if node.name not in _SKIPPED:
                before, after = _around(node.name)
                pieces.append(before)
                waiting.append((after, True))
                waiting.extend((child, kept or node.name == "pre") for child in reversed(list(node.children)))
        elif isinstance(node, str) and not isinstance(node, PreformattedString):  # those are comments and the like
            pieces.append(str(node) if kept else re.sub(r"\s+", " ", node))


def _around(name: str) -> tuple[str, str]:
    heading = _HEADING.fullmatch(name)
    if heading:
        return "\n\n" + "#" * int(heading[1]) + " ", "\n\n"
    if name in ("td", "th"):
        return "", " | "
    if name == "li":
        return "\n- ", ""
    if name == "p":
        return "\n\n", "\n\n"
    return ("\n", "\n") if name in _BLOCKS else ("", "")
