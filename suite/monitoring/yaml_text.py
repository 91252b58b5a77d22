"""Mappings, lists and numbers as YAML that people can read; texts are quoted as in JSON, which every reader of YAML takes."""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # what some readers take for something else than a text


def yaml_text(value: dict[str, Any], comment: str) -> str:
    """A document that begins with a comment line."""
    return f"# {comment}\n" + "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [line for key, one in value.items() for line in _entry(f"{key}:", one)]
    return [line for one in value for line in _item(one)]


def _entry(head: str, value: Any) -> list[str]:
    if isinstance(value, dict | list) and value:
        return [head, *(f"  {line}" for line in _lines(value))]
    return [f"{head} {_scalar(value)}"]


def _item(value: Any) -> list[str]:
    if isinstance(value, dict | list) and value:
        first, *more = _lines(value)
        return [f"- {first}", *(f"  {line}" for line in more)]
    return [f"- {_scalar(value)}"]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
