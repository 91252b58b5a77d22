"""HTML that a kernel put into an output, without what runs, loads, navigates or covers the page around it."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

_TAGS = frozenset((
    "a", "b", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2",
    "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "text", "tspan", "title", "desc", "defs", "clippath",
))
_SILENT = frozenset(("script", "style", "template", "noscript", "iframe", "object", "textarea", "select", "head"))  # left out with what is in them
_VOID = frozenset(("br", "hr", "img", "col"))
_ATTRIBUTES = frozenset((
    "alt", "class", "colspan", "cx", "cy", "d", "dx", "dy", "fill", "fill-opacity", "fill-rule", "font-family", "font-size", "font-style",
    "font-weight", "height", "href", "lang", "opacity", "open", "points", "preserveaspectratio", "r", "role", "rowspan", "rx", "ry", "scope",
    "src", "stroke", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "style", "text-anchor", "title",
    "transform", "viewbox", "width", "x", "x1", "x2", "xmlns", "y", "y1", "y2",
))
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*\Z")
_LINK = re.compile(r"(https?://|#)")
_STYLE = re.compile(r"url|expression|position|z-index|@|\\|/\*", re.IGNORECASE)  # what could load something, or lie over the rest of the page


def clean(html: str) -> str:
    """The same HTML with known tags and attributes only; each tag that was opened is closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts) + "".join(f"</{tag}>" for tag in reversed(reader.opened))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.opened: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self.silent.append(tag)
        if self.silent or tag not in _TAGS:
            return
        kept = "".join(f' {name}="{escape(value or "", quote=True)}"' for name, value in attrs if _harmless(name, value or ""))
        self.parts.append(f"<{tag}{kept}>")
        if tag not in _VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            return
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag == self.silent[-1]:
                self.silent.pop()
            return
        if tag in self.opened:
            while self.opened[-1] != tag:
                self.parts.append(f"</{self.opened.pop()}>")
            self.parts.append(f"</{self.opened.pop()}>")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(escape(data, quote=False))


def _harmless(name: str, value: str) -> bool:
    if name not in _ATTRIBUTES:
        return False
    if name == "src":
        return bool(_IMAGE.match(value))
    if name == "href":
        return bool(_LINK.match(value))
    return not _STYLE.search(value) if name == "style" else "url(" not in value.lower()
