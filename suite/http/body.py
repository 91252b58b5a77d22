"""What clients send to OpenAI's and llama-server's routes: bodies in, checked requests out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import ClientDisconnect

from suite.errors import BadRequest, TooLarge
from suite.serving.request import Request

MOST_BYTES = 8 << 20  # no context of any model holds a text of this size
MOST_DRAINED = 256 << 20  # what is still taken from a client before it is told that its body is too large
MOST_CHOICES, MOST_PROMPTS = 16, 64
SEEDS = (1 << 32) - 1

# options that mean the same in Request
PLAIN = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "stop",
         "ignore_eos", "cache_prompt", "grammar", "json_schema", "timeout")
# options that would change the answer and that we do not have: refused rather than ignored; the values say "not used"
REFUSED: dict[str, tuple[Any, ...]] = {
    "functions": ([],), "function_call": ("none", "auto"), "audio": (), "modalities": (["text"],), "prediction": (), "web_search_options": (),
    "reasoning_effort": ("none",), "verbosity": ("medium",), "mirostat": (0,), "typical_p": (1,), "dynatemp_range": (0,), "dry_multiplier": (0,),
    "xtc_probability": (0,), "lora": ([],), "n_probs": (0,), "echo": (False,), "input_extra": ([],),
}


@dataclass(frozen=True)
class Body:
    """One call: its requests (the choices of the first prompt, then of the second, …), and how they are to be answered.

    `prompts` is how many prompts there are; `usage` whether a stream ends with a chunk of its own for the tokens used.
    """

    requests: tuple[Request, ...]
    prompts: int = 1
    stream: bool = False
    usage: bool = False

    @property
    def model(self) -> str:
        """The name that was asked for."""
        return self.requests[0].model

    @property
    def each(self) -> int:
        """How many choices a prompt has."""
        return len(self.requests) // self.prompts


async def read(receive: Callable[[], Awaitable[Any]], most: int = MOST_BYTES) -> bytes:
    """The bytes of a body. Raises TooLarge when there are more than `most`, starlette's ClientDisconnect when the client went away."""
    parts: list[bytes] = []
    size, more = 0, True
    while more and size < MOST_DRAINED:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= most:
            parts.append(chunk)
        else:
            parts.clear()  # the rest is taken and forgotten: a client that is still sending would not read the answer
    if size > most:
        raise TooLarge(f"The body has {size:,} bytes but {most:,} are the most that is read; send less text.")
    return b"".join(parts)


def parsed(content: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises BadRequest for anything else."""
    try:
        body = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not valid UTF-8 (byte {error.start}: {error.reason}); send JSON in UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON that can be read ({error}); send a JSON object.") from error
    if not isinstance(body, dict):
        raise BadRequest(f"The body is {type(body).__name__} but must be a JSON object.")
    return body


def chat(raw: dict[str, Any]) -> Body:
    """The body of POST /v1/chat/completions."""
    messages = raw.get("messages")
    if not isinstance(messages, list):
        raise BadRequest(f"messages is {messages!r:.80} but must be a list of {{'role': ..., 'content': ...}}.", param="messages")
    if raw.get("suffix") is not None:
        raise BadRequest("suffix goes with prompt, in POST /v1/completions.", param="suffix")
    sent = {**options(raw), **_tools(raw), "logprobs": _chat_logprobs(raw)}
    return _body(raw, [Request.of(messages, **sent)])


def completions(raw: dict[str, Any]) -> Body:
    """The body of POST /v1/completions; a list of prompts has the choices of each, `suffix` makes it a gap to fill."""
    prompts = raw.get("prompt")
    prompts = prompts if isinstance(prompts, list) else [prompts]
    if not prompts or len(prompts) > MOST_PROMPTS or not all(isinstance(prompt, str) for prompt in prompts):
        raise BadRequest(f"prompt is {raw.get('prompt')!r:.80} but must be a text, or a list of 1 to {MOST_PROMPTS} texts; numbers of tokens are "
                         "not read, send the text.", param="prompt")
    best = raw.get("best_of")
    if best is not None and best != (1 if raw.get("n") is None else raw["n"]):
        raise BadRequest(f"best_of is {best!r:.80}, which this server does not support; ask for n choices and choose.", param="best_of")
    if isinstance(raw.get("logprobs"), bool):
        raise BadRequest("logprobs is true or false but must be a whole number here: how many alternatives to report.", param="logprobs")
    sent = {**options(raw), "logprobs": raw.get("logprobs"), "suffix": raw.get("suffix")}
    return _body(raw, [Request.of(prompt=prompt, **sent) for prompt in prompts])


def infill(raw: dict[str, Any]) -> Body:
    """The body of llama-server's POST /infill: what stands before the gap and after it."""
    if raw.get("prompt"):
        raise BadRequest("prompt is not read here; put the text before the gap into input_prefix.", param="prompt")
    texts = {}
    for name, to in (("input_prefix", "prompt"), ("input_suffix", "suffix")):
        texts[to] = "" if raw.get(name) is None else raw[name]
        if not isinstance(texts[to], str):
            raise BadRequest(f"{name} is {raw[name]!r:.80} but must be text.", param=name)
    if not any(texts.values()):
        raise BadRequest("input_prefix and input_suffix are empty; send the text around the gap.", param="input_prefix")
    return _body({**raw, "n": None}, [Request.of(**options(raw), **texts)])


def options(raw: dict[str, Any]) -> dict[str, Any]:
    """The options of Request that a body of any route may have, None where one was not sent. Raises BadRequest for one that we do not have."""
    for name, unused in REFUSED.items():
        value = raw.get(name)
        if value is not None and value not in unused:
            raise BadRequest(f"{name} is {value!r:.80}, which this server does not support; leave it out.", param=name)
    sent = {name: raw.get(name) for name in PLAIN}
    if sent["max_tokens"] is None:
        sent["max_tokens"] = raw.get("max_completion_tokens")  # OpenAI's newer name for the same
    if sent["max_tokens"] is None and raw.get("n_predict") is not None:  # llama-server's, with -1 for "as many as there is room for"
        sent["max_tokens"] = 1 << 31 if raw["n_predict"] == -1 else raw["n_predict"]
    bias = raw.get("logit_bias")
    sent["logit_bias"] = tuple(bias) if isinstance(bias, list) else bias
    sent["model"] = raw.get("model")
    schema = _schema(raw.get("response_format"))
    if schema is not None:
        if sent["json_schema"] is not None or sent["grammar"] is not None:
            raise BadRequest("Both response_format and a grammar or json_schema are given; send one of them.", param="response_format")
        sent["json_schema"] = schema
    return sent


def flag(raw: dict[str, Any], name: str, default: bool = False) -> bool:
    """A yes or no of the body. Raises BadRequest when it is something else."""
    value = raw.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} is {value!r:.80} but must be true or false.", param=name)
    return default if value is None else value


def _body(raw: dict[str, Any], requests: list[Request]) -> Body:
    n = 1 if raw.get("n") is None else raw["n"]
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_CHOICES:
        raise BadRequest(f"n is {n!r:.80} but must be a whole number from 1 to {MOST_CHOICES}.", param="n")
    if n * len(requests) > MOST_PROMPTS:
        raise BadRequest(f"{len(requests)} prompts with {n} choices each are {n * len(requests)} replies, but {MOST_PROMPTS} are the most; "
                         "send fewer prompts.", param="prompt")
    extra = raw.get("stream_options")
    if extra is not None and not isinstance(extra, dict):
        raise BadRequest(f"stream_options is {extra!r:.80} but must be an object such as {{'include_usage': true}}.", param="stream_options")
    several = tuple(_choice(request, index) for request in requests for index in range(n))
    return Body(several, len(requests), flag(raw, "stream"), flag(extra or {}, "include_usage"))


def _choice(request: Request, index: int) -> Request:
    """The request for the choice of that number: with a seed of its own, or all of them would be the same text."""
    return request if request.seed is None or not index else replace(request, seed=(request.seed + index) % SEEDS)


def _chat_logprobs(raw: dict[str, Any]) -> int | None:
    wanted, top = flag(raw, "logprobs"), raw.get("top_logprobs")
    if not wanted and top:
        raise BadRequest("top_logprobs is given without logprobs; set logprobs to true.", param="top_logprobs")
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= 20):
        raise BadRequest(f"top_logprobs is {top!r:.80} but must be a whole number from 0 to 20.", param="top_logprobs")
    return (top or 0) if wanted else None


def _tools(raw: dict[str, Any]) -> dict[str, Any]:
    choice = raw.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        if choice.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest(f"tool_choice is {choice!r:.120} but must be auto, none, required or {{'type': 'function', 'function': "
                             "{'name': ...}}.", param="tool_choice")
        choice = function["name"]
    return {"tools": raw.get("tools"), "tool_choice": choice, "parallel_tool_calls": raw.get("parallel_tool_calls")}


def _schema(wanted: Any) -> dict[str, Any] | bool | None:
    """The JSON schema that a response_format asks for; None for plain text."""
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return None
    schema: Any = {"type": "object"}
    if kind == "json_object":
        schema = schema if wanted.get("schema") is None else wanted["schema"]  # llama-server's way to give one
    elif kind == "json_schema":
        described = wanted.get("json_schema")
        schema = described.get("schema", schema) if isinstance(described, dict) else None
    else:
        raise BadRequest(f"response_format is {wanted!r:.80} but its type must be text, json_object or json_schema.", param="response_format")
    if not isinstance(schema, (dict, bool)):
        raise BadRequest(f"response_format is {wanted!r:.120} but must hold {{'json_schema': {{'name': ..., 'schema': a JSON schema}}}}.",
                         param="response_format")
    return schema
