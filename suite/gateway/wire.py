"""OpenAI's JSON on the gateway's side: our request as a body, and a server's body or events as our reply."""

from __future__ import annotations

import json
from typing import Any

from suite.serving.reply import TIMINGS, Piece, Reply
from suite.serving.request import Request

SENT = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed")
FINISHES = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
BROKEN = ("abort", "error", "timeout")  # what vLLM and others call a reply that they gave up
LONGEST_TEXT = 32 << 20  # characters of one reply


class Malformed(Exception):
    """The body is not what OpenAI's surface promises; the text says what is wrong."""


def path_of(request: Request) -> str:
    """The route below `/v1` that takes this request."""
    return "/completions" if request.raw else "/chat/completions"


def body_of(request: Request, model: str, stream: bool) -> dict[str, Any]:
    """The request as JSON. What OpenAI does not have goes by the name that llama-server and vLLM know, and only when it was asked for."""
    body: dict[str, Any] = {"model": model} if model else {}
    if request.raw:
        body |= {"prompt": request.prompt or ""} | ({"suffix": request.suffix} if request.suffix is not None else {})
    else:
        body["messages"] = list(request.messages)
    body["max_tokens"] = request.max_tokens
    body |= {name: value for name in SENT if (value := getattr(request, name)) is not None}
    if request.repeat_penalty is not None:
        body["repetition_penalty"] = request.repeat_penalty  # vLLM's name
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias}
    if request.logprobs is not None:
        body |= {"logprobs": request.logprobs} if request.raw else {"logprobs": True, "top_logprobs": request.logprobs}
    if request.ignore_eos:
        body["ignore_eos"] = True
    if not request.cache_prompt:
        body["cache_prompt"] = False
    body |= _constraints(request) | _tools(request)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _constraints(request: Request) -> dict[str, Any]:
    if request.grammar:  # three names, since a server that does not know one ignores it, and would then write what it likes
        return {"grammar": request.grammar, "guided_grammar": request.grammar, "structured_outputs": {"grammar": request.grammar}}
    if request.json_schema:
        schema = {"name": "reply", "strict": True, "schema": json.loads(request.json_schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {}


def _tools(request: Request) -> dict[str, Any]:
    if not request.tools:
        return {}
    named = request.tool_choice not in ("auto", "none", "required")
    choice: Any = {"type": "function", "function": {"name": request.tool_choice}} if named else request.tool_choice
    body: dict[str, Any] = {"tools": list(request.tools), "tool_choice": choice}
    return body if request.parallel_tool_calls else {**body, "parallel_tool_calls": False}


def parsed(data: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises Malformed for anything else, NaN and absurd depth among it."""
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON ({type(error).__name__}): {data[:120]!r}") from None
    if not isinstance(body, dict):
        raise Malformed(f"no JSON object: {data[:120]!r}")
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(name)


class Draft:
    """A reply that is put together from one body or from many events; `ended` says that its last piece was seen."""

    def __init__(self, raw: bool) -> None:
        self.raw, self.model, self.finish, self.begun = raw, "", "", False
        self.writing = False  # whether anything of the reply itself has come: text, a call, or the thoughts before it
        self._texts: list[str] = []
        self._length = 0
        self._calls: dict[int, dict[str, str]] = {}
        self._logprobs: list[dict[str, Any]] = []
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, float] = {}
        self.ours: dict[str, Any] = {}  # the facts of another suite's stack

    @property
    def ended(self) -> bool:
        """Whether the server has said how the reply ended."""
        return bool(self.finish)

    def take(self, body: dict[str, Any]) -> Piece | None:
        """Read one body or event; gives the text in it, if any. Raises Malformed."""
        if isinstance(body.get("model"), str):
            self.model = body["model"][:200]
        if isinstance(body.get("usage"), dict):
            self._usage = body["usage"]
        if isinstance(body.get("timings"), dict):
            self._timings = {name: value for name in TIMINGS if _number(value := body["timings"].get(name))}
        if isinstance(body.get("suite"), dict):
            self.ours = body["suite"]
        choices = body.get("choices", [] if "usage" in body else None)
        if not isinstance(choices, list):
            raise Malformed(f"no list of choices: {str(body)[:120]}")
        if not choices:
            return None  # an event that only tells the usage
        choice = choices[0]
        if not isinstance(choice, dict):
            raise Malformed(f"a choice that is no object: {str(choice)[:120]}")
        self.begun = True
        return self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> Piece | None:
        message = choice.get("message", choice.get("delta"))
        if not self.raw and message is not None and not isinstance(message, dict):
            raise Malformed(f"a message that is no object: {str(message)[:120]}")
        message = message or {}
        text = _text(choice.get("text") if self.raw else message.get("content"))
        self._length += len(text)
        if self._length > LONGEST_TEXT:
            raise Malformed(f"a reply of more than {LONGEST_TEXT >> 20} million characters")
        for place, call in enumerate(_rows(message.get("tool_calls"), "tool_calls")):
            self._call(place, call)
        rows = _logprobs(choice.get("logprobs"))
        self._logprobs += rows
        finish = choice.get("finish_reason")
        if finish is not None and not isinstance(finish, str):
            raise Malformed(f"the finish_reason {finish!r:.80}")
        if finish in BROKEN:
            raise Malformed(f"a reply that the server gave up ({finish})")
        self.finish = finish or self.finish
        self.writing = self.writing or bool(text or message.get("tool_calls") or message.get("reasoning_content") or message.get("reasoning"))
        if text:
            self._texts.append(text)
        return Piece.of(text, tuple(rows)) if text or rows else None

    def _call(self, place: int, call: dict[str, Any]) -> None:
        index = call.get("index", place)
        function = call.get("function") or {}
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 128 or not isinstance(function, dict):
            raise Malformed(f"the tool call {str(call)[:120]}")
        known = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        arguments = function.get("arguments")
        arguments = json.dumps(arguments) if isinstance(arguments, dict) else arguments  # Ollama has been seen to send the object itself
        for value in (call.get("id"), function.get("name"), arguments):
            if value is not None and not isinstance(value, str):
                raise Malformed(f"the tool call {str(call)[:120]}")
        known["id"] = known["id"] or call.get("id") or ""
        known["name"] = known["name"] or function.get("name") or ""
        known["arguments"] += arguments or ""

    def reply(self, seconds: float, model: str, first: float | None = None) -> Reply:
        """The reply so far; `model` is the name that was asked for, `first` the seconds until the first piece. Raises Malformed."""
        calls = tuple({"id": call["id"] or f"call_{index}", "type": "function",
                       "function": {"name": call["name"], "arguments": call["arguments"] or "{}"}} for index, call in sorted(self._calls.items()))
        if any(not call["function"]["name"] for call in calls):
            raise Malformed("a tool call without a name")
        details = self._usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
        tokens = _count(self._usage.get("completion_tokens")) or len(self._texts)  # a server that does not count sends a piece per token
        prompt = _count(self._usage.get("prompt_tokens"))
        timings = self._timings or _timings(prompt, cached, tokens, seconds, first)
        finish = "tool_calls" if calls and self.finish not in ("length",) else FINISHES.get(self.finish, "stop")
        return Reply("".join(self._texts), tokens, prompt, seconds, self.model or model, smoke=self.ours.get("smoke") is True,
                     fallback=self.ours.get("fallback") is True, finish=finish, timings=timings, tool_calls=calls, logprobs=tuple(self._logprobs))


def _timings(prompt: int, cached: int, tokens: int, seconds: float, first: float | None) -> dict[str, float]:
    """What can be told from outside: counts, and of times only those that were seen."""
    told: dict[str, float] = {"prompt_n": max(0, prompt - cached), "cache_n": cached, "predicted_n": tokens}
    if first is not None:
        writing = seconds - first
        told |= {"first_token_ms": first * 1e3, "predicted_ms": writing * 1e3}
        if writing > 0:
            told["predicted_per_second"] = tokens / writing
    return told


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        content = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if not isinstance(content, str):
        raise Malformed(f"content that is no text: {str(content)[:120]}")
    return content.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written anywhere


def _rows(value: Any, name: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise Malformed(f"{name} that are no list of objects: {str(value)[:120]}")
    return value


def _logprobs(given: Any) -> list[dict[str, Any]]:
    """Rows of our shape from OpenAI's two."""
    if not isinstance(given, dict):
        return []
    if "content" in given:
        return [{**_row(row), "top_logprobs": [_row(other) for other in _rows(row.get("top_logprobs"), "top_logprobs")]}
                for row in _rows(given["content"], "logprobs")]
    tokens, values, tops = (given.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not all(isinstance(each, list) for each in (tokens, values, tops)) or len(tokens) != len(values):
        raise Malformed(f"the logprobs {str(given)[:120]}")
    tops = tops if len(tops) == len(tokens) else [None] * len(tokens)
    return [{**_row({"token": token, "logprob": value}),
             "top_logprobs": [_row({"token": other, "logprob": its}) for other, its in top.items()] if isinstance(top, dict) else []}
            for token, value, top in zip(tokens, values, tops, strict=True) if value is not None]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    token, value = row.get("token"), row.get("logprob")
    if not isinstance(token, str) or not _number(value):
        raise Malformed(f"the logprobs row {str(row)[:120]}")
    given = row.get("bytes")
    told = given if isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given) else None
    return {"token": token, "bytes": told if told is not None else list(token.encode("utf-8", "replace")), "logprob": float(value)}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300


def _count(value: Any) -> int:
    return int(value) if _number(value) and 0 <= value < 1 << 53 else 0
