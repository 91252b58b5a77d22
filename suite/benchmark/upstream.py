"""A stand-in for a model server behind a URL: it answers at once, with its own name, so that only what lies before it is measured."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from suite.http.serve import HttpServers, bind


def app(name: str) -> Any:
    """OpenAI's listing and chat completions (whole or streamed) as plain ASGI: the text is `I am NAME.`"""
    model = {"id": name, "object": "model", "created": 0, "owned_by": "stand-in"}
    usage = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}
    head = {"id": "chatcmpl-stand-in", "created": 0, "model": name}
    text = f"I am {name}."
    whole = {**head, "object": "chat.completion", "usage": usage,
             "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}]}
    parts = [{**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
             for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop"))]
    streamed = "".join(f"data: {json.dumps(part)}\n\n" for part in [*parts, {**head, "choices": [], "usage": usage}]) + "data: [DONE]\n\n"
    answers = {"/v1/models": {"object": "list", "data": [model]}, "/health": {"status": "ok"}, "/v1/chat/completions": whole}

    async def respond(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        asked = b""
        while (event := await receive())["type"] == "http.request":
            asked += event.get("body", b"")
            if not event.get("more_body"):
                break
        stream = scope["method"] == "POST" and bool(json.loads(asked).get("stream"))
        known = scope["path"] in answers
        body = streamed.encode() if stream else json.dumps(answers.get(scope["path"], {"error": {"message": "unknown route"}})).encode()
        kind = b"text/event-stream" if stream else b"application/json"
        await send({"type": "http.response.start", "status": 200 if known else 404,
                    "headers": [(b"content-type", kind), (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    return respond


@contextlib.contextmanager
def served(name: str) -> Iterator[str]:
    """The stand-in on a free port of this process; gives its base URL."""
    sock, servers = bind("127.0.0.1", 0, name), HttpServers()
    servers.start({name: (sock, app(name))})
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        servers.stop()
