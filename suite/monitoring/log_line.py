"""One line of the log: what a logger said, as a JSON object of known keys, without secrets and of bounded length."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from structlog.processors import format_exc_info
from structlog.stdlib import ProcessorFormatter

from suite.monitoring.request_context import RequestContext, current
from suite.text.secret import masked, masked_text

LEVELS = ("debug", "info", "warning", "error", "critical")
STACK = "stack"  # what belongs to none of the nine parts
# the package whose loggers speak for a part; suite.serving has two, and says which by extra={"service": …}
PACKAGES = {"gateway": "api-gateway", "knowledge": "rag", "embedding": "embedding", "vectors": "qdrant", "memory": "memory-api",
            "tools": "mcp-server", "access": "mcp-server", "maintainer": "memory-maintainer"}
# libraries whose warnings belong in the file, not on the standard error of whichever cell runs
LENT = {"uvicorn": "", "mcp": "mcp-server", "opentelemetry": ""}
PORTS = {"security-admin": "mcp-server"}  # a port that is no part, and the part behind it
SERVICES = ("mcp-server", "api-gateway", "rag", "embedding", "inference-chat", "inference-code", "qdrant", "memory-api", "memory-maintainer", STACK)
MOST_CHARS = 16_384  # of a message, of an error, of what `extra` holds
SLACK = 512  # characters beyond, so that no secret is cut in two before it is masked
_AWKWARD = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # they end a line for some readers, or have no bytes in UTF-8
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "_logger", "_name"}


def formatter() -> ProcessorFormatter:
    """A formatter for handlers of `logging`; it takes records of structlog's loggers (`wrap_for_formatter`) as well."""
    return ProcessorFormatter(processors=[format_exc_info, _shaped, _rendered])


class Waiting(NamedTuple):
    """What a line is made of, by whoever has time: `at` in UTC seconds since 1970, finite `numbers` with names that are no secrets'."""

    at: float
    level: str
    service: str
    logger: str
    message: str
    numbers: Mapping[str, int | float]
    request: RequestContext | None
    thread: str


def plain(waiting: Waiting) -> str:
    """The line that a record of the same would have become, with the numbers as its `extra`."""
    line = _line(waiting.at, waiting.level, waiting.service, waiting.logger, waiting.message, waiting.request)
    return _dumped({**line, "extra": waiting.numbers, "thread": waiting.thread})


def level_of(number: int) -> str:
    """The one of LEVELS that a level of `logging` counts as."""
    return LEVELS[min(max(number // 10, 1), 5) - 1]


def service_of(logger: str, said: Any = None) -> str:
    """The one of SERVICES that a line is of: what it says itself, else the logger's part, else the port of the request, else the stack."""
    if isinstance(said, str) and said in SERVICES:
        return said
    top, _, rest = logger.partition(".")
    found = PACKAGES.get(rest.partition(".")[0]) if top == "suite" else LENT.get(top)
    if found:
        return found
    now = current()
    port = PORTS.get(now.port, now.port) if now else ""
    return port if port in SERVICES else STACK


def moment_text(seconds: float) -> str:
    """UTC seconds since 1970 as lines have them: ISO 8601, to the millisecond; as texts they sort as the moments do."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def parsed(line: bytes | str) -> dict[str, Any] | None:
    """A line as a mapping with every key, or None for what is no line (one that was broken off, or edited)."""
    try:
        row = json.loads(line)
        level, at = row["level"].lower(), row["at"]
        datetime.fromisoformat(at)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    texts = {name: row[name] if isinstance(row.get(name), str) else None for name in ("request_id", "trace", "error", "thread")}
    service, extra = row.get("service"), row.get("extra")
    return {"at": at, "level": level, "service": service if isinstance(service, str) else STACK, "logger": str(row.get("logger", "")),
            "message": str(row.get("message", "")), **texts, "extra": extra if isinstance(extra, dict) else {}}


def without_form(record: logging.LogRecord, error: Exception) -> str:
    """The line for a record that cannot be formatted, e.g. because it has more values than its message has places."""
    said = f"a line of {record.name} could not be written as it was meant ({type(error).__name__}: {error}): {record.msg!r:.200}"
    line = {"at": moment_text(record.created), "level": level_of(record.levelno), "service": service_of(record.name), "logger": record.name,
            "message": masked_text(said)}
    return _dumped(line)


def _shaped(_logger: Any, _method: str, event: Any) -> dict[str, Any]:
    """From structlog's event to the keys of a line, in their order: readers look at the first three without reading the rest."""
    record = event.pop("_record")
    structured = event.pop("_from_structlog")
    message, error, stack = event.pop("event", ""), event.pop("exception", ""), event.pop("stack_info", "")
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if structured:
        extra |= event
    service = service_of(record.name, extra.get("service"))
    if extra.get("service") == service:
        del extra["service"]
    line = _line(record.created, level_of(record.levelno), service, record.name, str(message), current())
    if extra:
        line["extra"] = _bounded(extra)
    if error or stack:
        line["error"] = _ended(f"{error}\n{stack}".strip())
    line["thread"] = record.threadName
    return line


def _line(at: float, level: str, service: str, logger: str, message: str, now: RequestContext | None) -> dict[str, Any]:
    line = {"at": moment_text(at), "level": level, "service": service, "logger": logger, "message": _begun(message)}
    return line if now is None else line | {"request_id": now.id, "trace": now.trace}


def _rendered(_logger: Any, _method: str, line: Any) -> str:
    try:
        return _dumped(line)
    except ValueError:  # not a number, or infinite: JSON has no word for it
        return _dumped({**line, "extra": {"text": _begun(str(line.get("extra")))}})


def _dumped(line: Mapping[str, Any]) -> str:
    text = _encode(line)
    return text if text.isascii() and "\x7f" not in text else _AWKWARD.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    """As JSON's escape; half a pair of surrogates, which no text holds, as the text of one, so that every reader can take it."""
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0xD800 or code > 0xDFFF else f"\\\\u{code:04x}"


def _begun(text: str) -> str:
    """The text, masked; of a long one the beginning, and how long it was."""
    if len(text) <= MOST_CHARS:
        return masked_text(text)
    return f"{masked_text(text[:MOST_CHARS + SLACK])[:MOST_CHARS]} … [cut: {len(text):,} characters]"


def _ended(text: str) -> str:
    """The same with the end of it: a traceback says last what went wrong."""
    if len(text) <= MOST_CHARS:
        return masked_text(text)
    return f"[cut: {len(text):,} characters] … {masked_text(text[-MOST_CHARS - SLACK:])[-MOST_CHARS:]}"


def _bounded(extra: Mapping[str, Any]) -> Any:
    shown = masked({name: _begun(str(value)) if isinstance(value, (str, bytes)) and len(value) > MOST_CHARS else value
                    for name, value in extra.items()})
    if any(not isinstance(value, (bool, int, float)) for value in shown.values()):
        text = json.dumps(shown, ensure_ascii=False)
        if len(text) > MOST_CHARS + SLACK:
            return {"cut": _begun(text)}
    return shown
