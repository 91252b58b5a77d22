"""A tool, where it may look, and what a call of it gave."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import render
from suite.access.decide import Decision
from suite.tools.schema import output_of, refuse_unenforced, schema_of

PLACE = "place"  # a tool function with a parameter of this name is told where it runs
WATCH = "watch"  # and one with this, how to tell how far it is


@dataclass(frozen=True)
class Place:
    """Where a call runs: file paths are relative to `cwd` and may not leave `workspace` and the `further` roots, which lie apart from it and are
    real paths; `private` folders are never shown. `actor` calls."""

    workspace: Path
    cwd: Path
    private: tuple[Path, ...] = ()
    actor: str = ""
    further: tuple[Path, ...] = ()

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that may not be left, without links: the workspace first."""
        return (Path(os.path.realpath(self.workspace)), *self.further)


def _nobody(_done: float, _total: float | None, _text: str) -> None:
    """Nobody waits for news."""


@dataclass(frozen=True)
class Watch:
    """How a long call tells how far it is (`report(done, total, text)`) and learns that nobody waits for it any longer (`halted()`)."""

    report: Callable[[float, float | None, str], None] = _nobody
    halted: Callable[[], bool] = bool


NOBODY = Watch()


@dataclass(frozen=True)
class Tool:
    """Something that can be called. `run(place, watch, **arguments)` is None in a guest, which calls over HTTP.

    `schema` is what it takes and `output` what it gives, as JSON schemas; `effect` and `web` are those of its Permission.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    sensitivity: str = ""
    permission: str = ""
    run: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    output: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    effect: str = ""
    web: bool = False

    def __repr__(self) -> str:
        return f"Tool({self.name}, {self.sensitivity}, needs {self.permission})"

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `inputSchema` is the name that MCP gives it."""
        return {"name": self.name, "description": self.description, "inputSchema": dict(self.schema), "outputSchema": dict(self.output),
                "sensitivity": self.sensitivity, "permission": self.permission, "effect": self.effect, "web": self.web}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tool:
        """The tool that `to_dict` described, without its function."""
        return cls(data["name"], data["description"], data["inputSchema"], data["sensitivity"], data["permission"], output=data["outputSchema"],
                   effect=data["effect"], web=data["web"])


def tool_of(function: Callable[..., Any], *, name: str = "", schema: Mapping[str, Any] | None = None) -> Tool:
    """A tool from a typed function; its first docstring line is the description, its schemas are made from the signature unless given.

    It gives an object: a TypedDict where its schema is to be known. Raises BadRequest for a schema that could not be enforced.
    """
    name = name or function.__name__
    schema = schema_of(function, frozenset({PLACE, WATCH})) if schema is None else dict(schema)
    refuse_unenforced(schema, name)
    told = {PLACE, WATCH} & inspect.signature(function).parameters.keys()

    def run(place: Place, watch: Watch, **arguments: Any) -> Any:
        given = {PLACE: place, WATCH: watch}
        return function(**arguments, **{word: given[word] for word in told})

    return Tool(name, (inspect.getdoc(function) or "").partition("\n")[0], schema, run=run, output=output_of(function))


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
