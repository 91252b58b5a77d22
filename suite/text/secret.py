"""What a log line or an audit entry must not hold: secrets are replaced before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAMES = re.compile("token|password|passwd|passphrase|secret|authorization|apikey|accesskey|privatekey|credential|cookie")
_NO_LETTER = re.compile(r"[^a-z]")
_COUNTS = re.compile(r"(max|num|n|prompt|completion|total)_?tokens|tokens", re.IGNORECASE)  # amounts of text, not secrets
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_PAIR = re.compile(r"\b([A-Za-z0-9_-]*(?:token|password|passwd|secret|api[_-]?key))([\"']?\s*[=:]\s*[\"']?)([^\s\"'&,;]+)", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)([^/\s:@]+):([^/\s@]+)@")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PREFIX = "suite_"  # of the keys of access/apikey.py
_API_KEY = re.compile(rf"\b{_PREFIX}[A-Za-z0-9_-]{{43}}(?![A-Za-z0-9_-])")


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret; spelling with `-`, `_` or capitals does not matter."""
    return _NAMES.search(_NO_LETTER.sub("", name.lower())) is not None and not _COUNTS.fullmatch(name)


def masked_text(text: str) -> str:
    """The text with bearer strings, `password=…` pairs, passwords in URLs, our API keys and private keys replaced by `***`."""
    # this runs for every word of every audit entry; each pattern is tried only where what it cannot do without is there
    if "-----BEGIN " in text:
        text = _PRIVATE_KEY.sub(MASK, text)
    if _PREFIX in text:
        text = _API_KEY.sub(MASK, text)
    if len(text.split(None, 1)) > 1:
        text = _BEARER.sub(lambda found: f"{found[1]} {MASK}", text)
    if "://" in text:
        text = _IN_URL.sub(lambda found: f"{found[1]}:{MASK}@", text)
    if "=" in text or ":" in text:
        text = _PAIR.sub(lambda found: found[0] if _COUNTS.fullmatch(found[1]) else f"{found[1]}{found[2]}{MASK}", text)
    return text


def masked(value: Any) -> Any:
    """A copy of JSON-like data without its secrets; anything that is not JSON becomes its masked text."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {masked_text(str(name)): MASK if is_secret(str(name)) else masked(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [masked(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked_text(str(value))
