"""HTML pages, by Beautiful Soup: as Markdown, without scripts, styles and other things that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PreformattedString

from suite.knowledge.formats.extract import Extract, fence, rows
from suite.knowledge.formats.plain import decoded

_SKIPPED_NAMES = "script style noscript template svg iframe head title nav"
_BLOCK_NAMES = ("address article aside blockquote body caption dd div dl dt figcaption figure footer form header hr html li main ol p section "
                "table tbody td tfoot th thead tr ul br")
_SKIPPED, _BLOCKS = frozenset(_SKIPPED_NAMES.split()), frozenset(_BLOCK_NAMES.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CELLS = ("td", "th")
_ROW_GROUPS = ("thead", "tbody", "tfoot")
_HOLDERS = {**dict.fromkeys(("caption", *_ROW_GROUPS), ("table",)), "tr": ("table", *_ROW_GROUPS), **dict.fromkeys(_CELLS, ("tr",))}
_LAYING_OUT = frozenset({"table", "pre", *_HEADINGS})
_BORDER = "\0"  # between the cells of a table that is no data; no text has it
_STATED = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_LANGUAGE = re.compile(r"(?:language|lang|highlight)-([\w+#.-]+)")
_LATER = 2048  # bytes in which a page states its encoding


def read(data: bytes) -> Extract:
    """The text of a page. Raises BadRequest when the bytes are no text."""
    stated = _STATED.search(data[:_LATER])
    try:
        text = data.decode(stated[1].decode("ascii")) if stated else decoded(data)
    except (LookupError, UnicodeDecodeError):
        text = decoded(data)
    soup = BeautifulSoup(text, "html.parser")
    page = _Page()
    _walk(soup, page)
    title = _line(soup.title) if soup.title else ""
    if title and title not in page.headings:
        page.blocks.insert(0, f"# {title}")
    return Extract("\n\n".join(page.blocks) + "\n")


class _Page:
    """What was read so far: whole blocks, and the pieces of prose behind the last of them."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.headings: set[str] = set()
        self.pieces: list[str] = []

    def prose(self, text: str) -> None:
        """Add words; line breaks in them count."""
        self.pieces.append(text)

    def block(self, text: str) -> None:
        """Add a block, which stays as it is, after the prose before it; an empty one only ends that."""
        cells = ([" ".join(cell.split()) for cell in line.split(_BORDER)] for line in "".join(self.pieces).split("\n"))
        lines = (" | ".join(cell for cell in line if cell) for line in cells)
        said = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        self.blocks += [part for part in (said, text) if part]
        self.pieces.clear()

    def heading(self, level: int, text: str) -> None:
        """Add a heading, unless it has no words."""
        self.headings.add(text)
        self.block("#" * level + " " + text if text else "")


def _walk(top: Tag, page: _Page) -> None:
    """The text below an element, in order. A list of what is still to do instead of recursion: pages may be nested thousands deep."""
    waiting: list[object] = [*reversed(list(top.children))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _After):
            page.prose(node.text)
        elif isinstance(node, Tag):
            if node.name in _HEADINGS:
                page.heading(_HEADINGS[node.name], _line(node))
            elif node.name == "pre":
                page.block(_code(node))
            elif node.name == "table" and _is_data(node):
                for part in _table(node):
                    page.block(part)
            elif node.name not in _SKIPPED:
                before, after = _around(node.name)
                page.prose(before)
                waiting.append(_After(after))
                waiting.extend(reversed(list(node.children)))
        elif _is_said(node):
            page.prose(re.sub(r"[\s\0]+", " ", str(node)))
    page.block("")


class _After:
    """What follows an element once its children are done."""

    def __init__(self, text: str) -> None:
        self.text = text


def _is_said(node: object) -> bool:
    return isinstance(node, NavigableString) and not isinstance(node, PreformattedString)  # those are comments and the like


def _around(name: str) -> tuple[str, str]:
    if name in _CELLS:
        return _BORDER, _BORDER
    if name == "li":
        return "\n- ", ""
    if name == "p":
        return "\n\n", "\n\n"
    return ("\n", "\n") if name in _BLOCKS else ("", "")


def _line(top: Tag) -> str:
    """All that an element says, in one line."""
    return " ".join("".join(_said(top)).split())


def _said(top: Tag) -> Iterator[str]:
    waiting: list[object] = [top]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Tag):
            if node is top or node.name not in _SKIPPED:
                yield "\n" * (node.name in _BLOCKS)
                waiting.extend(reversed(list(node.children)))
        elif _is_said(node):
            yield str(node)


def _code(top: Tag) -> str:
    """A <pre> as a block of code, with its language where a class names one as highlighters do."""
    text = "".join(_said(top)).removeprefix("\n").rstrip()
    if not text.strip():
        return ""
    first = top.find("code")
    classes = [name for tag in (top, first) if isinstance(tag, Tag) for name in tag.get_attribute_list("class") if name]
    language = next((found[1] for name in classes if (found := _LANGUAGE.fullmatch(name))), "")
    marks = fence(text)
    return f"{marks}{language}\n{text}\n{marks}"


def _is_data(table: Tag) -> bool:
    """Whether it has rows and cells and nothing else: no words between them, no tag left open, no page that is laid out in it."""
    waiting = [(node, "table", False) for node in table.children]  # with what holds it, and whether a cell or the caption does
    while waiting:
        node, parent, told = waiting.pop()
        if not isinstance(node, Tag):
            wrong = not told and _is_said(node) and bool(str(node).strip())
        elif node.name in _SKIPPED:
            continue
        else:
            wrong = node.name in _LAYING_OUT or parent not in _HOLDERS.get(node.name, (parent,)) or (told and node.name in _HOLDERS)
            waiting.extend((child, node.name, told or node.name in (*_CELLS, "caption")) for child in node.children)
        if wrong:
            return False
    return True


def _table(table: Tag) -> Iterator[str]:
    """Its caption and its rows."""
    yield from (_line(caption) for caption in table.find_all("caption"))
    yield rows([[_line(cell) for cell in row.find_all(_CELLS)] for row in table.find_all("tr")])
