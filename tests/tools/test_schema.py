"""Schemas are made from signatures, and what they say is enforced."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest

from suite.errors import BadRequest
from suite.tools.schema import check_arguments, refuse_unenforced, schema_of
from suite.tools.tool import tool_of


def sample(query: Annotated[str, {"description": "What to look for.", "minLength": 1}], k: Annotated[int, {"minimum": 1, "maximum": 50}] = 3,
           mode: Literal["dense", "hybrid"] = "hybrid", tags: list[str] | None = None, exact: bool = False) -> None:
    """Search."""


def test_a_signature_becomes_a_schema() -> None:
    assert schema_of(sample) == {
        "type": "object", "required": ["query"], "additionalProperties": False, "properties": {
            "query": {"type": "string", "description": "What to look for.", "minLength": 1},
            "k": {"type": "integer", "minimum": 1, "maximum": 50, "default": 3},
            "mode": {"enum": ["dense", "hybrid"], "default": "hybrid"},
            "tags": {"type": ["array", "null"], "items": {"type": "string"}, "default": None},
            "exact": {"type": "boolean", "default": False}}}


@pytest.mark.parametrize("good", [
    {"query": "a"}, {"query": "안녕", "k": 50, "mode": "dense", "tags": None, "exact": True}, {"query": "a", "tags": ["x"]},
])
def test_fitting_arguments_pass(good: dict[str, Any]) -> None:
    assert check_arguments("sample", schema_of(sample), good) == good


@pytest.mark.parametrize(("bad", "names"), [
    ({}, "query"), ({"query": ""}, "query"), ({"query": "a", "k": 0}, "k"), ({"query": "a", "k": 51}, "k"), ({"query": "a", "k": 1.5}, "k"),
    ({"query": "a", "k": True}, "k"), ({"query": "a", "k": float("nan")}, "k"), ({"query": "a", "mode": "other"}, "mode"),
    ({"query": "a", "mode": ["dense"]}, "mode"), ({"query": "a", "tags": "x"}, "tags"), ({"query": "a", "exact": 1}, "exact"),
    ({"query": "a", "K": 3}, "K"), ({"query": "a", "tags": [1]}, r"tags[0]"),
])
def test_arguments_that_do_not_fit_are_refused_by_name(bad: dict[str, Any], names: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(f"'{names}'")) as caught:
        check_arguments("sample", schema_of(sample), bad)
    assert caught.value.facts["param"] == names


def test_lists_and_objects_are_looked_into() -> None:
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}},
                                                                                    "required": ["n"]}}}}
    refuse_unenforced(schema, "x")
    check_arguments("x", schema, {"rows": [{"n": 1}, {"n": 2.5}]})
    for rows in ([{"n": "1"}], [{}], [{"n": 1, "m": 2}], [1]):
        with pytest.raises(BadRequest, match=r"rows\[0\]"):
            check_arguments("x", schema, {"rows": rows})


def test_a_schema_may_refer_to_its_definitions_and_they_are_enforced() -> None:
    tree = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}, "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["n"]}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"tree": tree}, "type": "object",
              "properties": {"root": {"$ref": "#/$defs/tree", "description": "where it begins"}}}
    assert tool_of(lambda root: None, name="x", schema=schema).schema == schema
    check_arguments("x", schema, {"root": {"n": 1, "below": [{"n": 2, "below": []}]}})
    for root, where in (({"n": "1"}, "root.n"), ({}, "n"), ({"n": 1, "below": [{"n": 4}]}, "root.below[0].n"), ({"n": 1, "more": 2}, "more"), (1, "root")):
        with pytest.raises(BadRequest) as caught:
            check_arguments("x", schema, {"root": root})
        assert caught.value.facts["param"] == where


def refers(to: Any, **defs: Any) -> dict[str, Any]:
    """A schema whose one argument is such a reference."""
    return {"type": "object", "properties": {"a": to}, "$defs": defs}


@pytest.mark.parametrize("schema", [
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}},
    {"type": "object", "additionalProperties": True}, {"type": "object", "anyOf": []},
    refers({"$ref": "#/$defs/none"}), refers({"$ref": "https://example.org/a"}), refers({"$ref": "a"}, a={"type": "string"}), refers({"$ref": 1}),
    refers({"$ref": "#/$defs/a", "minimum": 1}, a={"type": "integer"}), refers({"$ref": "#/$defs/a"}, a={"type": "string", "pattern": "x"}),
    refers({"$ref": "#/$defs/a"}, a={"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/a"}), {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}, "type": "object"},
    refers({"type": "object", "$defs": {}}),
])
def test_a_schema_that_would_not_be_enforced_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        tool_of(lambda: None, name="x", schema=schema)


def test_a_parameter_without_a_usable_type_is_refused() -> None:
    def untyped(a) -> None: ...

    def odd(a: object) -> None: ...

    def many(*a: int) -> None: ...

    for function in (untyped, odd, many):
        with pytest.raises(BadRequest, match="'a'"):
            schema_of(function)
