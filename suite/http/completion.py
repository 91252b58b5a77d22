"""Replies as OpenAI's and llama-server's JSON, and back to our records on a guest's side."""

from __future__ import annotations

import codecs
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from suite import __version__
from suite.errors import NotFound, UpstreamError, from_dict
from suite.serving.reply import Piece, Reply

FINGERPRINT = f"local-ai-suite-{__version__}"
LEAST_LOGPROB = -9999.0  # OpenAI's number for "impossible"; JSON has no infinity
OURS = ("seconds", "model", "alias", "why", "smoke", "finish", "fallback")
dumped = json.JSONEncoder(ensure_ascii=False).encode


def listing(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The models of a port as OpenAI lists them."""
    return {"object": "list", "data": [{"object": "model", "created": 0, "owned_by": "local-ai-suite", **row} for row in rows]}


def listed(rows: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    """One of those models. Raises NotFound for a name that is not among them."""
    for row in listing(rows)["data"]:
        if row["id"] == name:
            return row
    raise NotFound(f"No model is called {name!r} on this port; GET /v1/models lists what it has.", param="model")


def completion(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """Finished replies, one per choice, as a chat.completion object, with our own facts under `suite`."""
    choices = []
    for index, reply in enumerate(replies):
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.tool_calls:
            message.update(content=reply.text or None, tool_calls=list(reply.tool_calls))
        choices.append({"index": index, "message": message, "finish_reason": finish_reason(reply), "logprobs": chat_logprobs(reply.logprobs)})
    return {**head("chat.completion", named(replies[0])), "choices": choices, **facts(replies, prompts)}


def text_completion(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """Finished replies, one per choice of each prompt, as a text_completion object."""
    choices = [{"index": index, "text": reply.text, "finish_reason": finish_reason(reply), "logprobs": text_logprobs(reply.logprobs)}
               for index, reply in enumerate(replies)]
    return {**head("text_completion", named(replies[0])), "choices": choices, **facts(replies, prompts)}


def infill_completion(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """A finished reply as llama-server answers POST /infill."""
    return infilled(replies[0], replies[0].text)


def infilled(reply: Reply, content: str) -> dict[str, Any]:
    """The last words of llama-server about a reply, with what is still to be said of its text."""
    return {"index": 0, "content": content, "tokens": [], "stop": True, "stop_type": "limit" if reply.finish == "length" else "eos",
            "model": named(reply), "tokens_predicted": reply.tokens, "tokens_evaluated": reply.prompt_tokens, "truncated": False,
            "tokens_cached": _cached(reply), "timings": reply.timings, "suite": ours(reply)}


def head(kind: str, model: str) -> dict[str, Any]:
    """What every object of OpenAI's begins with."""
    prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model, "system_fingerprint": FINGERPRINT}


def named(reply: Reply) -> str:
    """The model's name as a client knows it."""
    return reply.alias or reply.model


def facts(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """What an object ends with: the tokens used, llama-server's timings, and our own facts about the first reply."""
    told = ours(replies[0])
    told["fallback"] = any(reply.fallback for reply in replies)
    return {"usage": usage(replies, prompts), "timings": timings(replies), "suite": told}


def ours(reply: Reply) -> dict[str, Any]:
    """Who wrote a reply, how long it took, and why that one."""
    return {name: getattr(reply, name) for name in OURS}


def usage(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """Tokens read and written; a prompt with several choices is counted once."""
    asked = replies[::max(1, len(replies) // prompts)]
    read, written = sum(reply.prompt_tokens for reply in asked), sum(reply.tokens for reply in replies)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": sum(_cached(reply) for reply in asked)}}


def timings(replies: Sequence[Reply]) -> dict[str, float]:
    """Of one reply as they are; of several, tokens and milliseconds in sum, rates over them, waits of the longest."""
    if len(replies) == 1:
        return replies[0].timings
    rows = [reply.timings for reply in replies if reply.timings]
    if not rows:
        return {}
    made: dict[str, float] = {}
    for name in rows[0]:
        values = [row.get(name, 0) for row in rows]
        made[name] = max(values) if name in ("queue_ms", "first_token_ms") else sum(values)
    for kind in ("prompt", "predicted"):
        spent = made.get(f"{kind}_ms", 0)
        made[f"{kind}_per_second"] = made.get(f"{kind}_n", 0) * 1000 / spent if spent else 0.0
    return made


def finish_reason(reply: Reply) -> str:
    """Why it ended, in OpenAI's words; its clients know no `cancelled`."""
    return reply.finish if reply.finish in ("length", "tool_calls") else "stop"


def chat_logprobs(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Rows of Reply.logprobs as a chat choice has them."""
    return {"content": [_finite(row) for row in rows], "refusal": None} if rows else None


def text_logprobs(rows: Sequence[dict[str, Any]], offset: int = 0) -> dict[str, Any] | None:
    """Rows of Reply.logprobs as a choice of text has them; offsets are in characters of the reply, the first is `offset`.

    `content` has the rows as a chat choice has them, as llama-server sends them: only there are the bytes of half a character.
    """
    if not rows:
        return None
    rows, offsets, decoder = [_finite(row) for row in rows], [], codecs.getincrementaldecoder("utf-8")("replace")
    for row in rows:
        offsets.append(offset)
        offset += len(decoder.decode(bytes(row["bytes"]))) if row.get("bytes") is not None else len(row["token"])
    return {"tokens": [row["token"] for row in rows], "token_logprobs": [row["logprob"] for row in rows], "text_offset": offsets,
            "top_logprobs": [{other["token"]: other["logprob"] for other in row.get("top_logprobs", ())} for row in rows], "content": rows}


def reply_of(body: Any) -> Reply:
    """The reply in a chat.completion or text_completion object of ours. Raises UpstreamError for a body of another make."""
    try:
        choice, used = body["choices"][0], body["usage"]
        message = choice.get("message") or {"content": choice["text"]}
        rows = (choice.get("logprobs") or {}).get("content") or ()
        return Reply(message["content"] or "", used["completion_tokens"], used["prompt_tokens"], timings=body.get("timings") or {},
                     tool_calls=tuple(message.get("tool_calls") or ()), logprobs=tuple(rows), **body["suite"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UpstreamError(f"The gateway's answer is no reply of ours: {str(body)[:200]}; check which program has that port.") from error


class EventReader:
    """The reader's side of a stream of events: pieces from lines, then `reply`; raises what the stream carries, UpstreamError when it breaks off."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._texts = lines, []
        self._rows: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
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
            piece = self._taken(event)
            if piece:
                yield piece
        raise UpstreamError("The reply broke off before its end; ask again.")

    def _taken(self, event: dict[str, Any]) -> Piece | None:
        choice = event["choices"][0] if event.get("choices") else {}
        delta = choice.get("delta") or {}
        rows = tuple((choice.get("logprobs") or {}).get("content") or ())
        self._rows += rows
        self._calls += [{name: value for name, value in call.items() if name != "index"} for call in delta.get("tool_calls") or ()]
        text = delta.get("content") or choice.get("text") or ""
        self._texts.append(text)
        if "suite" in event:
            used = event.get("usage") or {}
            self.reply = Reply(self.so_far, used.get("completion_tokens", 0), used.get("prompt_tokens", 0), timings=event.get("timings") or {},
                               tool_calls=tuple(self._calls), logprobs=tuple(self._rows), **event["suite"])
        return Piece.of(text, rows) if text else None

    @property
    def so_far(self) -> str:
        """The text that has arrived."""
        return "".join(self._texts)


class Chunks:
    """Writes the events of one call: `opening` of a choice, each `piece`, its `closing`, and the `ending` of all.

    The names of OpenAI's two kinds are `chat.completion.chunk` and `text_completion`; `counted` asks for a last chunk with the tokens used.
    """

    def __init__(self, kind: str, model: str, counted: bool, prompts: int = 1) -> None:
        self._chat, self._counted, self._prompts = kind == "chat.completion.chunk", counted, prompts
        self._head = head(kind, model)
        # everything but the text is written once: a chunk per token of every stream goes through here
        self._before = f'data: {dumped(self._head)[:-1]}, "choices": [{{"index": '
        self._after = ', "finish_reason": null, "logprobs": null}]' + (', "usage": null' if counted else "") + "}\n\n"
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> str:
        """Who speaks."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}) if self._chat else ""

    def piece(self, index: int, piece: str) -> str:
        """Some text of a choice."""
        rows = getattr(piece, "logprobs", ())
        if not rows:
            self._offsets[index] = self._offsets.get(index, 0) + len(piece)
            return f'{self._before}{index}, "delta": {{"content": {dumped(piece)}}}{self._after}' if self._chat else \
                f'{self._before}{index}, "text": {dumped(piece)}{self._after}'
        if self._chat:
            return self._chunk(index, {"delta": {"content": piece}}, chat_logprobs(rows))
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(piece)
        return self._chunk(index, {"text": piece}, text_logprobs(rows, offset))

    def closing(self, index: int, reply: Reply) -> str:
        """What else a choice holds, and why it ended."""
        self._head["model"] = named(reply)
        calls = [self._chunk(index, {"delta": {"tool_calls": [{"index": at, **call}]}}) for at, call in enumerate(reply.tool_calls)]
        more = {"timings": reply.timings, "suite": ours(reply)}
        if not self._counted:
            more["usage"] = usage([reply])
        return "".join(calls) + self._chunk(index, {"delta": {}} if self._chat else {"text": ""}, None, finish_reason(reply), more)

    def ending(self, replies: Sequence[Reply]) -> str:
        """The tokens used, where they were asked for, and the mark that nothing is missing."""
        last = ""
        if self._counted:
            last = f"data: {dumped({**self._head, 'choices': [], **facts(replies, self._prompts)})}\n\n"
        return last + "data: [DONE]\n\n"

    def _chunk(self, index: int, what: dict[str, Any], logprobs: Any = None, finish: str | None = None, more: dict[str, Any] | None = None) -> str:
        choice = {"index": index, **what, "finish_reason": finish, "logprobs": logprobs}
        return f"data: {dumped({**self._head, 'choices': [choice], **({'usage': None} if self._counted else {}), **(more or {})})}\n\n"


class InfillChunks:
    """The events of llama-server's POST /infill."""

    def __init__(self, model: str, prompts: int = 1) -> None:
        self._model = model

    def opening(self, index: int) -> str:
        """Nothing."""
        return ""

    def piece(self, index: int, piece: str) -> str:
        """Some text."""
        return f'data: {{"index": {index}, "content": {dumped(piece)}, "tokens": [], "stop": false}}\n\n'

    def closing(self, index: int, reply: Reply) -> str:
        """Why it ended, and the timings."""
        return f"data: {dumped(infilled(reply, ''))}\n\n"

    def ending(self, replies: Sequence[Reply]) -> str:
        """Nothing: `stop` has said it."""
        return ""


Write = Callable[[Sequence[Reply], int], dict[str, Any]]


def _cached(reply: Reply) -> int:
    return int(reply.timings.get("cache_n", 0))


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers JSON has words for."""
    made = {**row, "logprob": max(LEAST_LOGPROB, row["logprob"])}
    if row.get("top_logprobs"):
        made["top_logprobs"] = [_finite(other) for other in row["top_logprobs"]]
    return made
