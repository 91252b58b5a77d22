"""Every kind of document gives its text, and a file that is none gives one reason and nothing else."""

from __future__ import annotations

import zlib
from pathlib import Path

import papers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import BadRequest
from suite.knowledge import read as module
from suite.knowledge.formats import docx, html, hwpx, notebook, pdf, plain
from suite.knowledge.read import PACKED, READERS, read

PAGE = b"""<html><head><title>Handbook</title><style>p {color: red}</style></head><body><nav>Home</nav><h2>Backup</h2>
<p>It starts at <b>03:30</b>   every
night.<!-- not yet --></p><ul><li>first</li><li>second</li></ul><table><tr><th>name</th><th>port</th></tr><tr><td>chat</td><td>8001</td></tr></table>
<pre>a  =  1
b = 2</pre><script>alert(1)</script></body></html>"""
READ = {"pdf": pdf.read, "docx": docx.read, "hwpx": hwpx.read, "html": html.read, "notebook": notebook.read, "plain": plain.read}


def kept(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def test_a_pdf_gives_its_pages(tmp_path: Path) -> None:
    source = read(kept(tmp_path, "a.pdf", papers.pdf("The tide tables", "are kept in", "the north tower")))
    assert [source.page(source.text.index(words)) for words in ("The tide", "are kept", "tower")] == [1, 2, 3]
    assert source.page(len(source.text)) == 3 and read(kept(tmp_path, "a.md", b"x")).page(0) is None


def test_a_docx_gives_headings_paragraphs_and_tables() -> None:
    text = docx.read(papers.word("백업", "매일 새벽 세 시.", "Twice on Sundays.", cells=(("name", "port"), ("chat", "8001")))).text
    assert text == "## 백업\n\n매일 새벽 세 시.\n\nTwice on Sundays.\n\nname | port\nchat | 8001\n"


def test_an_hwpx_gives_its_paragraphs_in_order_and_the_cells_of_tables() -> None:
    cell = "<hp:tc><hp:subList>{}</hp:subList></hp:tc>"
    table = "<hp:p><hp:run><hp:tbl><hp:tr>" + cell.format(papers.paragraph("이름")) + cell.format(papers.paragraph("포트")) + "</hp:tr></hp:tbl></hp:run></hp:p>"
    later = ["<hp:p/>"] * 10
    text = hwpx.read(papers.hwpx(papers.paragraph("백업은 ", "매일<hp:lineBreak/>돕니다<hp:tab/>밤에"), table, *later, papers.paragraph("끝"))).text
    assert text.startswith("백업은 매일\n돕니다\t밤에\n") and text.index("이름") < text.index("포트") < text.index("끝") and "|" in text


def test_a_page_gives_what_a_reader_sees() -> None:
    text = html.read(PAGE).text
    assert text == ("# Handbook\n\n## Backup\n\nIt starts at 03:30 every night.\n\n- first\n- second\n\nname | port |\n\nchat | 8001 |\n\na = 1\nb = 2\n")


def test_a_page_in_a_stated_encoding_and_one_nested_without_end_are_read() -> None:
    assert "백업" in html.read('<meta charset="euc-kr"><p>백업'.encode("euc-kr")).text
    assert "deep" in html.read(b"<div>" * 20_000 + b"deep").text


def test_a_notebook_gives_its_cells_without_what_came_out() -> None:
    assert notebook.read(papers.notebook(("markdown", "# 제목"), ("code", "1 + 1"))).text == "# 제목\n\n```python\n1 + 1\n```\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_korean_text_is_read_in_every_usual_encoding(encoding: str) -> None:
    assert plain.decoded("백업은 매일 돕니다. Backup.".encode(encoding)) == "백업은 매일 돕니다. Backup."


BOMB = papers.packed({"word/document.xml": b"<a/>", "word/large.xml": b" " * (210 << 20)})
BILLION = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
BAD = {
    "encrypted.pdf": (papers.pdf("secret", password="word"), "is encrypted"),
    "blank.pdf": (papers.pdf(""), "holds no text"),
    "cut.pdf": (papers.pdf("hello")[:300], "cannot be read as PDF"),
    "text.pdf": (b"I am no PDF", "cannot be read as PDF"),
    "bomb.docx": (BOMB, "unfolds to more"),
    "entities.docx": (papers.packed({"word/document.xml": BILLION}), "defines entities"),
    "other.docx": (papers.packed({"a.txt": b"x"}), "is no DOCX file"),
    "cut.docx": (papers.word("a", "b")[:2000], "is no DOCX file"),
    "text.hwpx": (b"no zip", "is no HWPX file"),
    "empty.hwpx": (papers.packed({"mimetype": b"application/hwp+zip"}), "is no HWPX file"),
    "broken.hwpx": (papers.packed({"Contents/section0.xml": b"<a><b></a>"}), "is a damaged HWPX file"),
    "entities.hwpx": (papers.packed({"Contents/section0.xml": BILLION}), "defines entities"),
    "list.ipynb": (b"[1, 2]", "is no notebook"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "neither UTF-8"),
    "program.md": (b"\x7fELF" + b"\x01\x02" * 50, "control characters"),
    "latin.txt": ("Grüße aus Köln".encode("latin-1"), "neither UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_what_it_seems_gives_one_reason(name: str, tmp_path: Path) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadRequest, match=reason) as caught:
        read(kept(tmp_path, name, data))
    assert "\n" not in caught.value.message and len(caught.value.message) < 250


@pytest.mark.parametrize("suffix", READERS)
def test_an_empty_file_of_any_kind_is_empty(suffix: str, tmp_path: Path) -> None:
    assert read(kept(tmp_path, f"a{suffix}", b"")).text == ""


def test_sizes_are_bounded_before_a_reader_sees_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    monkeypatch.setattr(module, "MAX_PACKED", 200)
    monkeypatch.setattr(module, "MAX_CHARS", 50)
    for name, size in {"a.md": 101, "a.html": 101, "a.pdf": 201}.items():
        with pytest.raises(BadRequest, match="larger than"):
            read(kept(tmp_path, name, b"x" * size))
    with pytest.raises(BadRequest, match="longer than 50 characters"):
        read(kept(tmp_path, "a.md", b"x" * 51))


@given(st.sampled_from(sorted(set(READERS.values()))), st.binary(max_size=400))
def test_any_bytes_give_text_or_a_reason(kind: str, data: bytes) -> None:
    try:
        assert isinstance(READ[kind](data).text, str)
    except BadRequest as error:
        assert error.message


@given(st.sampled_from(sorted(set(PACKED.values()))), st.integers(0, 2**32 - 1))
def test_a_damaged_document_gives_text_or_a_reason(kind: str, seed: int) -> None:
    made = {"pdf": papers.pdf("one page", "another"), "docx": papers.word("a", "b"), "hwpx": papers.hwpx(papers.paragraph("가나다"))}[kind]
    noise = zlib.crc32(seed.to_bytes(4, "big"))
    damaged = bytearray(made)
    for step in range(3):
        damaged[(noise >> (7 * step)) % len(damaged)] ^= 1 << (noise >> step) % 8
    try:
        assert isinstance(READ[kind](bytes(damaged)).text, str)
    except BadRequest as error:
        assert error.message
