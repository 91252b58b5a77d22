"""Documents of every kind that is read, made on the spot."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import docx
import pypdf
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

HWP = "http://www.hancom.co.kr/hwpml/2011"
SECTION = ('<?xml version="1.0" encoding="UTF-8"?><hs:sec xmlns:hs="{ns}/section" xmlns:hp="{ns}/paragraph">{body}</hs:sec>')


def pdf(*pages: str, password: str = "", owner: str = "", cipher: str = "RC4-128") -> bytes:
    """A PDF with one line of ASCII text per page; with an `owner` password alone it opens for everybody."""
    return drawn(*(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() for text in pages), password=password, owner=owner, cipher=cipher)


def slow_pdf() -> bytes:
    """A small PDF that takes minutes to read: many pages of as many words as pypdf allows, all of them the same packed stream."""
    return drawn(b"BT /F1 12 Tf " + b"(a) Tj " * 400_000 + b"ET", times=500)


def large_pdf() -> bytes:
    """A small PDF that needs some 70 MB and more to read."""
    return drawn(b"BT /F1 12 Tf (a) Tj " + b" " * 70_000_000 + b"ET")


def drawn(*contents: bytes, password: str = "", owner: str = "", cipher: str = "RC4-128", times: int = 1) -> bytes:
    """A PDF with a page, or that many, for each of these streams of drawing commands; /F1 is a font."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica")})
    for content in contents:
        stream = DecodedStreamObject()
        stream.set_data(content)
        shared = writer._add_object(stream.flate_encode())
        for _ in range(times):
            page = writer.add_blank_page(612, 792)
            page[NameObject("/Contents")] = shared
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})})
    if password or owner:
        writer.encrypt(password, owner or None, algorithm=cipher)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word(heading: str, *paragraphs: str, cells: tuple[tuple[str, ...], ...] = ()) -> bytes:
    """A DOCX with a heading, paragraphs and perhaps a table."""
    made = docx.Document()
    made.add_heading(heading, 2)
    for paragraph in paragraphs:
        made.add_paragraph(paragraph)
    if cells:
        table = made.add_table(len(cells), len(cells[0]))
        for row, texts in zip(table.rows, cells, strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
    return saved(made)


def saved(made: Any) -> bytes:
    """The bytes of a document of python-docx."""
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def hwpx(*sections: str, styles: tuple[str, ...] = (), **more: bytes) -> bytes:
    """An HWPX whose sections are these XML bodies; paragraphs name `styles` by their number."""
    named = "".join(f'<hh:style id="{number}" type="PARA" name="{name}"/>' for number, name in enumerate(styles))
    header = f'<hh:head xmlns:hh="{HWP}/head"><hh:refList><hh:styles>{named}</hh:styles></hh:refList></hh:head>'.encode()
    return packed({"mimetype": b"application/hwp+zip", **({"Contents/header.xml": header} if styles else {}), **more,
                   **{f"Contents/section{number}.xml": SECTION.format(ns=HWP, body=body).encode() for number, body in enumerate(sections)}})


def paragraph(*runs: str, style: int | None = None) -> str:
    """A paragraph of an HWPX section."""
    return f"<hp:p{'' if style is None else f' styleIDRef={chr(34)}{style}{chr(34)}'}>" + "".join(f"<hp:run><hp:t>{run}</hp:t></hp:run>" for run in runs) + "</hp:p>"


def packed(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def notebook(*cells: tuple[str, str]) -> bytes:
    """A notebook of (kind, source) cells."""
    made = [{"cell_type": kind, "metadata": {}, "source": source, **({"outputs": [], "execution_count": None} if kind == "code" else {})}
            for kind, source in cells]
    return json.dumps({"cells": made, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 4}).encode()
