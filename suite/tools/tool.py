"""A tool, where it may look, and what a call of it gave."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import render
from suite.access.decide import Decision
from suite.tools.schema import refuse_unenforced, schema_of

PLACE = "place"  # a tool function with a parameter of this name is told where it runs


@dataclass(frozen=True)
class Place:
    """Where a call runs: file paths are relative to `cwd` and may not leave `workspace`; `private` folders are never shown."""

    workspace: Path
    cwd: Path
    private: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Tool:
    """Something that can be called. `run(place=…, **arguments)` is None in a guest, which calls over HTTP."""

    name: str
    description: str
    schema: Mapping[str, Any]
    sensitivity: str = ""
    permission: str = ""
    run: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Tool({self.name}, {self.sensitivity}, needs {self.permission})"

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `inputSchema` is the name that MCP gives it."""
        return {"name": self.name, "description": self.description, "inputSchema": dict(self.schema), "sensitivity": self.sensitivity,
                "permission": self.permission}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tool:
        """The tool that `to_dict` described, without its function."""
        return cls(data["name"], data["description"], data["inputSchema"], data["sensitivity"], data["permission"])


def tool_of(function: Callable[..., Any], *, name: str = "", schema: Mapping[str, Any] | None = None) -> Tool:
    """A tool from a typed function; its first docstring line is the description, its schema is made from the signature unless given.

    Raises BadRequest for a schema that could not be enforced.
    """
    name = name or function.__name__
    schema = schema_of(function, frozenset({PLACE})) if schema is None else dict(schema)
    refuse_unenforced(schema, name)
    told = PLACE in inspect.signature(function).parameters

    def run(place: Place, **arguments: Any) -> Any:
        return function(**arguments, **({PLACE: place} if told else {}))

    return Tool(name, (inspect.getdoc(function) or "").partition("\n")[0], schema, run=run)


@dataclass(frozen=True)
class ToolResult:
    """What a call gave. `value` is JSON data, `seconds` the tool's own time, `audit_seq` the audit entry of its outcome."""

    tool: str
    value: Any
    actor: str
    decision: Decision
    seconds: float
    audit_seq: int

    def __repr__(self) -> str:
        return f"ToolResult({self.tool} by {self.actor}, {self.seconds:.3f} s, audit {self.audit_seq}: {_short(self.value, 80)})"

    def _repr_html_(self) -> str:
        rows = [("value", _short(self.value, 2000)), ("actor", self.actor), ("decision", f"{self.decision.outcome}: {self.decision.reason}"),
                ("seconds", f"{self.seconds:.3f}"), ("audit entry", str(self.audit_seq))]
        return render.card(self.tool, rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"tool": self.tool, "value": self.value, "actor": self.actor, "decision": self.decision.to_dict(), "seconds": self.seconds,
                "audit_seq": self.audit_seq}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ToolResult:
        """The result that `to_dict` described."""
        return cls(data["tool"], data["value"], data["actor"], Decision.from_dict(data["decision"]), float(data["seconds"]), int(data["audit_seq"]))


def _short(value: Any, limit: int) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + "…"
