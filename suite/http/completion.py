"""OpenAI's chat-completion JSON from and to our records, for every port that speaks it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send

from suite.errors import BadRequest, NotFound, SuiteError, UpstreamError, from_dict
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

# options of OpenAI's surface that would change the answer and that we do not have: refused rather than ignored; the values say "not used"
REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"), "logprobs": (False,),
    "top_logprobs": (0,), "logit_bias": ({},), "response_format": ({"type": "text"},), "grammar": ("",), "frequency_penalty": (0,),
    "presence_penalty": (0,),
}


class Body(BaseModel):
    """The body of POST /v1/chat/completions; unknown keys are kept, to be refused or ignored by name."""

    model_config = ConfigDict(extra="allow")
    messages: list[dict[str, Any]]
    model: str = ""
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    timeout: float | None = None

    def options(self) -> dict[str, Any]:
        """The options of Request that were sent. Raises BadRequest for one that we do not have."""
        for name, value in (self.model_extra or {}).items():
            if name in REFUSED and value is not None and value not in REFUSED[name]:
                raise BadRequest(f"{name} is {value!r:.80}, which this server does not support; leave it out.", param=name)
        sent = {name: getattr(self, name) for name in ("max_tokens", "temperature", "top_p", "seed", "stop", "repeat_penalty", "timeout")}
        if self.max_tokens is None:
            sent["max_tokens"] = self.max_completion_tokens  # OpenAI's newer name for the same
        return {name: value for name, value in sent.items() if value is not None}

    def request(self) -> Request:
        """The checked request."""
        return Request.of(self.messages, model=self.model, **self.options())


def listing(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The models of a port as OpenAI lists them."""
    return {"object": "list", "data": [{"object": "model", "created": 0, "owned_by": "local-ai-suite", **row} for row in rows]}


def listed(rows: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    """One of those models. Raises NotFound for a name that is not among them."""
    for row in listing(rows)["data"]:
        if row["id"] == name:
            return row
    raise NotFound(f"No model is called {name!r} on this port; GET /v1/models lists what it has.", param="model")


def completion(reply: Reply) -> dict[str, Any]:
    """A finished reply as a chat.completion object, with our own facts under `suite`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": _finish(reply), "logprobs": None}
    return {**_head("chat.completion", reply.alias or reply.model), "choices": [choice], "usage": _usage(reply), "suite": _suite(reply)}


class Events(StreamingResponse):
    """A stream as server-sent events; however the response ends, the generation behind it ends too."""

    def __init__(self, stream: ReplyStream, model: str) -> None:
        # no-cache, no buffering by proxies: pieces are to be seen when they are made
        super().__init__(_lines(stream, model), media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; when the client has gone, the generator of lines is only cancelled, and would be closed whenever it is collected."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def events(stream: ReplyStream, model: str) -> Events:
    """The response for a stream. The first piece is waited for, so that a refusal still has its own status."""
    return Events(stream.begin(), model)


def _lines(stream: ReplyStream, model: str) -> Iterator[str]:
    head = _head("chat.completion.chunk", model)
    try:
        yield _event({**head, "choices": [_delta({"role": "assistant", "content": ""})]})
        for piece in stream:
            yield _event({**head, "choices": [_delta({"content": piece})]})
        reply = stream.reply
        head["model"] = reply.alias or reply.model
        yield _event({**head, "choices": [_delta({}, _finish(reply))], "usage": _usage(reply), "suite": _suite(reply)})
        yield "data: [DONE]\n\n"
    except SuiteError as error:
        yield _event(error.to_dict())  # the status is long sent: this, and the missing [DONE], say that the reply is not whole
    finally:
        stream.close()


def reply_of(body: Any) -> Reply:
    """The reply in a chat.completion object of ours. Raises UpstreamError for a body of another make."""
    try:
        choice, usage, ours = body["choices"][0], body["usage"], body["suite"]
        return Reply(choice["message"]["content"], usage["completion_tokens"], usage["prompt_tokens"], **ours)
    except (KeyError, IndexError, TypeError) as error:
        raise UpstreamError(f"The gateway's answer is no reply of ours: {str(body)[:200]}; check which program has that port.") from error


class EventReader:
    """The reader's side of `events`: pieces from lines, then `reply`; raises what the stream carries, UpstreamError when it breaks off."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._text = lines, ""
        self.reply: Reply | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if not line.startswith("data:"):
                continue
            data = line[5:].strip()
            if data == "[DONE]" and self.reply is not None:
                return
            try:
                event = json.loads(data)
            except ValueError as error:
                raise UpstreamError(f"The reply broke off with {data[:80]!r}; ask again.") from error
            if "error" in event:
                raised = from_dict(event, 502)
                raise raised if isinstance(raised, UpstreamError) else UpstreamError(raised.message, **raised.facts)
            piece = event["choices"][0]["delta"].get("content") if event.get("choices") else None
            if "suite" in event:
                usage = event["usage"]
                self.reply = Reply(self._text, usage["completion_tokens"], usage["prompt_tokens"], **event["suite"])
            elif piece:
                self._text += piece
                yield piece
        raise UpstreamError("The reply broke off before its end; ask again.")

    @property
    def so_far(self) -> str:
        """The text that has arrived."""
        return self._text


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}


def _usage(reply: Reply) -> dict[str, int]:
    return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.tokens, "total_tokens": reply.prompt_tokens + reply.tokens}


def _suite(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in ("seconds", "model", "alias", "why", "smoke", "finish", "fallback")}


def _finish(reply: Reply) -> str:
    return "length" if reply.finish == "length" else "stop"  # OpenAI's clients know no `cancelled`


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
