"""What `bench.tools` is: tools called by name with keyword arguments, in the caller's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from suite.tools.tool import Tool, ToolResult


class ToolsFace(Protocol):
    """The host's Tools, or the guest's remote face of them."""

    def list(self) -> list[Tool]: ...

    def call(self, name: str, arguments: dict[str, Any], actor: str | None = None, cwd: Path | None = None) -> ToolResult: ...


class Toolbox:
    """Tools by name. Relative paths resolve in `cwd` at the time of the call."""

    def __init__(self, face: ToolsFace) -> None:
        self._face = face

    def list(self) -> list[Tool]:
        """The tools there are, with their schemas and what they need."""
        return self._face.list()

    def call(self, name: str, /, *, actor: str | None = None, **arguments: Any) -> ToolResult:
        """Decide, run and record one call.

        Raises NotFound, BadRequest, Denied, ApprovalNeeded or ToolFailed.
        """
        return self._face.call(name, arguments, actor=actor, cwd=Path.cwd())
