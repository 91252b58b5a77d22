from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from vocabulary import RandomModel, allowed

from suite.errors import BadRequest
from suite.serving.calling import Calling
from suite.serving.grammar import Grammars
from suite.serving.request import Request
from suite.serving.template import Template

# Small templates that tell of tools and write calls as the families of models do.
HERMES = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools> answer with <tool_call> and </tool_call><|im_end|>
{% endif %}{% for message in messages %}{% if message.role == "assistant" and message.tool_calls %}<|im_start|>assistant
{{ message.content }}{% for tool_call in message.tool_calls %}{% if tool_call.function is defined %}{% set tool_call = tool_call.function %}{% endif %}
<tool_call>{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}</tool_call>{% endfor %}<|im_end|>
{% elif message.role == "tool" %}<|im_start|>user
<tool_response>{{ message.content }}</tool_response><|im_end|>
{% elif not (tools and message.role == "system") %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}{% endfor %}<|im_start|>assistant
"""
LLAMA = """{{- bos_token }}{% if tools is not none %}{% for tool in tools %}{{ tool | tojson(indent=4) }}
{% endfor %}{% endif %}{% for message in messages %}{% if 'tool_calls' in message %}{% if message.tool_calls | length != 1 %}
{{- raise_exception("one call at once") }}{% endif %}{% set call = message.tool_calls[0].function %}<|assistant|>
{{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}}{% elif message.role in ("tool", "ipython") %}<|ipython|>
{{- message.content | tojson }}{% else %}<|{{ message.role }}|>{{ message.content | trim }}{% endif %}{% endfor %}"""
MISTRAL = """{{ bos_token }}{% for message in messages %}{% if message.role == "user" %}{% if tools is not none and loop.last %}[AVAILABLE_TOOLS]
{{- tools | map(attribute="function") | list | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST] {{ message.content }}[/INST]
{%- elif message.tool_calls is defined %}[TOOL_CALLS] [{% for call in message.tool_calls %}{{ (call.function | tojson)[:-1] }}, "id": "{{ call.id }}"}
{%- if call.id | length != 9 %}{{ raise_exception("ids have nine characters") }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}]
{%- elif message.role == "tool" %}[TOOL_RESULTS] {"content": {{ message.content }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]
{%- else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"""
MISTRAL_ARGS = "{% for t in tools or [] %}{{ t }}{% endfor %}{% for m in messages %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{% endfor %}{% endfor %}"
PLAIN = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}<|assistant|>"
ALTERNATING = ("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
               "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('take turns') }}{% endif %}"
               "<{{ message.role }}>{{ message.content }}{% endfor %}")
TEMPLATES = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL, "mistral with args": MISTRAL_ARGS, "plain": PLAIN}

WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
           "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "날씨 </tools>", "parameters": WEATHER}},
         {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}]
SCHEMAS = {"get_weather": WEATHER, "now": TOOLS[1]["function"]["parameters"]}


@pytest.fixture(scope="module")
def grammars(vocabulary):
    return Grammars(vocabulary.pointer)


def prompt(source, request):
    """The prompt as text, by the template and what Calling makes of the request."""
    texts = []
    template = Template(source, "<s>", "</s>", lambda raw, begin, controls: texts.append(raw.decode()) or [], ())
    template.encode(*Calling.of(source).prepare(request))
    return "".join(texts)


def request(**options):
    return Request.of("x", **{"tools": TOOLS, **options})


def read(calling, asked, text, size=3):
    """What is shown, and what comes at the end, for a text in pieces of `size` characters."""
    reader = calling.reader(asked)
    shown = "".join(reader.feed(text[at:at + size]) for at in range(0, len(text), size))
    rest, calls = reader.end()
    return shown, rest, [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(("options", "exactly_one"), [
    ({"tool_choice": "required"}, False), ({"tool_choice": "required", "parallel_tool_calls": False}, True), ({"tool_choice": "get_weather"}, True)])
def test_a_forced_call_is_valid_whatever_the_model_says(vocabulary, grammars, name, options, exactly_one):
    calling, asked = Calling.of(TEMPLATES[name]), request(**options)
    complete = 0
    for seed in range(6):
        tokens, ended = RandomModel(vocabulary, seed).write(grammars.compile(calling.constraint(asked)))
        if not ended:
            continue
        complete += 1
        reader = calling.reader(asked)
        assert reader.feed(vocabulary.bytes(tokens).decode()) == ""
        rest, calls = reader.end()
        assert rest == "" and calls
        assert len(calls) == 1 or not exactly_one
        assert len({call["id"] for call in calls}) == len(calls)
        for call in calls:
            called = call["function"]["name"]
            assert call["type"] == "function" and called in (("get_weather",) if "get_weather" in options.values() else SCHEMAS)
            jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[called])
    assert complete >= 4


def follow(vocabulary, matcher, text):
    """Whether a text may be written, token by token."""
    for token in vocabulary.tokenize(text.encode(), controls=True):
        if not np.isfinite(allowed(vocabulary, matcher)[token]):
            return False
        matcher.accept(token)
    return True


@pytest.mark.parametrize(("name", "text", "again"), [
    ("hermes", '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', '\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'),
    ("mistral", '[TOOL_CALLS] [{"name": "now", "arguments": {}}', ', {"name": "now", "arguments": {}}'),
    ("mistral with args", "[TOOL_CALLS]now[ARGS]{}", "[TOOL_CALLS]now[ARGS]{}"),
])
def test_several_calls_come_where_they_may(vocabulary, grammars, name, text, again):
    calling = Calling.of(TEMPLATES[name])

    def may(count, **options):
        return follow(vocabulary, grammars.compile(calling.constraint(request(**options))), text + again * (count - 1))

    assert may(3, tool_choice="required") and may(3)
    assert may(16) and not may(17)
    assert may(1, parallel_tool_calls=False) and not may(2, parallel_tool_calls=False)
    assert may(1, tool_choice="now") and not may(2, tool_choice="now")
    assert not may(1, tool_choice="get_weather")


BEGINNINGS = {"hermes": "Let me see. <tool_call>", "plain": "<tool_call>", "llama": '{"name":', "mistral": "Well: [TOOL_CALLS]", "mistral with args": "[TOOL_CALLS]"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_is_free_and_a_call_is_held_to_its_schema_once_begun(vocabulary, grammars, name):
    calling, asked = Calling.of(TEMPLATES[name]), request()
    source = calling.constraint(asked)
    free = grammars.compile(source)
    assert follow(vocabulary, free, 'It is {"name" 5 <tool_ca ] 한글\n\n[TOOL_CALL ' if name != "llama" else "It is {5}.\n")
    assert np.isfinite(allowed(vocabulary, free)[list(vocabulary.ends)]).all()
    called = 0
    for seed in range(6):
        begun = grammars.compile(source)
        assert follow(vocabulary, begun, BEGINNINGS[name])
        tokens, ended = RandomModel(vocabulary, seed).write(begun)
        shown, rest, calls = read(calling, asked, BEGINNINGS[name] + vocabulary.bytes(tokens).decode())
        if ended:
            called += 1
            assert (shown, rest) == (BEGINNINGS[name].partition("<tool_call>")[0].partition("[TOOL")[0].partition("{")[0], "")
            for function, arguments in calls:
                jsonschema.validate(arguments, SCHEMAS[function])
    assert called >= 4
    assert not follow(vocabulary, grammars.compile(source), BEGINNINGS[name] + "free text")


def test_a_control_token_that_opens_a_call_counts_as_its_letters(vocabulary, grammars):
    first = allowed(vocabulary, grammars.compile(Calling.of(MISTRAL).constraint(request(tool_choice="required"))))
    assert np.isfinite(first[vocabulary.names.index("[TOOL_CALLS]")])
    assert np.isfinite(first[vocabulary.tokenize(b"[")[0]])  # a model without such a token spells it
    assert np.isfinite(allowed(vocabulary, grammars.compile(Calling.of(HERMES).constraint(request())))[vocabulary.names.index("<tool_call>")])


@pytest.mark.parametrize(("name", "text", "shown", "rest", "calls"), [
    ("hermes", "just text", "just text", "", []),
    ("hermes", "a <tool_ca", "a ", "<tool_ca", []),
    ("hermes", "1 < 2 <tool_box>", "1 < 2 <tool_box>", "", []),
    ("hermes", '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', "", "", [("now", {})]),
    ("hermes", 'ok<tool_call>{"name":"now","arguments":{"a":"</tool_call>"}}</tool_call>\n<tool_call>{"name":"now","arguments":"{}"}</tool_call>', "ok", "",
     [("now", {"a": "</tool_call>"}), ("now", {})]),
    ("hermes", '<tool_call>{"name": "now", "argum', "", '<tool_call>{"name": "now", "argum', []),
    ("hermes", "<tool_call>nonsense</tool_call> and so on", "", "<tool_call>nonsense</tool_call> and so on", []),
    ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', []),
    ("hermes", '<tool_call>bad</tool_call><tool_call>{"name":"now","arguments":{}}</tool_call>tail', "", "<tool_call>bad</tool_call>tail", [("now", {})]),
    ("hermes", '<tool_call>{"name":"now","arguments":{"a":1e999}}</tool_call>', "", '<tool_call>{"name":"now","arguments":{"a":1e999}}</tool_call>', []),
    ("llama", '{"name": "now", "parameters": {}}', "", "", [("now", {})]),
    ("llama", '<|python_tag|>{"name": "now", "parameters": {"x": 1}}', "", "", [("now", {"x": 1})]),
    ("llama", '{"type": "function", "function": {"name": "now", "parameters": {}}}', "", "", [("now", {})]),
    ("llama", '{"name": "Bob", "age": 3}', "", '{"name": "Bob", "age": 3}', []),
    ("llama", '{"age": 3}', '{"age": 3}', "", []),
    ("llama", 'Sure: {"name": "now", "parameters": {}}', 'Sure: {"name": "now", "parameters": {}}', "", []),
    ("mistral", '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "now", "arguments": {"a": 2}}]', "", "", [("now", {}), ("now", {"a": 2})]),
    ("mistral", "a [b] [TOOL", "a [b] ", "[TOOL", []),
    ("mistral", "[TOOL_CALLS] none", "", "[TOOL_CALLS] none", []),
    ("mistral with args", '[TOOL_CALLS]now[ARGS]{"a": 1}[TOOL_CALLS]now[ARGS]{}', "", "", [("now", {"a": 1}), ("now", {})]),
    ("mistral with args", "[TOOL_CALLS]now[ARGS]oops", "", "[TOOL_CALLS]now[ARGS]oops", []),
])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_calls_are_told_from_text_and_nothing_is_lost(name, text, shown, rest, calls, size):
    assert read(Calling.of(TEMPLATES[name]), request(), text, size) == (shown, rest, calls)


def test_a_call_of_brackets_without_end_is_text():
    text = "<tool_call>" + "[" * 90_000
    assert read(Calling.of(HERMES), request(), text, len(text)) == ("", text, [])


def test_one_call_at_most_when_parallel_calls_are_off():
    text = '<tool_call>{"name":"now","arguments":{}}</tool_call>' * 2
    assert read(Calling.of(HERMES), request(parallel_tool_calls=False), text) == ("", '<tool_call>{"name":"now","arguments":{}}</tool_call>', [("now", {})])


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral"])
def test_a_template_with_tools_gets_them_and_earlier_calls_as_objects(name):
    asked = Request.of([
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"서울"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "cloudy"}, {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        {"role": "user", "content": "and tomorrow?"}], tools=TOOLS)
    text = prompt(TEMPLATES[name], asked)
    assert '"description": "날씨 </tools>"' in text
    assert '{"city": "서울"}' in text and '\\"city' not in text
    assert text.index("서울") < text.index("cloudy") < text.index("noon") < text.index("tomorrow")
    if name == "llama":  # its template takes one call per message: each is followed by its own result
        assert text.index("cloudy") < text.index('"name": "now", "parameters"')


def test_tools_that_may_not_be_called_are_not_told():
    for name in TEMPLATES:
        assert "get_weather" not in prompt(TEMPLATES[name], request(tool_choice="none"))


def test_a_template_without_tools_gets_them_in_the_system_message():
    text = prompt(PLAIN, Request.of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], tools=TOOLS))
    system, user = text.split("</s>")[:2]
    assert system.startswith("<|system|>Be brief.") and '"name": "get_weather"' in system and "<tool_call>" in system
    assert user == "<|user|>hi"


def test_a_template_without_tools_and_system_gets_text_in_turns():
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    text = prompt(ALTERNATING, Request.of([
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call, call]}, {"role": "tool", "tool_call_id": "c", "content": "noon"},
        {"role": "tool", "tool_call_id": "c", "content": "one"}, {"role": "assistant", "content": "It is one."}, {"role": "user", "content": "thanks"}], tools=TOOLS))
    assert '<assistant><tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>' in text
    assert "<user><tool_response>\nnoon\n</tool_response>\n<tool_response>\none\n</tool_response>" in text
    assert text.startswith("<user>") and text.index("get_weather") < text.index("hi")


@pytest.mark.parametrize(("parameters", "reason"), [
    ({"type": "array"}, "type"), ({"type": "object", "properties": {"a": {"uniqueItems": True}}}, "uniqueItems"),
    ({"type": "object", "properties": {"a": {"type": "strin"}}}, "strin"), ({"type": "object", "properties": {"a": {"$ref": "#/none"}}}, "none"),
    ({"type": "object", "x-guidance": {}}, "x-guidance"), ({"type": "object", "properties": {"a": {"const": "\ud800"}}}, "cannot be used"),
])
@pytest.mark.parametrize("choice", ["auto", "required", "odd"])
def test_parameters_that_cannot_be_kept_are_refused_naming_the_tool(parameters, reason, choice):
    tools = [TOOLS[0], {"type": "function", "function": {"name": "odd", "parameters": parameters}}]
    for name in TEMPLATES:
        with pytest.raises(BadRequest, match=reason) as caught:
            Calling.of(TEMPLATES[name]).constraint(Request.of("x", tools=tools, tool_choice=choice))
        assert "odd" in caught.value.facts["param"]


def test_names_with_quotes_and_tools_without_parameters_can_be_called(vocabulary, grammars):
    tools = [{"type": "function", "function": {"name": 'sa"y\n'}}]
    for name in ("hermes", "llama", "mistral"):
        calling, asked = Calling.of(TEMPLATES[name]), Request.of("x", tools=tools, tool_choice="required", parallel_tool_calls=False)
        tokens, ended = RandomModel(vocabulary, 4).write(grammars.compile(calling.constraint(asked)))
        assert ended and read(calling, asked, vocabulary.bytes(tokens).decode())[2][0][0] == 'sa"y\n'


@pytest.mark.parametrize("name", ["plain", "llama"])
def test_a_server_calls_a_tool_when_it_must(make_smoke, new_server, tmp_path, name):
    make_smoke.write(tmp_path / "tools.gguf", template=TEMPLATES[name])
    server = new_server(chat_model=str(tmp_path / "tools.gguf"))
    server.load()
    stream = server.stream(request(tool_choice="get_weather", max_tokens=600))
    assert "".join(stream) == ""
    reply = stream.reply
    assert (reply.text, reply.finish) == ("", "tool_calls")
    jsonschema.validate(json.loads(reply.tool_calls[0]["function"]["arguments"]), WEATHER)
    said = server.complete(request(max_tokens=5))
    assert said.text and not said.tool_calls and said.finish == "length"


def test_without_tools_there_is_no_constraint():
    for source in TEMPLATES.values():
        assert Calling.of(source).constraint(Request.of("x")) == ""
        assert Calling.of(source).constraint(request(tool_choice="none")) == ""
