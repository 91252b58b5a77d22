"""Every kind of document gives its text, and a file that is none gives one reason and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import docx as python_docx
import papers
import psutil
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import BadRequest
from suite.knowledge.formats import docx, extract, html, hwpx, notebook, plain
from suite.knowledge.formats.extract import extracted
from suite.knowledge.read import KINDS, PACKED, READERS, Reader
from suite.settings import load

PAGE = b"""<html><head><title>Handbook</title><style>p {color: red}</style></head><body><nav>Home</nav><h2>Back<i>up</i><br>plan</h2>
<p>It starts at <b>03:30</b>   every
night.<!-- not yet --></p><ul><li>first</li><li>second</li></ul><table><caption>Ports</caption><tr><th>name</th><th>port</th></tr>
<tr><td>chat | code</td><td>8001<br>8004</td></tr></table>
<pre class="language-python">
if a:
    b  =  1

# ```
</pre><h3> </h3><script>alert(1)</script></body></html>"""
OUT_OF_PAGE = """# Handbook

## Backup plan

It starts at 03:30 every night.

- first
- second

Ports

| name | port |
| --- | --- |
| chat \\| code | 8001 8004 |

````python
if a:
    b  =  1

# ```
````
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(load({"rag_roots": str(tmp_path)}, {}), tmp_path / "data", tmp_path)
    yield made
    made.close()


def kept(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def test_a_pdf_gives_its_pages(reader: Reader, tmp_path: Path) -> None:
    source = reader.read(kept(tmp_path, "a.pdf", papers.pdf("The tide tables", "are kept in", "the north tower")))
    assert [source.page(source.text.index(words)) for words in ("The tide", "are kept", "tower")] == [1, 2, 3]
    assert source.page(len(source.text)) == 3 and reader.read(kept(tmp_path, "a.md", b"x")).page(0) is None


def test_a_pdf_that_is_only_locked_against_changes_is_read(reader: Reader, tmp_path: Path) -> None:
    for cipher in ("RC4-128", "AES-256"):
        assert reader.read(kept(tmp_path, "a.pdf", papers.pdf("The tide tables", owner="word", cipher=cipher))).text == "The tide tables"


def test_a_docx_gives_headings_paragraphs_and_tables() -> None:
    text = docx.read(papers.word("백업", "매일 새벽 세 시.", "Twice on Sundays.", cells=(("name", "port"), ("chat", "8001")))).text
    assert text == "## 백업\n\n매일 새벽 세 시.\n\nTwice on Sundays.\n\n| name | port |\n| --- | --- |\n| chat | 8001 |\n"


def test_a_docx_keeps_what_stands_in_frames_boxes_and_cells_and_loses_what_was_deleted() -> None:
    made = python_docx.Document()
    made.add_heading("Plan", 0)  # its title
    own = made.styles.add_style("House heading", 1)
    own.base_style = made.styles["Heading 3"]
    made.add_paragraph("By house style", style=own)
    outlined = made.add_paragraph("By outline")
    outlined._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="1"/>'))
    framed = made.add_paragraph("")
    framed._p.getparent().replace(framed._p, parse_xml(
        f'<w:sdt {nsdecls("w")}><w:sdtContent><w:p><w:pPr><w:tabs><w:tab w:val="left" w:pos="1"/></w:tabs></w:pPr>'
        '<w:r><w:t>in a </w:t></w:r><w:ins><w:r><w:t>frame</w:t><w:br/><w:t>below</w:t></w:r></w:ins>'
        '<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>'
        '<w:r><w:pict><w:txbxContent><w:p><w:pPr><w:tabs><w:tab w:val="left" w:pos="1"/></w:tabs></w:pPr><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>'
        '</w:pict></w:r></w:p></w:sdtContent></w:sdt>'))
    table = made.add_table(2, 3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(0, 2).text = "a|b"
    inner = table.cell(1, 0).add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "left", "right"
    text = docx.read(papers.saved(made)).text
    assert text == ("# Plan\n\n### By house style\n\n## By outline\n\nin a frame\nbelow\nboxed\n\n"
                    "| wide | a\\|b |\n| --- | --- |\n| left right |  |  |\n")


def test_an_hwpx_gives_its_paragraphs_in_order_its_headings_and_its_tables() -> None:
    cell = "<hp:tc><hp:subList>{}</hp:subList></hp:tc>"
    row = "<hp:tr>" + cell.format(papers.paragraph("이름") + papers.paragraph("name")) + cell.format(papers.paragraph("포트")) + "</hp:tr>"
    table = f"<hp:p><hp:run><hp:tbl><hp:caption>{papers.paragraph('표 1')}</hp:caption>{row}{row}</hp:tbl></hp:run></hp:p>"
    later = ["<hp:p/>"] * 10
    body = (papers.paragraph("백업", style=1), papers.paragraph("백업은 ", "매일<hp:lineBreak/>돕니다<hp:tab/>밤에", style=0), table, *later,
            papers.paragraph("끝"))
    text = hwpx.read(papers.hwpx("".join(body), papers.paragraph("둘"), styles=("바탕글", "개요 2"))).text
    assert text == "## 백업\n\n백업은 매일\n돕니다\t밤에\n\n표 1\n\n| 이름 name | 포트 |\n| --- | --- |\n| 이름 name | 포트 |\n\n끝\n\n둘\n"


def test_a_page_gives_what_a_reader_sees() -> None:
    assert html.read(PAGE).text == OUT_OF_PAGE


def test_a_page_that_is_laid_out_in_a_table_or_leaves_its_cells_open_loses_nothing() -> None:
    laid_out = b"<table><tr><td><h1>Backup</h1><p>every night<table><tr><td>inner</td></tr></table></td><td>menu</td></tr></table>"
    assert html.read(laid_out).text == "# Backup\n\nevery night\n\n| inner |\n| --- |\n\nmenu\n"
    assert html.read(b"<title>Backup</title><h1>Backup</h1>").text == "# Backup\n"
    assert html.read(b"<table><tr><td>name<td>port</table>").text == html.read(b"<table><td>name</td><td>port</td></table>").text == "name | port\n"
    assert html.read(b"<table>stray<tr><td>name<td>port<tr><td>chat</table>").text.split() == ["stray", "name", "|", "port", "chat"]


def test_a_page_in_a_stated_encoding_and_one_nested_without_end_are_read() -> None:
    assert "백업" in html.read('<meta charset="euc-kr"><p>백업'.encode("euc-kr")).text
    assert "deep" in html.read(b"<div>" * 20_000 + b"deep").text
    assert "deep" in html.read(b"<table><tr><td>" * 5000 + b"deep").text


def test_a_notebook_gives_its_cells_without_what_came_out() -> None:
    made = papers.notebook(("markdown", "# 제목"), ("code", "1 + 1"), ("code", " "), ("code", '"```"'))
    assert notebook.read(made).text == '# 제목\n\n```python\n1 + 1\n```\n\n````python\n"```"\n````\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_korean_text_is_read_in_every_usual_encoding(encoding: str) -> None:
    assert plain.decoded("백업은 매일 돕니다. Backup.".encode(encoding)) == "백업은 매일 돕니다. Backup."


def test_every_suffix_has_a_kind(reader: Reader, tmp_path: Path) -> None:
    assert set(KINDS) == set(READERS)
    for name, kind in {"a.py": "code", "a.json": "code", "a.CSV": "table", "a.tsv": "table", "a.md": "prose", "a.txt": "prose"}.items():
        assert reader.read(kept(tmp_path, name, b"a,b\n")).kind == kind
    assert {KINDS[suffix] for suffix in (*PACKED, ".html", ".ipynb")} == {"prose"}


def test_the_same_file_gives_the_same_text_and_its_digest_without_reading_it(reader: Reader, tmp_path: Path) -> None:
    for name, data in {"a.pdf": papers.pdf("one", "two"), "a.docx": papers.word("a", "b"), "a.html": PAGE, "a.md": b"# a"}.items():
        path = kept(tmp_path, name, data)
        first = reader.read(path)
        assert reader.read(path) == first and reader.digest(path) == (path, first.sha256)


def test_what_no_database_keeps_as_text_becomes_a_blank() -> None:
    assert extracted("notebook", papers.notebook(("markdown", "a\0b\ud800c"))).text == "a b c\n"


BOMB = papers.packed({"word/document.xml": b"<a/>", "word/large.xml": b" " * (210 << 20)})
BILLION = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
BAD = {
    "encrypted.pdf": (papers.pdf("secret", password="word"), "is encrypted"),
    "encrypted_aes.pdf": (papers.pdf("secret", password="word", cipher="AES-256"), "is encrypted"),
    "blank.pdf": (papers.pdf(""), "holds no text"),
    "cut.pdf": (papers.pdf("hello")[:300], "cannot be read as PDF"),
    "text.pdf": (b"I am no PDF", "cannot be read as PDF"),
    "letter.pdf": (papers.word("a", "b"), "cannot be read as PDF"),
    "bomb.docx": (BOMB, "unfolds to more"),
    "many.docx": (papers.packed({f"word/{number}.xml": b"" for number in range(10_001)}), "unfolds to more"),
    "entities.docx": (papers.packed({"word/document.xml": BILLION}), "defines entities"),
    "wide.docx": (papers.packed({"word/document.xml": BILLION.decode().replace("?>", ' encoding="UTF-16"?>').encode("utf-16")}), "defines entities"),
    "other.docx": (papers.packed({"a.txt": b"x"}), "is no DOCX file"),
    "cut.docx": (papers.word("a", "b")[:2000], "is no DOCX file"),
    "page.docx": (papers.pdf("hello"), "is no DOCX file"),
    "encrypted.docx": (OLD_OFFICE + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
    "old.docx": (OLD_OFFICE, "older format under another name; save it as DOCX"),
    "text.hwpx": (b"no zip", "is no HWPX file"),
    "empty.hwpx": (papers.packed({"mimetype": b"application/hwp+zip"}), "is no HWPX file"),
    "broken.hwpx": (papers.packed({"Contents/section0.xml": b"<a><b></a>"}), "is a damaged HWPX file"),
    "entities.hwpx": (papers.packed({"Contents/section0.xml": BILLION}), "defines entities"),
    "deep.hwpx": (papers.hwpx("<hp:p>" * 20_000 + "</hp:p>" * 20_000), "nested without end"),
    "encrypted.hwpx": (papers.hwpx("\x7f", **{"META-INF/manifest.xml": b"<m><f><encryption-data/></f></m>"}), "is encrypted"),
    "list.ipynb": (b"[1, 2]", "is no notebook"),
    "deep.ipynb": (b"[" * 200_000, "is no notebook"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "neither UTF-8"),
    "packed.csv": (zlib.compress(b"a,b\n" * 500), "neither UTF-8|control characters|NUL"),
    "program.md": (b"\x7fELF" + b"\x01\x02" * 50, "control characters"),
    "latin.txt": ("Grüße aus Köln".encode("latin-1"), "neither UTF-8"),
    "old.hwp": (OLD_OFFICE, r"\.hwp: no reader for it; save it as HWPX"),
    "none": (b"x", "no suffix: no reader for it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_what_it_seems_gives_one_reason(name: str, tmp_path: Path, reader: Reader) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadRequest, match=reason) as caught:
        reader.read(kept(tmp_path, name, data))
    assert "\n" not in caught.value.message and len(caught.value.message) < 250


@pytest.mark.parametrize("suffix", READERS)
def test_an_empty_file_of_any_kind_is_empty(suffix: str, tmp_path: Path, reader: Reader) -> None:
    assert reader.read(kept(tmp_path, f"a{suffix}", b"")).text == ""


def test_a_file_of_500_mb_is_refused_by_its_size_without_being_read(tmp_path: Path, reader: Reader) -> None:
    for name, limit in {"a.md": "10 MB of RAG_MAX_FILE_MB", "a.html": "10 MB of RAG_MAX_FILE_MB", "a.pdf": "100 MB of RAG_MAX_PACKED_MB"}.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(500 << 20)
        before = psutil.Process().io_counters().read_chars
        for ask in (reader.read, reader.digest):
            with pytest.raises(BadRequest, match=f"500.0 MB, larger than the {limit}; split it, or raise that"):
                ask(str(tmp_path / name))
        assert psutil.Process().io_counters().read_chars - before < 1 << 20


def test_a_document_with_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "MAX_CHARS", 50)
    with pytest.raises(BadRequest, match="longer than 50 characters"):
        extracted("plain", b"x" * 51)


@given(st.sampled_from(sorted(set(READERS.values()))), st.binary(max_size=400))
def test_any_bytes_give_text_or_a_reason(kind: str, data: bytes) -> None:
    try:
        assert isinstance(extracted(kind, data).text, str)
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
        assert isinstance(extracted(kind, bytes(damaged)).text, str)
    except BadRequest as error:
        assert error.message


_TAGS = ("table", "tr", "td", "th", "caption", "p", "h1", "pre", "code", "ul", "li", "div", "b", "br", "tbody")
_MARKUP = st.lists(st.one_of(st.sampled_from([f"<{tag}>" for tag in _TAGS] + [f"</{tag}>" for tag in _TAGS]),
                             st.integers(0, 99).map(lambda number: f"w{number} ")), max_size=40)


@given(_MARKUP)
def test_however_a_page_is_built_each_word_is_there_once(pieces: list[str]) -> None:
    words = [piece.strip() for piece in pieces if piece.startswith("w")]
    text = html.read("".join(pieces).encode()).text
    assert sorted(words) == sorted(word for word in "".join(" " if mark in "|`#-\\" else mark for mark in text).split() if word.startswith("w"))
