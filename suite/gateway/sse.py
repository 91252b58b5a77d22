"""Server-sent events from bytes, as model servers really send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LONGEST_LINE = 8 << 20


class Garbage(Exception):
    """What came is no event stream."""


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream. Only a line feed ends one: text in JSON may hold U+2028 or U+0085, at which `str.splitlines` would cut it in two.

    A last line without its line feed was cut off, and is not given. Raises Garbage for a line above 8 MiB or one that is no UTF-8.
    """
    rest = b""
    for chunk in chunks:
        if b"\n" not in chunk:
            rest += chunk
        else:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                try:
                    yield line.removesuffix(b"\r").decode()
                except UnicodeDecodeError:
                    raise Garbage(f"a line that is no UTF-8: {line[:80]!r}") from None
        if len(rest) > LONGEST_LINE:
            raise Garbage(f"a line of more than {LONGEST_LINE >> 20} MiB")


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The events as (name, data): name is "" or what `event:` said, or "error" for the line `error: …` of older llama-server.

    Comments and keep-alives are left out. Every `data:` line is an event of its own, as all model servers send them. Raises Garbage.
    """
    name = ""
    for line in lines(chunks):
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            name = ""
        elif field == "data":
            yield name, value
        elif field == "error":
            yield "error", value
        elif field == "event":
            name = value.strip()
        elif field not in ("", "id", "retry") or not colon:
            raise Garbage(f"the line {line[:80]!r}")
