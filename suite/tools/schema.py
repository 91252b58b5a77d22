"""JSON schemas of tools: made from typed signatures, and really enforced on arguments."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from suite.errors import BadArguments, BadRequest

_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object", list: "array"}
_CHECKED = {"type", "enum", "minimum", "maximum", "minLength", "maxLength", "items", "properties", "required", "additionalProperties"}
_SAYS = {"title", "description", "default", "examples", "$schema"}  # for people and models; nothing to check
DEFS = "#/$defs/"  # how a $ref begins: to a definition at the root of the same schema


def schema_of(function: Callable[..., Any], leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The schema of a function's parameters; `Annotated[type, {...}]` adds schema words, e.g. a description or bounds.

    Raises BadRequest for a parameter without a type that JSON knows.
    """
    hints = get_type_hints(function, include_extras=True)
    properties, required = {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out:
            continue
        if name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BadRequest(f"Parameter {name!r} of {function.__name__} needs a type and a name of its own; annotate it.")
        properties[name] = _of_type(hints[name], name)
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            properties[name]["default"] = parameter.default
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def output_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The schema of what a function gives: the fields of a TypedDict, or any object; more fields than named may always come."""
    hint = get_type_hints(function, include_extras=True).get("return")
    if not typing.is_typeddict(hint):
        return {"type": "object"}
    return _of_record(hint)


def _of_record(record: Any) -> dict[str, Any]:
    properties = {name: _of_type(hint, name) for name, hint in get_type_hints(record, include_extras=True).items()}
    return {"type": "object", "properties": properties, "required": sorted(record.__required_keys__)}


def _of_type(hint: Any, name: str) -> dict[str, Any]:
    if get_origin(hint) is typing.Annotated:
        inner, *extras = get_args(hint)
        schema = _of_type(inner, name)
        for extra in extras:
            schema |= extra if isinstance(extra, dict) else {"description": extra} if isinstance(extra, str) else {}
        return schema
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) in (typing.Union, types.UnionType):
        choices = [_of_type(one, name) for one in get_args(hint)]
        if all(isinstance(choice.get("type"), str) for choice in choices):  # words such as `items` bind only values of their own kind
            return {word: value for choice in choices for word, value in choice.items()} | {"type": [choice["type"] for choice in choices]}
    if typing.is_typeddict(hint):
        return _of_record(hint)
    if get_origin(hint) is list:
        return {"type": "array", "items": _of_type(get_args(hint)[0], name)}
    if get_origin(hint) is dict or hint in _TYPES:
        return {"type": _TYPES[get_origin(hint) or hint]}
    raise BadRequest(f"Parameter {name!r} has the type {hint}, which has no JSON schema here; pass an explicit schema.")


def refuse_unenforced(schema: Mapping[str, Any], where: str) -> None:
    """Raise BadRequest when a schema asks for something that `check` does not enforce: a promise unkept is worse than none."""
    defs = schema.get("$defs", {})
    for name, inner in defs.items():
        if "$ref" in inner:  # so that following references ends
            raise BadRequest(f"The definition {name!r} in the schema of {where} only refers to another; refer to that one.")
        _refuse(inner, f"{where}.$defs.{name}", defs)
    _refuse({word: value for word, value in schema.items() if word != "$defs"}, where, defs)


def _refuse(schema: Mapping[str, Any], where: str, defs: Mapping[str, Any]) -> None:
    if "$ref" in schema:
        target = str(schema["$ref"])
        if not target.startswith(DEFS) or target.removeprefix(DEFS) not in defs:
            raise BadRequest(f"The schema of {where} refers to {target[:80]!r}, which is not there; refer to {DEFS} and a name in $defs.")
        if more := sorted(set(schema) - {"$ref"} - _SAYS):
            raise BadRequest(f"The schema of {where} has {more[0]!r} beside '$ref', which is not enforced here; put it in the definition.")
        return
    if strange := sorted(set(schema) - _CHECKED - _SAYS):
        raise BadRequest(f"The schema of {where} uses {strange[0]!r}, which is not enforced here; use {', '.join(sorted(_CHECKED))}.")
    if schema.get("additionalProperties", False) is not False:
        raise BadRequest(f"The schema of {where} lets any argument in; set additionalProperties to false and name the arguments.")
    for name, inner in schema.get("properties", {}).items():
        _refuse(inner, f"{where}.{name}", defs)
    if "items" in schema:
        _refuse(schema["items"], f"{where}[]", defs)


def check_arguments(tool: str, schema: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    """The arguments as a new dict; raises BadArguments that names the first one which is unknown, missing or of the wrong kind."""
    if not isinstance(arguments, Mapping):
        raise BadArguments(f"Arguments of {tool} must be an object of names and values, not {type(arguments).__name__}.", param="arguments")
    _check_object(tool, "", schema, arguments, schema.get("$defs", {}))
    return dict(arguments)


def _check_object(tool: str, path: str, schema: Mapping[str, Any], value: Mapping[str, Any], defs: Mapping[str, Any]) -> None:
    properties = schema.get("properties", {})
    takes = f"it takes {', '.join(properties) or 'none'}"
    for name in value:
        if name not in properties:
            raise BadArguments(f"{tool} has no argument {_named(path, str(name))}; {takes}.", param=str(name)[:80])
    for name in schema.get("required", ()):
        if name not in value:
            raise BadArguments(f"{tool} needs the argument {_named(path, name)}; {takes}.", param=name)
    for name, inner in value.items():
        _check_value(tool, f"{path}.{name}".lstrip("."), properties[name], inner, defs)


def _check_value(tool: str, path: str, schema: Mapping[str, Any], value: Any, defs: Mapping[str, Any]) -> None:
    if "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix(DEFS)]

    def refuse(wanted: str) -> None:
        raise BadArguments(f"Argument {path!r} of {tool} must be {wanted}, not {str(value)[:60]!r}.", param=path)

    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        refuse(f"of type {' or '.join(kinds)}")
    if "enum" in schema and not any(value == choice and type(value) is type(choice) for choice in schema["enum"]):
        refuse(f"one of {', '.join(map(repr, schema['enum']))}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not schema.get("minimum", float("-inf")) <= value <= schema.get("maximum", float("inf")):
        refuse(f"from {schema.get('minimum', 'any')} to {schema.get('maximum', 'any')}")
    if isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        refuse(f"{schema.get('minLength', 0)} to {schema.get('maxLength', 'any number of')} characters long")
    if isinstance(value, Mapping) and "properties" in schema:
        _check_object(tool, path, schema, value, defs)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _check_value(tool, f"{path}[{index}]", schema["items"], item, defs)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    wanted: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "null": type(None), "array": list, "object": Mapping}
    return kind in wanted and isinstance(value, wanted[kind])


def _named(path: str, name: str) -> str:
    return repr(f"{path}.{name}".lstrip(".")[:80])
