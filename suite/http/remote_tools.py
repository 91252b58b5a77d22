"""The tools of a running host, as a guest sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from suite.access.caller import Caller
from suite.errors import BadRequest
from suite.tools.tool import Tool, ToolResult, Watch


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

    def used(self, name: str, actor: str = "") -> dict[str, Any]:
        """How much of a tool's limits an actor has used; raises NotFound."""
        found: dict[str, Any] = self.client.get(f"/rate-limits/{quote(name, safe='')}", params={"user_id": actor}).json()
        return found

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None,
             watch: Watch | None = None, caller: Caller | None = None) -> ToolResult:
        """Decide, record and run one call on the host, which knows who calls by the token; raises what the host raised."""
        headers = {name: quote(str(value)) for name, value in (("X-Actor", actor), ("X-Cwd", cwd)) if value}
        try:
            body = json.dumps({"arguments": {} if arguments is None else arguments}, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise BadRequest(f"Arguments of {name} are not JSON data ({error}); pass text, numbers, lists and objects.", param="arguments") from error
        answer = self.client.post(f"/tools/{quote(name, safe='')}/call", content=body, headers={**headers, "Content-Type": "application/json"}).json()
        return ToolResult.from_dict({**answer, "value": answer["result"]})
