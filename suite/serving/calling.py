"""Tool calls: how the tools are told to a model, how it is held to a valid call, and how its calls are read."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from suite.errors import BadRequest
from suite.serving.call_reader import CallReader, Style
from suite.serving.grammar import HEADER, check, schema_part
from suite.serving.request import Request

MOST_CALLS = 16  # in one reply
HERMES = Style("hermes", '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", opening="<tool_call>", between="\n")
LLAMA = Style("llama", '{"name": "', '", "parameters": ', "}", at_start=True, many=False,
              signs=('{"name":', '{"type":"function"', "<|python_tag|>"))
MISTRAL = Style("mistral", '{"name": "', '", "arguments": ', "}", opening="[TOOL_CALLS]", between=", ", short_ids=True)
MISTRAL_ARGS = Style("mistral", "[TOOL_CALLS]", "[ARGS]", "", opening="[TOOL_CALLS]", short_ids=True)
INSTRUCTION = """You can call functions. Each line describes one as JSON:
{tools}
To call a function, write its name and its arguments as JSON between two tags, and nothing else:
<tool_call>
{{"name": "the function's name", "arguments": {{}}}}
</tool_call>"""


class Calling:
    """The way of one model, which its chat template shows. `native` says that the template itself tells the model of the tools."""

    def __init__(self, style: Style, native: bool, system: bool = True) -> None:
        self.style, self.native, self._system = style, native, system

    @classmethod
    def of(cls, template_source: str) -> Calling:
        """Recognise the style; a template that knows no tools, or writes calls in a way of its own, gets an instruction as a system message."""
        system = re.search(r"system[^'\"%}]*not supported", template_source, re.IGNORECASE) is None
        if re.search(r"\btools\b", template_source) and not re.search(r"<function=|<arg_key>", template_source):
            if "[TOOL_CALLS]" in template_source:
                return cls(MISTRAL_ARGS if "[ARGS]" in template_source else MISTRAL, True, system)
            if "<tool_call>" in template_source:
                return cls(HERMES, True, system)
            if "ipython" in template_source and '"parameters": ' in template_source:
                return cls(LLAMA, True, system)
        return cls(HERMES, False, system)

    def prepare(self, request: Request) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """The messages, and the tools, in the shape that the template expects. Raises BadRequest for arguments that nest too deeply."""
        tools = request.tools if request.tool_choice != "none" else ()
        try:
            messages = [_with_objects(message) for message in request.messages]
        except RecursionError as error:
            raise BadRequest("messages have a tool call whose arguments nest too deeply; leave the call out.", param="messages") from error
        if not self.native:
            return tuple(self._told(_as_text(messages), tools)), ()
        if not self.style.many:
            messages = _one_each(messages)
        if self.style.short_ids:
            messages = [_short(message) for message in messages]
        return tuple(messages), tools

    def constraint(self, request: Request) -> str:
        """What llguidance reads to hold the reply to valid calls; "" when there are no tools. Raises BadRequest naming the tool."""
        if not request.tools or request.tool_choice == "none":
            return ""
        style, choice = self.style, request.tool_choice
        chosen = [tool["function"] for tool in request.tools if choice in ("auto", "required", tool["function"]["name"])]
        most = MOST_CALLS if style.many and request.parallel_tool_calls and choice in ("auto", "required") else 1
        rows = [HEADER.rstrip("\n"), *(f"{_call(style, function, at)}" for at, function in enumerate(chosen))]
        rows.append("call: " + " | ".join(f"call{at}" for at in range(len(chosen))))
        again = f" ({_quoted(style.between)} call){{0,{most - 1}}}" if most > 1 else ""
        if style is MISTRAL:
            rows.append(f'calls: " "? "[" call{again} "]"')
        elif style.opening:  # the opening of the first call is written apart, since in a free reply it may come after text
            rows += [f"later: {_quoted(style.opening)} call", f"calls: call{again.replace(' call)', ' later)')}"]
        else:
            rows.append("calls: call")
        rows += _free(style) if choice == "auto" else [f"start: {_quoted(style.opening)} calls" if style.opening else "start: calls"]
        source = "\n".join(rows) + "\n"
        check(source, "tools")
        return source

    def reader(self, request: Request) -> CallReader:
        """A reader for the reply to this request."""
        most = MOST_CALLS if self.style.many and request.parallel_tool_calls else 1
        return CallReader(self.style, frozenset(tool["function"]["name"] for tool in request.tools), most)

    def _told(self, messages: list[dict[str, Any]], tools: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        """The messages with the instruction in front."""
        if not tools:
            return messages
        told = INSTRUCTION.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))
        role = "system" if self._system else "user"
        if messages and messages[0]["role"] == role:
            return [{**messages[0], "content": f"{messages[0]['content']}\n\n{told}" if self._system else f"{told}\n\n{messages[0]['content']}"},
                    *messages[1:]]
        return [{"role": role, "content": told}, *messages]


def _call(style: Style, function: dict[str, Any], at: int) -> str:
    """The rule of one function's call, without the style's opening."""
    param = f"tools[{function['name']}]"
    parameters = function.get("parameters") or {}
    if parameters.get("type", "object") != "object":
        raise BadRequest(f"{param} has parameters whose type is not object, as arguments always are; set type to object.", param=param)
    try:
        part = schema_part(json.dumps({**parameters, "type": "object"}), param)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{param} has parameters that are no JSON ({error}); send a JSON schema.", param=param) from error
    check(f"{HEADER}start: {part}\n", param)
    name = json.dumps(function["name"], ensure_ascii=False)[1:-1]
    head = (style.head + name + style.middle).removeprefix(style.opening)
    return f"call{at}: {_quoted(head)} {part} {_quoted(style.tail)}"


def _free(style: Style) -> list[str]:
    """Text, or text and then calls; for a style without an opening, a call or text that does not begin like one."""
    if style.at_start:
        return ["start: plain | tag? calls", 'tag: "<|python_tag|>"', "plain: PLAIN",
                r'PLAIN: /(?s:.*)/ & ~/(?s:\s*(\{\s*"name"\s*:|<\|python_tag\|>).*)/']
    # what is lazy ends as soon as it can, and rules out the plain text from there on
    return ["start: plain | begun calls", "plain: PLAIN", "PLAIN: /(?s:.*)/", f"begun[lazy]: PLAIN {_quoted(style.opening)}"]


def _quoted(text: str) -> str:
    return json.dumps(text) if text else '""'


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its calls' arguments as objects, as templates write them by `tojson`."""
    if "tool_calls" not in message:
        return dict(message)
    calls = [{**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _as_text(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls and results as text of the assistant and the user, for a template that knows neither."""
    said: list[dict[str, Any]] = []
    after_result = False
    for message in messages:
        content = str(message["content"])
        if message["role"] == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
            if after_result:
                said[-1]["content"] += f"\n{content}"
                continue
            said.append({"role": "user", "content": content})
        elif "tool_calls" in message:
            calls = (json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]}, ensure_ascii=False)
                     for call in message["tool_calls"])
            written = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
            said.append({"role": "assistant", "content": f"{content}\n{written}".lstrip("\n")})
        else:
            said.append(dict(message))
        after_result = message["role"] == "tool"
    return said


def _one_each(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with several calls taken apart, each call followed by its own result."""
    said: list[dict[str, Any]] = []
    answered: set[int] = set()
    for at, message in enumerate(messages):
        if at in answered:
            continue
        if len(message.get("tool_calls", ())) < 2:
            said.append(message)
            continue
        results = {}
        for later in range(at + 1, len(messages)):
            if messages[later]["role"] != "tool":
                break
            results[messages[later].get("tool_call_id")] = later
        for number, call in enumerate(message["tool_calls"]):
            said.append({**message, "content": message["content"] if not number else "", "tool_calls": [call]})
            if call["id"] in results:
                answered.add(results[call["id"]])
                said.append(messages[results[call["id"]]])
    return said


def _short(message: dict[str, Any]) -> dict[str, Any]:
    """Ids of nine letters and digits, which Mistral's templates demand."""
    def nine(call_id: str) -> str:
        return call_id if re.fullmatch(r"[A-Za-z0-9]{9}", call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]

    made = dict(message)
    if "tool_calls" in made:
        made["tool_calls"] = [{**call, "id": nine(call["id"])} for call in made["tool_calls"]]
    if "tool_call_id" in made:
        made["tool_call_id"] = nine(made["tool_call_id"])
    return made
