"""A small real model server for the kill tests: OpenAI's chat completions by uvicorn, in a process of its own.

    python stand_in_server.py NAME [PORT]      prints the port, then serves until it is killed

A reply is NAME and as many numbers as `max_tokens` says, written a word at a time, streamed or not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn

from suite.http.serve import bind

STEP_S = 0.002  # a token takes its time, so that there is always a reply in the middle when the process is killed


def text_of(name: str, words: int) -> str:
    """The whole reply of the server of that name."""
    return " ".join([name, *map(str, range(words))])


def app_of(name: str) -> Any:
    """The ASGI app."""
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/v1/models":
            await whole(send, {"data": [{"id": name}]})
            return
        asked = json.loads(body)
        if asked.get("stream"):
            await streamed(send, name, asked["max_tokens"])
            return
        text, usage = text_of(name, asked["max_tokens"]), {"prompt_tokens": 3, "completion_tokens": asked["max_tokens"]}
        await asyncio.sleep(STEP_S * asked["max_tokens"])
        await whole(send, {"model": name, "choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage})

    return app


async def whole(send: Any, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def streamed(send: Any, name: str, words: int) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for index, word in enumerate(text_of(name, words).split()):
        await asyncio.sleep(STEP_S)
        event = {"model": name, "choices": [{"delta": {"content": word if not index else f" {word}"}, "finish_reason": None}]}
        await send({"type": "http.response.body", "body": f"data: {json.dumps(event)}\n\n".encode(), "more_body": True})
    event = {"model": name, "choices": [{"delta": {}, "finish_reason": "stop"}]}
    await send({"type": "http.response.body", "body": f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()})


if __name__ == "__main__":
    sock = bind("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0, "a stand-in")
    print(sock.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app_of(sys.argv[1]), log_level="error", access_log=False)).run(sockets=[sock])
