"""From the text that a model writes to what may be shown of it and the tool calls in it."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

_BLANKS = re.compile(r"\s+")
_BLANK = re.compile(r"\s*[;,]?\s*")


@dataclass(frozen=True)
class Style:
    """How a model writes calls: `opening` (once), then each call as head, name, middle, arguments in JSON, tail, joined by `between`, then `closing`.

    With `at_start` a call can only be the whole reply, and `signs` are other openings by which it is known (blanks do not count in them).
    """

    name: str
    head: str
    middle: str
    tail: str
    opening: str = ""
    between: str = ""
    closing: str = ""
    at_start: bool = False
    signs: tuple[str, ...] = ()
    many: bool = True
    short_ids: bool = False

    def call_id(self) -> str:
        """A new call's id."""
        return secrets.token_hex(5)[:9] if self.short_ids else f"call_{secrets.token_hex(12)}"


class CallReader:
    """Takes a reply's text piece by piece. Text from where a call begins is kept until the end, when calls and text are told apart."""

    def __init__(self, style: Style, names: frozenset[str], at_most: int) -> None:
        self._style, self._names, self._most = style, names, at_most
        self._held, self._calling, self._said = "", False, False

    def feed(self, text: str) -> str:
        """What may be shown now, possibly nothing."""
        self._held += text
        if self._calling or not text:
            return ""
        cut = self._start() if self._style.at_start else self._inside()
        shown, self._held = self._held[:cut], self._held[cut:]
        self._said = self._said or bool(shown)
        return shown

    def end(self) -> tuple[str, tuple[dict[str, Any], ...]]:
        """The rest of the text, and the calls as `{"id", "type": "function", "function": {"name", "arguments": JSON text}}`."""
        held, self._held = self._held, ""
        if not self._calling:
            return held, ()
        texts, calls, at = [], [], 0
        while at < len(held):
            found, after = self._next(held, at)
            if found and len(calls) < self._most:
                calls += found
                after = _BLANK.match(held, after).end()  # type: ignore[union-attr]
            else:
                texts.append(held[at:after])
            at = after
        left = "".join(texts)
        if len(calls) > self._most:
            calls = calls[:self._most]
        return (left if left.strip() else ""), tuple(calls)

    def _inside(self) -> int:
        """Where the text ends that cannot belong to a call."""
        opening = self._style.opening or self._style.head
        at = self._held.find(opening)
        if at >= 0:
            self._calling = True
            return at
        for length in range(min(len(opening) - 1, len(self._held)), 0, -1):
            if self._held.endswith(opening[:length]):
                return len(self._held) - length
        return len(self._held)

    def _start(self) -> int:
        """The same for a style whose reply is either a call or text: nothing is shown until that is clear."""
        said = "" if self._said else _BLANKS.sub("", self._held[:200])
        signs = self._style.signs
        self._calling = bool(said) and any(said.startswith(sign) for sign in signs)
        undecided = not self._said and (self._calling or any(sign.startswith(said) for sign in signs))
        return 0 if undecided else len(self._held)

    def _next(self, text: str, at: int) -> tuple[list[dict[str, Any]], int]:
        """The calls that begin at `at` and where they end; or none, and where the next could begin."""
        begin = next((at + len(sign) for sign in (self._style.opening, self._style.head, *self._style.signs) if _tagged(sign, text, at)), at)
        if "[ARGS]" in self._style.middle and begin > at:
            name, _, rest = text[begin:].partition(self._style.middle)
            read, after = _json(rest, 0)
            made = self._calls({"name": name, "arguments": read})
            end = begin + len(name) + len(self._style.middle) + after
        else:
            read, end = _json(text, begin)
            made = self._calls(read)
        if made and (begin > at or text[at] in "{["):
            tail = self._style.tail.lstrip("}").strip()
            closed = re.compile(r"\s*" + re.escape(tail)).match(text, end) if tail else None
            return made, closed.end() if closed else end
        following = [found for found in (text.find(sign, at + 1) for sign in (self._style.opening, self._style.head) if _is_tag(sign)) if found >= 0]
        return [], min(following, default=len(text))

    def _calls(self, read: Any) -> list[dict[str, Any]]:
        rows = read if isinstance(read, list) else [read]
        made = []
        for row in rows:
            row = row.get("function", row) if isinstance(row, dict) and isinstance(row.get("function"), dict) else row
            name = row.get("name") if isinstance(row, dict) else None
            arguments = row.get("arguments", row.get("parameters")) if isinstance(row, dict) else None
            if isinstance(arguments, str):
                arguments, _ = _json(arguments, 0)
            if not isinstance(name, str) or name not in self._names or not isinstance(arguments, dict):
                return []
            try:
                text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            except (ValueError, RecursionError):
                return []
            made.append({"id": self._style.call_id(), "type": "function", "function": {"name": name, "arguments": text}})
        return made


def _json(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at `at` after blanks and where it ends; (None, at) where there is none."""
    begin = re.compile(r"\s*").match(text, at).end()  # type: ignore[union-attr]
    try:
        return json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, at


def _is_tag(sign: str) -> bool:
    return sign[:1] in "<[" and bool(sign)


def _tagged(sign: str, text: str, at: int) -> bool:
    return _is_tag(sign) and text.startswith(sign, at)
