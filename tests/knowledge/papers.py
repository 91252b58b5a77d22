"""Documents of every kind that is read, made on the spot."""

from __future__ import annotations

import io
import json
import zipfile

import docx
import pypdf
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

HWP = "http://www.hancom.co.kr/hwpml/2011"
SECTION = ('<?xml version="1.0" encoding="UTF-8"?><hs:sec xmlns:hs="{ns}/section" xmlns:hp="{ns}/paragraph">{body}</hs:sec>')


def pdf(*pages: str, password: str = "") -> bytes:
    """A PDF with one line of ASCII text per page."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica")})
    for text in pages:
        page = writer.add_blank_page(612, 792)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
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
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def hwpx(*sections: str) -> bytes:
    """An HWPX whose sections are these XML bodies."""
    return packed({"mimetype": b"application/hwp+zip", **{f"Contents/section{number}.xml": SECTION.format(ns=HWP, body=body).encode()
                                                          for number, body in enumerate(sections)}})


def paragraph(*runs: str) -> str:
    """A paragraph of an HWPX section."""
    return "<hp:p>" + "".join(f"<hp:run><hp:t>{run}</hp:t></hp:run>" for run in runs) + "</hp:p>"


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
