from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import BadRequest
from suite.serving.request import RANGES, WHOLE, Request

TOOL = {"type": "function", "function": {"name": "now", "description": "the time", "parameters": {"type": "object"}}}
OPTIONS = [field.name for field in dataclasses.fields(Request) if field.name != "messages"]


def deep(levels=950):
    made: object = 1
    for _ in range(levels):
        made = [made]
    return made


def refused(messages="hi", **options):
    """The name of what is refused, after a look at the error's text."""
    with pytest.raises(BadRequest) as caught:
        Request.of(messages, **options)
    message = caught.value.message
    assert "\n" not in message and message.endswith(".") and len(message) < 700, message
    return caught.value.facts["param"]


def test_a_text_is_one_message_of_the_user():
    assert Request.of("안녕").messages == ({"role": "user", "content": "안녕"},)
    assert Request.of("안녕") == Request.of([{"role": "user", "content": "안녕"}])


def test_options_that_are_none_are_left_to_the_server():
    assert Request.of("hi", **dict.fromkeys(OPTIONS)) == Request.of("hi")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match=r"tempratur.*temperature") as caught:
        Request.of("hi", tempratur=1)
    assert caught.value.facts["param"] == "tempratur"


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_have_their_range(name):
    least, most = WHOLE[name]
    for value in (least, most):
        assert getattr(Request.of("hi", **{name: value}), name) == value
    for value in (least - 1, most + 1, float(least), str(least), True, [least], math.nan, 10**5000):
        assert refused(**{name: value}) == name


@pytest.mark.parametrize("name", RANGES)
def test_numbers_have_their_range(name):
    low, high, closed = RANGES[name]
    for value in (high, int(high), (low + high) / 2, *([low] if closed else [])):
        assert getattr(Request.of("hi", **{name: value}), name) == value
    for value in (low - 0.1, high + 0.1, math.nan, math.inf, -math.inf, "1", True, [1.0], {}, 10**400, 10**5000, *([] if closed else [low])):
        assert refused(**{name: value}) == name


@pytest.mark.parametrize("name", ["ignore_eos", "cache_prompt", "parallel_tool_calls"])
def test_switches_are_true_or_false(name):
    assert [getattr(Request.of("hi", **{name: value}), name) for value in (True, False)] == [True, False]
    for value in (1, 0, "true", [], deep()):
        assert refused(**{name: value}) == name


def test_stop_texts():
    assert Request.of("hi", stop="end").stop == ("end",)
    assert Request.of("hi", stop=["a", "b" * 200]).stop == ("a", "b" * 200)
    assert Request.of("hi", stop=[]).stop == ()
    for value in ("", [""], ["a"] * 17, ["b" * 201], [1], 5, {"a": 1}, [["a"]], deep()):
        assert refused(stop=value) == "stop"


def test_biases_of_tokens():
    assert Request.of("hi", logit_bias={"5": -100, 7: 2.5}).logit_bias == ((5, -100.0), (7, 2.5))
    assert Request.of("hi", logit_bias={}).logit_bias == ()
    for value in ({"x": 1}, {-1: 1}, {1: 101}, {1: math.nan}, {1: "1"}, {True: 1}, {1 << 31: 1}, {"9" * 5000: 1}, {1.5: 1}, [[1, 2]], "1", 3, ((1, 2, 3),),
                  dict.fromkeys(range(1025), 1), {1: 10**400}):
        assert refused(logit_bias=value) == "logit_bias"


def test_the_model_is_a_text():
    assert Request.of("hi", model="chat").model == "chat"
    for value in (1, ["chat"], {}):
        assert refused(model=value) == "model"


def test_a_schema_comes_as_text_or_object():
    assert json.loads(Request.of("hi", json_schema={"type": "object"}).json_schema) == {"type": "object"}
    assert Request.of("hi", json_schema='{"a": 1}').json_schema == '{"a": 1}'
    assert Request.of("hi", json_schema={}).json_schema == "{}"
    assert Request.of("hi", json_schema=True).json_schema == "true"
    loop: dict = {}
    loop["a"] = loop
    for value in (3, [1], {"a": {1, 2}}, {("a",): 1}, {"a": math.nan}, loop, {"a": deep(100_000)}, "x" * 256_001):
        assert refused(json_schema=value) == "json_schema"


def test_constraints_exclude_each_other():
    assert refused(grammar='root ::= "a"', json_schema="{}") == "grammar"
    assert refused(grammar='root ::= "a"', tools=[TOOL]) == "tools"
    assert refused(json_schema="{}", tools=[TOOL]) == "tools"
    assert Request.of("hi", json_schema="{}", tools=[TOOL], tool_choice="none").json_schema == "{}"
    for value in (3, ["root"], "x" * 256_001):
        assert refused(grammar=value) == "grammar"


def test_a_prompt_replaces_messages():
    asked = Request.of(prompt="def f(", suffix="return")
    assert asked.raw and asked.messages == () and (asked.prompt, asked.suffix) == ("def f(", "return")
    assert Request.of(prompt="", suffix="x").raw
    assert not Request.of("hi").raw
    assert refused(prompt="x") == "prompt"
    assert refused((), prompt="") == "prompt"
    assert refused((), prompt=5) == refused((), prompt=deep()) == "prompt"
    assert refused((), prompt="a", suffix=5) == "suffix"
    assert refused(suffix="a") == "suffix"
    assert refused((), prompt="x", tools=[TOOL]) == "tools"


@pytest.mark.parametrize(("messages", "param"), [
    ((), "messages"), ([], "messages"), ("", "messages"), ("  \n", "messages"), (5, "messages"), ({"role": "user", "content": "x"}, "messages"),
    (["hi"], "messages[0]"), ([None], "messages[0]"), ([[1]], "messages[0]"), ([deep()], "messages[0]"), ([{}], "messages[0].role"),
    ([{"role": "robot", "content": "x"}], "messages[0].role"), ([{"role": ["user"], "content": "x"}], "messages[0].role"),
    ([{"role": "user"}], "messages[0].content"), ([{"role": "user", "content": 5}], "messages[0].content"), ([{"role": "user", "content": deep()}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content"), ([{"role": "assistant", "content": None}], "messages[0].content"),
    ([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text"}]}], "messages[1].content"),
    ([{"role": "user", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls"), ([{"role": "tool", "content": "x", "tool_call_id": 5}], "messages[0].tool_call_id"),
    ([{"role": "user", "content": "x", "name": {}}], "messages[0].name"),
])
def test_messages_that_cannot_be_used_are_named(messages, param):
    assert refused(messages) == param


def test_messages_are_taken_in_openais_forms():
    asked = Request.of([
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "시간\ud800?", "name": "kim"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"}])
    assert asked.messages == (
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "시간??", "name": "kim"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"})


@pytest.mark.parametrize("call", [
    5, {}, {"function": "now"}, {"function": {"name": "now", "arguments": "{"}}, {"function": {"name": "now", "arguments": "[1]"}}, {"function": {"name": 5}},
    {"function": {"name": "now", "arguments": {"a": 1}}}, {"function": {"name": "now", "arguments": "[" * 100_000}}, {"id": 5, "function": {"name": "now"}},
    {"function": {"name": "now", "arguments": "9" * 5000}}, {"id": deep(), "function": {"name": "now"}},
])
def test_calls_that_cannot_be_used_are_named(call):
    rows = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [{"id": None, "function": {"name": "now"}}, call]}]
    assert refused(rows) == "messages[1].tool_calls[1]"


@pytest.mark.parametrize(("options", "param"), [
    ({"tools": 5}, "tools"), ({"tools": {"type": "function"}}, "tools"), ({"tools": [5]}, "tools[0]"), ({"tools": [{"type": "retrieval"}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"), ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": [1]}}]}, "tools[0]"), ({"tools": [TOOL, TOOL]}, "tools"), ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a", "description": {1}}}]}, "tools[0]"),
    ({"tools": [TOOL, {"type": "function", "function": {"name": "a", "parameters": {"maximum": math.inf}}}]}, "tools[1]"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"a": deep(100_000)}}}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {"name": "a", "description": "x" * 256_000}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "none"}}]}, "tools"), ({"tools": [TOOL], "tool_choice": "later"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"), ({"tool_choice": "required"}, "tool_choice"), ({"tool_choice": deep()}, "tool_choice"),
])
def test_tools_that_cannot_be_used_are_named(options, param):
    assert refused(**options) == param


def test_tools_are_taken_in_openais_form():
    asked = Request.of("hi", tools=[{"function": {"name": "now"}}, TOOL | {"function": TOOL["function"] | {"name": "then"}}], tool_choice="now")
    assert [tool["type"] for tool in asked.tools] == ["function", "function"] and asked.tool_choice == "now"
    assert Request.of("hi", tools=[]).tools == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -1, 2**64]) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["\ud800", "user", "text", "auto", "required", "{}", "now", "\0", 'root ::= "a"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "parameters", "arguments", "id", "5", "\ud800"]), inner, max_size=5),
    max_leaves=12)


@settings(max_examples=400, deadline=None)
@given(messages=st.just("hi") | VALUES, options=st.dictionaries(st.sampled_from([*OPTIONS, "nonsense"]), VALUES, max_size=3))
def test_any_value_gives_a_request_or_a_bad_request(messages, options):
    try:
        asked = Request.of(messages, **options)
    except BadRequest as error:
        assert error.message.endswith(".") and "\n" not in error.message and len(error.message) < 700
    else:
        json.dumps(dataclasses.asdict(asked))  # it can travel to a child process
