"""A model server behind a URL that speaks OpenAI's HTTP: vLLM, llama-server, Ollama, a cluster, another suite."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from suite.errors import BadRequest, ContextOverflow, NotReady, SuiteError, UpstreamError
from suite.gateway import wire
from suite.gateway.connection import Answer, Connections, Hold, Late, Lost, Unreachable
from suite.gateway.sse import Garbage, events
from suite.gateway.upstream import URL
from suite.monitoring.probe import State, bad, good
from suite.serving.reply import Piece, Reply, ReplyStream
from suite.serving.request import Request

MOST_BYTES = 64 << 20  # of one body
ERROR_BYTES = 1 << 16
BUSY, DOWN = 429, (502, 503)
UNSET, CONFIGURED = (400, 409, 413, 422), (401, 403, 404, 405)
ANY_NAME = ("llamacpp",)  # servers of one model, which do not look at the name in a request
OVERFLOW = ("contextoverflow", "exceed_context_size", "context_length_exceeded", "maximum context length", "context size", "context window", "n_ctx")


class OpenAIUpstream:
    """One such server. `url` ends with /v1; `model` is the name there ("" sends none); `timeout` and the stages' times are in seconds.

    `key` goes into the Authorization header and nowhere else. Errors are as Upstream says.
    """

    kind = URL

    def __init__(self, name: str, url: str, model: str = "", key: str = "", *, connect: float = 3.0, first_token: float = 60.0,
                 timeout: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.url, self.model = name, url.rstrip("/"), model
        self.first_token, self.timeout, self._clock = first_token, timeout, clock
        self._path = urlsplit(self.url).path
        self._connections = Connections(self.url, connect, clock)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def close(self) -> None:
        """Close the kept connections."""
        self._connections.close()

    def complete(self, request: Request) -> Reply:
        """The whole reply. Raises as Upstream says."""
        return self.whole(request).read()

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece; nothing is sent before the first piece is asked for."""
        return self._run(request, True)

    def whole(self, request: Request) -> ReplyStream:
        """The reply in one piece, which costs the server and us less; can be ended like a stream."""
        return self._run(request, self.first_token < (request.timeout or self.timeout))  # only a stream shows whether it has begun

    def _run(self, request: Request, streamed: bool) -> ReplyStream:
        run = _Run(self, request, streamed)
        return ReplyStream(run.pieces(), run.finished, run.stop)

    def ready(self) -> State:
        """Does it answer, and does it list the model? Takes no longer than a connection may."""
        patience = self._connections.connect_timeout
        until = self._clock() + patience
        try:
            rows = wire.parsed(self._body(self._send("GET", "/models", None, until, patience), until, patience)).get("data")
        except wire.Malformed as error:
            return bad(f"{self.name} at {self.url} answers /models with {error}; check which program has that address.")
        except SuiteError as error:
            if error.facts.get("status") in (404, 405):
                return good(model=self.model, smoke=False)  # it is there, and lists nothing
            return bad(error.message, part=self.name)
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return self._listed(rows)

    def _listed(self, rows: list[dict[str, Any]]) -> State:
        names = [str(row.get("id")) for row in rows]
        row = next((row for row in rows if row.get("id") == self.model), rows[0] if len(rows) == 1 else {})
        if self.model and names and self.model not in names and not any(row.get("owned_by") in ANY_NAME for row in rows):
            return bad(f"{self.name} at {self.url} has no model {self.model!r}, only {', '.join(names)[:200]}; correct `model` in the file of "
                       "API_GATEWAY_UPSTREAMS.")
        if row.get("ready") is False:  # another suite says so of its own aliases
            return bad(f"{self.name} at {self.url} says that {self.model!r} is not ready.")
        return good(model=self.model or (names[0] if names else ""), smoke=row.get("smoke") is True)

    def _send(self, method: str, path: str, body: dict[str, Any] | None, until: float, patience: float, whole: bool = True,
              hold: Hold | None = None) -> Answer:
        """The answer with a good status; `whole` says that `patience` is that for the whole reply. Raises what any other status means."""
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            answer = self._connections.send(method, self._path + path, data, self._headers, until, hold or Hold())
        except Unreachable as error:
            raise NotReady(f"{self.name} at {self.url} does not accept connections ({error}); start it, or correct its address.", part=self.name,
                           retry_after=5, down=True) from None
        except Lost as error:
            raise UpstreamError(f"{self.name} at {self.url} broke off before it answered ({error}).", part=self.name) from None
        except Late:
            raise self._late(patience, whole) from None
        if answer.status != 200:
            raise self._refused(answer, until)
        coding = answer.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":
            answer.close()
            raise self._broken(f"answered in the coding {coding[:40]!r}, which nobody asked for")
        return answer

    def _body(self, answer: Answer, until: float, patience: float) -> bytes:
        try:
            with closing(answer.chunks(lambda: until)) as chunks:
                return _whole(chunks)
        except Lost as error:
            raise self._broken(f"broke off in the middle of its answer ({error})") from None
        except Late:
            raise self._late(patience, True) from None
        except wire.Malformed as error:
            raise self._broken(f"sent {error}") from None

    def _late(self, patience: float, whole: bool, begun: bool = False) -> UpstreamError:
        if whole:
            # nothing at all in all the time that the settings give: it hangs; in less time than that, the caller was only impatient
            facts = {"down": True} if not begun and patience >= min(self.first_token, self.timeout) else {}
            return UpstreamError(f"{self.name} at {self.url} gave no whole reply within {patience:g} s; ask for fewer tokens, or raise "
                                 "LLM_REQUEST_TIMEOUT.", part=self.name, timeout=True, **facts)
        return UpstreamError(f"{self.name} at {self.url} did not begin a reply within {patience:g} s (LLM_FIRST_TOKEN_TIMEOUT).", part=self.name)

    def _broken(self, what: str) -> UpstreamError:
        return UpstreamError(f"{self.name} at {self.url} {what}; ask again, and look at that server's log.", part=self.name)

    def _refuse(self, body: dict[str, Any]) -> None:
        """Raise the error that an answer of status 200 holds, if it does."""
        if body.get("error"):
            raise self._broken(f"reported an error: {_said(body)}")

    def _refused(self, answer: Answer, until: float) -> SuiteError:
        """What a status other than 200 means."""
        data, status = b"", answer.status
        try:
            with closing(answer.chunks(lambda: until)) as chunks:
                for chunk in chunks:
                    data += chunk
                    if len(data) > ERROR_BYTES:
                        break
        except (Lost, Late):
            pass  # the status alone says enough
        said = _said(_object(data)) or data[:200].decode("utf-8", "replace").strip() or "no reason given"
        where = f"{self.name} at {self.url}"
        if status == BUSY or status in DOWN:
            facts = {"down": True} if status in DOWN else {}
            wait = _retry_after(answer.headers.get("Retry-After"))
            return NotReady(f"{where} {'is not ready' if facts else 'has too much to do'} (status {status}): {said}", part=self.name, status=status,
                            retry_after=wait if wait is not None else 5, **facts, **({"asked_to_wait": wait} if wait is not None else {}))
        if status in UNSET:
            kind = ContextOverflow if any(sign in data.decode("utf-8", "replace").lower() for sign in OVERFLOW) else BadRequest
            return kind(f"{self.name} refused the request: {said}", part=self.name, status=status)
        if 400 <= status < 500:
            advice = "check its key, address and model in the file of API_GATEWAY_UPSTREAMS." if status in CONFIGURED else "look at its log."
            return UpstreamError(f"{where} answered with status {status}: {said.rstrip('.')}; {advice}", part=self.name, status=status, final=True)
        facts = {"final": True} if status < 400 else {}  # a redirection is an address to be corrected
        return UpstreamError(f"{where} answered with status {status}: {said}", part=self.name, status=status, **facts)


class _Run:
    """One reply of one server; `streamed` says that the server is to send it in pieces."""

    def __init__(self, server: OpenAIUpstream, request: Request, streamed: bool) -> None:
        self._server, self._request, self._streamed = server, request, streamed
        self._total = request.timeout or server.timeout
        self._draft = wire.Draft(request.raw)
        self._hold, self._stopped = Hold(), False
        self._began, self._first, self._ended = 0.0, math.nan, math.nan

    def pieces(self) -> Iterator[Piece]:
        server, clock = self._server, self._server._clock
        self._began = clock()
        patience = self._patience()
        body = wire.body_of(self._request, server.model, self._streamed)
        try:
            answer = server._send("POST", wire.path_of(self._request), body, self._began + patience, patience, patience == self._total, self._hold)
        except SuiteError:
            if self._stopped:
                return
            raise
        try:
            with closing(answer.chunks(lambda: self._began + self._patience())) as chunks:
                yield from self._read(answer.headers.get_content_type(), chunks)
        except (Lost, Late, Garbage, wire.Malformed) as error:
            if self._stopped:
                return
            if not (isinstance(error, Lost) and self._draft.ended):  # lost after the reply had come to its end
                raise self._error(error) from None
        finally:
            self._ended = clock()
            answer.close()  # what was not read to its end is of no further use
        if not self._stopped and not self._draft.ended:
            raise server._broken("ended its stream before the reply's end")

    def _patience(self) -> float:
        """The seconds, from the beginning, up to which the next bytes may come."""
        return self._total if self._draft.writing or not self._streamed else min(self._total, self._server.first_token)

    def _read(self, kind: str, chunks: Iterator[bytes]) -> Iterator[Piece]:
        if kind == "application/json" or not self._streamed:  # the whole reply at once, from a server that was asked for it or does not stream
            body = wire.parsed(_whole(chunks))
            self._server._refuse(body)
            yield from self._piece(body)
            self._draft.finish = self._draft.finish or ("stop" if self._draft.begun else "")
            return
        if kind not in ("text/event-stream", "text/plain"):  # the latter is what the absence of a type is read as
            raise Garbage(f"a body of type {kind[:80]!r}")
        for name, data in events(chunks):
            if data.strip() == "[DONE]":
                self._draft.finish = self._draft.finish or ("stop" if self._draft.begun else "")
                return
            body = wire.parsed(data)
            if name == "error":
                body = body if body.get("error") else {"error": body}
            self._server._refuse(body)
            yield from self._piece(body)

    def _piece(self, body: dict[str, Any]) -> Iterator[Piece]:
        piece = self._draft.take(body)
        if self._streamed and self._draft.writing and math.isnan(self._first):
            self._first = self._server._clock()
        if piece is not None:
            yield piece

    def _error(self, error: Exception) -> UpstreamError:
        server = self._server
        if isinstance(error, Late):
            return server._late(self._patience(), self._patience() == self._total, self._draft.writing)
        return server._broken(f"broke off in the middle of a reply ({error})" if isinstance(error, Lost) else f"broke off with {error}")

    def finished(self) -> Reply:
        server, draft = self._server, self._draft
        if not draft.ended and not self._stopped:
            raise UpstreamError(f"The reply of {server.name} did not come to its end; ask again.", part=server.name)
        seconds = (server._clock() if math.isnan(self._ended) else self._ended) - self._began
        first = None if math.isnan(self._first) else self._first - self._began
        try:
            reply = draft.reply(max(0.0, seconds) if self._began else 0.0, server.model or server.name, first)
        except wire.Malformed as error:
            raise server._broken(f"sent {error}") from None
        return reply if draft.ended else replace(reply, finish="cancelled")

    def stop(self) -> None:
        self._stopped = self._stopped or not self._draft.ended
        self._hold.drop()


def _whole(chunks: Iterable[bytes]) -> bytes:
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > MOST_BYTES:
            raise wire.Malformed(f"more than {MOST_BYTES >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)


def _object(data: bytes) -> dict[str, Any]:
    try:
        return wire.parsed(data)
    except wire.Malformed:
        return {}


def _said(body: dict[str, Any]) -> str:
    """What an error body says, in the shapes that servers use."""
    error = body.get("error", body)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or body.get("message") or body.get("detail") or ""
    return " ".join(str(error).split())[:300]


def _retry_after(value: str | None) -> float | None:
    """Seconds; None for what is no number (a date is not waited for)."""
    try:
        seconds = float(value) if value else math.nan
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None
