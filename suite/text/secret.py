"""What a log line or an audit entry must not hold: secrets are replaced before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAMES = ("token", "password", "passwd", "passphrase", "secret", "authorization", "apikey", "accesskey", "privatekey", "credential", "cookie")
_COUNTS = re.compile(r"(max|num|n|prompt|completion|total)_?tokens|tokens", re.IGNORECASE)  # amounts of text, not secrets
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_PAIR = re.compile(r"\b([A-Za-z0-9_-]*(?:token|password|passwd|secret|api[_-]?key))(\"?\s*[=:]\s*\"?)([^\s\"'&,;]+)", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)([^/\s:@]+):([^/\s@]+)@")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_API_KEY = re.compile(r"\bsuite_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")  # access/apikey.py


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret; spelling with `-`, `_` or capitals does not matter."""
    bare = re.sub(r"[^a-z]", "", name.lower())
    return not _COUNTS.fullmatch(name) and any(word in bare for word in _NAMES)


def masked_text(text: str) -> str:
    """The text with bearer strings, `password=…` pairs, passwords in URLs, our API keys and private keys replaced by `***`."""
    text = _API_KEY.sub(MASK, _PRIVATE_KEY.sub(MASK, text))
    text = _BEARER.sub(lambda found: f"{found[1]} {MASK}", text)
    text = _IN_URL.sub(lambda found: f"{found[1]}:{MASK}@", text)
    return _PAIR.sub(lambda found: found[0] if _COUNTS.fullmatch(found[1]) else f"{found[1]}{found[2]}{MASK}", text)


def masked(value: Any) -> Any:
    """A copy of JSON-like data without its secrets; anything that is not JSON becomes its masked text."""
    if isinstance(value, Mapping):
        return {masked_text(str(name)): MASK if is_secret(str(name)) else masked(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [masked(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked_text(str(value))
