"""What a model server is asked: Request, and the one place where its values are checked."""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import dataclass, fields, replace
from typing import Any

from suite.errors import BadRequest

ROLES = ("system", "user", "assistant", "tool")
MOST_STOPS, LONGEST_STOP = 16, 200
MOST_LOGPROBS, MOST_BIASES, MOST_TOOLS = 20, 1024, 128
LONGEST_GRAMMAR = 256_000  # characters of a grammar or a JSON schema
TOOL_CHOICES = ("auto", "none", "required")
# name -> (least, most, whether the least itself is allowed)
RANGES = {
    "temperature": (0.0, 2.0, True), "top_p": (0.0, 1.0, False), "min_p": (0.0, 1.0, True), "repeat_penalty": (0.5, 2.0, True),
    "presence_penalty": (-2.0, 2.0, True), "frequency_penalty": (-2.0, 2.0, True), "timeout": (0.0, 86_400.0, False),
}
# name -> (least, most) of whole numbers
WHOLE = {"max_tokens": (1, 1 << 31), "top_k": (0, 1 << 20), "seed": (0, (1 << 32) - 2), "logprobs": (0, MOST_LOGPROBS)}


@dataclass(frozen=True)
class Request:
    """A conversation (or a raw prompt) and how to go on with it; None leaves a number to the server's settings.

    `max_tokens` of reply; `timeout` in seconds; `prompt` instead of messages is text to continue, with `suffix` the gap before it to fill;
    `logprobs` is how many alternatives to report per token (0: the chosen one only); `grammar` is GBNF, `json_schema` the JSON text of a schema;
    `tools` are OpenAI's function descriptions, `tool_choice` auto, none, required or a function's name; penalties count the reply's own
    tokens; `ignore_eos` writes on until `max_tokens`; without `cache_prompt` the whole prompt is read anew.
    """

    messages: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    suffix: str | None = None
    max_tokens: int = 256
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False
    cache_prompt: bool = True
    grammar: str = ""
    json_schema: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    model: str = ""
    timeout: float | None = None

    @classmethod
    def of(cls, messages: str | list[dict[str, Any]] | tuple[dict[str, Any], ...] = (), **options: Any) -> Request:
        """A checked request; a plain text is one message of the user. Raises BadRequest naming the value that cannot be used."""
        known = {field.name for field in fields(cls)} - {"messages"}
        for name in options:
            if name not in known:
                raise BadRequest(f"There is no option {name!r}; use {', '.join(sorted(known))}.", param=name)
        options = {name: value for name, value in options.items() if value is not None}
        stop = options.pop("stop", ())
        options["stop"] = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, (list, tuple)) else stop
        bias = options.get("logit_bias", ())
        options["logit_bias"] = tuple(bias.items()) if isinstance(bias, dict) else bias
        schema = options.get("json_schema", "")
        options["json_schema"] = _json(schema, "json_schema") if isinstance(schema, (dict, bool)) else schema
        if isinstance(options.get("tools"), list):
            options["tools"] = tuple(options["tools"])
        rows = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return checked(cls(messages=tuple(rows) if isinstance(rows, (list, tuple)) else rows, **options))

    @property
    def raw(self) -> bool:
        """Whether it continues a prompt instead of answering messages."""
        return self.prompt is not None


def checked(request: Request) -> Request:
    """The request with plain-text messages, if all of it can be used. Raises BadRequest naming the first value that cannot."""
    messages = _prompted(request) if request.raw else _conversation(request)
    for name, (least, most) in WHOLE.items():
        value = getattr(request, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
            upper = f" to {most}" if most < 1 << 31 else ""
            raise BadRequest(f"{name} is {_short(value)} but must be a whole number from {least}{upper}.", param=name)
    for name, (low, high, closed) in RANGES.items():
        value = getattr(request, name)
        if value is not None and not (_number(value) and low <= value <= high and (closed or value > low)):
            raise BadRequest(f"{name} is {_short(value)} but must be a number {'from' if closed else 'above'} {low:g} to {high:g}.", param=name)
    for name in ("ignore_eos", "cache_prompt", "parallel_tool_calls"):
        if not isinstance(getattr(request, name), bool):
            raise BadRequest(f"{name} is {_short(getattr(request, name))} but must be true or false.", param=name)
    stops = request.stop
    if not isinstance(stops, tuple) or len(stops) > MOST_STOPS or not all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in stops):
        raise BadRequest(f"stop is {_short(stops)} but must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters.", param="stop")
    if not isinstance(request.model, str):
        raise BadRequest(f"model is {_short(request.model)} but must be a text.", param="model")
    _constraints(request)
    return replace(request, messages=messages, logit_bias=_biases(request.logit_bias), tools=_tools(request))


def _prompted(request: Request) -> tuple[()]:
    for name in ("prompt", "suffix"):
        value = getattr(request, name)
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{name} is {_short(value)} but must be text.", param=name)
    if request.messages:
        raise BadRequest("Both messages and prompt are given; send one of them.", param="prompt")
    if not request.prompt and not request.suffix:
        raise BadRequest("prompt is empty; write the text to continue.", param="prompt")
    return ()


def _conversation(request: Request) -> tuple[dict[str, Any], ...]:
    if request.suffix is not None:
        raise BadRequest("suffix goes with prompt, not with messages.", param="suffix")
    if not isinstance(request.messages, (list, tuple)) or not request.messages:
        raise BadRequest("messages is empty; send at least one {'role': 'user', 'content': ...}.", param="messages")
    messages = tuple(_message(row, f"messages[{index}]") for index, row in enumerate(request.messages))
    if not any(row["content"].strip() for row in messages):
        raise BadRequest("All messages are blank; write a question.", param="messages")
    return messages


def _message(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadRequest(f"{where} is {_short(row)} but must be {{'role': ..., 'content': ...}}.", param=where)
    role, content, calls = row.get("role"), row.get("content"), row.get("tool_calls")
    role = "system" if role == "developer" else role  # OpenAI's newer name for the same
    if role not in ROLES:
        raise BadRequest(f"{where}.role is {_short(role)} but must be one of {', '.join(ROLES)}.", param=f"{where}.role")
    if content is None and role == "assistant" and calls:
        content = ""
    if isinstance(content, list) and all(_is_text(part) for part in content):
        content = "".join(part["text"] for part in content)  # OpenAI's list form, as far as it is text
    if not isinstance(content, str):
        raise BadRequest(f"{where}.content is {_short(content)} but must be text.", param=f"{where}.content")
    message: dict[str, Any] = {"role": role, "content": _whole(content)}
    if calls:
        if role != "assistant":
            raise BadRequest(f"{where}.tool_calls stands in a message of {role}; only the assistant's message has them.", param=f"{where}.tool_calls")
        message["tool_calls"] = _calls(calls, f"{where}.tool_calls")
    for name in ("tool_call_id", "name"):
        value = row.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise BadRequest(f"{where}.{name} is {_short(value)} but must be text.", param=f"{where}.{name}")
            message[name] = _whole(value)
    return message


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """The calls an earlier reply made, with their arguments as OpenAI writes them: JSON text of an object."""
    made = []
    for index, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments", "{}") if isinstance(function, dict) else None
        try:
            whole = isinstance(json.loads(arguments), dict) if isinstance(arguments, str) else False
        except (ValueError, RecursionError):
            whole = False
        if not whole or not isinstance(function.get("name"), str) or not isinstance(call.get("id") or "", str):
            raise BadRequest(f"{where}[{index}] is {_short(call)} but must be {{'id', 'type': 'function', 'function': {{'name', 'arguments': JSON "
                             "text of an object}}}.", param=f"{where}[{index}]")
        made.append({"id": _whole(call.get("id") or ""), "type": "function",
                     "function": {"name": _whole(function["name"]), "arguments": _whole(arguments)}})
    return made


def _biases(biases: Any) -> tuple[tuple[int, float], ...]:
    shape = f"logit_bias is {_short(biases)} but must be at most {MOST_BIASES} token numbers, each with a number from -100 to 100."
    if not isinstance(biases, tuple) or len(biases) > MOST_BIASES:
        raise BadRequest(shape, param="logit_bias")
    read = []
    for pair in biases:
        try:
            token, bias = pair
            token = int(token) if isinstance(token, str) else token  # JSON has texts as keys
        except (TypeError, ValueError):
            raise BadRequest(shape, param="logit_bias") from None
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < 1 << 31 or not _number(bias) or not -100 <= bias <= 100:
            raise BadRequest(shape, param="logit_bias")
        read.append((token, float(bias)))
    return tuple(read)


def _tools(request: Request) -> tuple[dict[str, Any], ...]:
    tools = request.tools
    if not isinstance(tools, tuple) or len(tools) > MOST_TOOLS:
        raise BadRequest(f"tools must be a list of at most {MOST_TOOLS} function descriptions.", param="tools")
    names = []
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type", "function") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise BadRequest(f"tools[{index}] is {_short(tool)} but must be {{'type': 'function', 'function': {{'name', 'description', "
                             "'parameters'}}.", param=f"tools[{index}]")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise BadRequest(f"tools[{index}].function.parameters is {_short(parameters)} but must be a JSON schema.", param=f"tools[{index}]")
        names.append(function["name"])
    if sum(len(_json(tool, f"tools[{index}]")) for index, tool in enumerate(tools)) > LONGEST_GRAMMAR:
        raise BadRequest(f"tools are described in more than {LONGEST_GRAMMAR:,} characters; send fewer, or shorter descriptions.", param="tools")
    taken = next((name for name in names if name in TOOL_CHOICES), None)
    if taken:
        raise BadRequest(f"A tool is named {taken!r}, which is a value of tool_choice; give it another name.", param="tools")
    if len(set(names)) < len(names):
        raise BadRequest("Two tools have the same name; give each its own.", param="tools")
    choice = request.tool_choice
    if not isinstance(choice, str) or choice not in (*TOOL_CHOICES, *names):
        raise BadRequest(f"tool_choice is {_short(choice)} but must be auto, none, required or the name of one of the tools.", param="tool_choice")
    if choice == "required" and not tools:
        raise BadRequest("tool_choice is 'required' but there are no tools; send some.", param="tool_choice")
    return tuple({"type": "function", "function": dict(tool["function"])} for tool in tools)


def _constraints(request: Request) -> None:
    for name in ("grammar", "json_schema"):
        value = getattr(request, name)
        if not isinstance(value, str) or len(value) > LONGEST_GRAMMAR:
            raise BadRequest(f"{name} must be text of at most {LONGEST_GRAMMAR:,} characters.", param=name)
    if request.grammar and request.json_schema:
        raise BadRequest("Both grammar and json_schema are given; send one of them.", param="grammar")
    if (request.grammar or request.json_schema) and request.tools and request.tool_choice != "none":
        raise BadRequest("A grammar or schema for the text and tools that may be called exclude each other; send one of them, "
                         "or tool_choice 'none'.", param="tools")
    if request.raw and request.tools:
        raise BadRequest("tools go with messages, not with prompt.", param="tools")


def _json(value: Any, param: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(f"{param} is {_short(value)}, which is no JSON ({reason}); send what JSON can say.", param=param) from error


def _short(value: Any) -> str:
    """A value for an error's text, never long, however deep or large it is."""
    try:
        return _shortened.repr(value)[:120]
    except (ValueError, RecursionError):  # a number of thousands of digits cannot be written
        return f"a {type(value).__name__} too large to show"


_shortened = reprlib.Repr()
_shortened.maxlevel, _shortened.maxstring, _shortened.maxother, _shortened.maxdict, _shortened.maxlist = 3, 60, 60, 5, 4


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)))


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be tokenized


