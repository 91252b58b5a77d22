"""The gateway as a guest sees it: the same methods and the same records, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from suite.errors import UpstreamError, from_dict
from suite.gateway.sse import Garbage, lines
from suite.gateway.wire import body_of, path_of
from suite.http.completion import EventReader, reply_of
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

CONNECT_S = 3.0
GRACE_S = 5.0  # the host gives up by itself at the request's own time-out; ours comes a little later, as the answer of a host that hangs
OURS = ("object", "created", "owned_by")


class RemoteGateway:
    """Talks to the gateway's port. `client` has the base URL, the token and the translation of errors; `timeout` is the gateway's own, in seconds."""

    name = "api-gateway"

    def __init__(self, client: httpx.Client, timeout: float = 60.0) -> None:
        self._client, self.timeout = client, timeout

    def chat(self, messages: str | list[dict[str, Any]], model: str = "auto", stream: bool = False, **options: Any) -> Reply | ReplyStream:
        """Answer a conversation, or a plain question; as Gateway.chat, with the same errors, and HostGone when the host has ended."""
        request = Request.of(messages, **{**options, "model": model})  # a bad value is refused here, as the gateway itself would
        return self.stream(request) if stream else self.complete(request)

    def complete(self, request: Request) -> Reply:
        """The whole reply to a checked request; as Gateway.complete."""
        response = self._client.post(f"/v1{path_of(request)}", json=_body_of(request, False), timeout=self._waits(request))
        return reply_of(_json(response))

    def models(self) -> list[dict[str, Any]]:
        """The aliases, each with its server, the model there, and whether it would answer now."""
        rows = _json(self._client.get("/v1/models"))["data"]
        return [{name: value for name, value in row.items() if name not in OURS} for row in rows]

    def stream(self, request: Request) -> ReplyStream:
        """The same, piece by piece; as Gateway.stream, refusals too are raised while iterating."""
        sent = self._client.build_request("POST", f"/v1{path_of(request)}", json=_body_of(request, True), timeout=self._waits(request))
        opened: list[httpx.Response] = []
        readers: list[EventReader] = []
        closed: list[bool] = []

        def pieces() -> Iterator[str]:
            response = self._client.send(sent, stream=True)
            opened.append(response)
            if response.is_error:
                response.read()
                raise from_dict(_body(response), response.status_code)
            readers.append(EventReader(lines(response.iter_bytes())))
            try:
                yield from readers[0]
            except (httpx.HTTPError, Garbage) as error:
                raise UpstreamError(f"The reply broke off ({type(error).__name__}): the host has ended or hangs; ask again.") from error
            finally:
                response.close()

        def finished() -> Reply:
            if readers and readers[0].reply is not None:
                return readers[0].reply
            if not closed or not readers:
                raise UpstreamError("This reply did not come to its end; ask again.")
            text = readers[0].so_far  # closed early: the host stopped too, and only it knew the exact counts
            return Reply(text, 0, 0, 0.0, "", alias=request.model, finish="cancelled")

        def stop() -> None:
            closed.append(True)
            for response in opened:
                response.close()

        return ReplyStream(pieces(), finished, stop)

    def _waits(self, request: Request) -> httpx.Timeout:
        return httpx.Timeout((request.timeout or self.timeout) + GRACE_S, connect=CONNECT_S)


def _body_of(request: Request, stream: bool) -> dict[str, Any]:
    body = body_of(request, request.model, stream)
    body.pop("stream_options", None)  # ours tells the usage anyway
    return body if request.timeout is None else {**body, "timeout": request.timeout}


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def _json(response: httpx.Response) -> Any:
    body = _body(response)
    if response.is_error:
        raise from_dict(body, response.status_code)
    return body
