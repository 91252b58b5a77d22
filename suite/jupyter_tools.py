"""The tools as functions in the process of a Jupyter server: `jupyter-server-mcp` finds their names by an entry point, and Jupyter AI calls them.

They run nothing here. Each is a request to the stack that runs on the data directory, decided and recorded there like any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from suite.errors import StartError

_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


def names() -> list[str]:
    """What the entry point `jupyter_server_mcp.tools` gives: `module:function` of every tool."""
    return [f"{__name__}:{name}" for name in _described()]


def __getattr__(name: str) -> Callable[..., Any]:
    """The function of a tool, made when it is asked for."""
    tools = _described()
    if name not in tools:
        raise AttributeError(f"there is no tool {name!r}")
    return _function(tools[name])


def _described() -> dict[str, Any]:
    from suite.tools.offer import Parts, every_tool

    return {tool.name: tool for tool in every_tool(Parts())}


def _function(tool: Any) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return _call(tool.name, {name: value for name, value in arguments.items() if value is not None})

    properties, required = tool.schema.get("properties", {}), tool.schema.get("required", ())
    call.__name__ = call.__qualname__ = tool.name
    call.__doc__ = tool.description
    ordered = sorted(properties, key=lambda name: name not in required)  # those without a default come first in a signature
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=_type(properties[name]),
                                    default=inspect.Parameter.empty if name in required else properties[name].get("default")) for name in ordered]
    call.__signature__ = inspect.Signature(parameters, return_annotation=dict[str, Any])  # type: ignore[attr-defined]
    call.__annotations__ = {**{parameter.name: parameter.annotation for parameter in parameters}, "return": dict[str, Any]}
    return call


def _type(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    kind = schema.get("type", "string")
    return _TYPES[kind if isinstance(kind, str) else kind[0]]


def _call(name: str, arguments: dict[str, Any]) -> Any:
    from suite import host
    from suite.guest import ANSWER_SECONDS
    from suite.http.client import Client
    from suite.http.remote_tools import RemoteTools
    from suite.settings import load

    record = host.read(load().data_dir / "run")
    if record is None or not record.alive():
        raise StartError("Nothing runs on this data directory; `suite up` starts the stack whose tools these are.")
    with Client(record.url("mcp-server"), record.token(), timeout=ANSWER_SECONDS) as client:
        return RemoteTools(client).call(name, arguments, cwd=Path.cwd()).value
