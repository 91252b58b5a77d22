"""The tools of a running host, as a guest sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from suite.tools.tool import Tool, ToolResult


class RemoteTools:
    """The same methods as `Tools`, over HTTP; errors are those of the host."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def list(self) -> list[Tool]:
        """The registered tools by name."""
        return [Tool.from_dict(row) for row in self.client.get("/tools").json()["tools"]]

    def info(self, name: str) -> dict[str, Any]:
        """A tool's description and what a call of it takes; raises NotFound."""
        found: dict[str, Any] = self.client.get(f"/tool-info/{quote(name, safe='')}").json()
        return found

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None) -> ToolResult:
        """Decide, record and run one call on the host; raises what the host raised."""
        headers = {name: quote(str(value)) for name, value in (("X-Actor", actor), ("X-Cwd", cwd)) if value}
        body = {"arguments": {} if arguments is None else arguments}
        answer = self.client.post(f"/tools/{quote(name, safe='')}/call", json=body, headers=headers).json()
        return ToolResult.from_dict({**answer, "value": answer["result"]})
