"""Text files: prose, source code, tables of values."""

from __future__ import annotations

import codecs
import re

from suite.errors import BadRequest
from suite.knowledge.formats.extract import Extract

_CONTROL = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HANGUL = re.compile("[가-힣]")
MOST_CONTROL = 0.005  # share of control characters beyond which it is no text
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read(data: bytes) -> Extract:
    """The text of the file's bytes. Raises BadRequest when they are none."""
    return Extract(decoded(data))


def decoded(data: bytes) -> str:
    """The text by its byte-order mark, as UTF-8, or as CP949, Korean Windows' encoding. Raises BadRequest for anything else."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = _korean(data, error)
    if "\0" in text:
        raise BadRequest("holds NUL characters, so it is no text")
    if len(_CONTROL.findall(text)) > MOST_CONTROL * len(text):
        raise BadRequest("is full of control characters, so it is no text")
    return text


def _korean(data: bytes, why: UnicodeDecodeError) -> str:
    try:
        text = data.decode("cp949")
    except UnicodeDecodeError:
        text = ""
    if not _HANGUL.search(text):  # bytes of another encoding may be valid CP949 by chance
        raise BadRequest(f"neither UTF-8 (byte {why.start}) nor CP949; convert it, for instance with iconv -t UTF-8") from why
    return text
