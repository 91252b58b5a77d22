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

# seconds that a call may take before the host counts as gone; all others are over at once, and a host that sleeps must be found out soon
SLOW = {**dict.fromkeys(("execute_python", "execute_bash"), 330.0), **dict.fromkeys(("ai_chat", "rag_search", "switch_model"), 900.0),
        **dict.fromkeys(("web_screenshot", "web_scrape", "web_analyze_ui", "web_automate", "web_to_notion"), 660.0),
        **dict.fromkeys(("notion_search", "notion_create_page", "memory_search", "git_commit"), 120.0), "run_runbook": 3600.0}


class RemoteTools:
    """The same methods as `Tools`, over HTTP; errors are those of the host."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def lane_of(self, name: str) -> None:
        """None: every call waits for another process."""

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
        route, headers = f"/tools/{quote(name, safe='')}/call", {**headers, "Content-Type": "application/json"}
        patience = httpx.Timeout(SLOW[name], connect=3.0) if name in SLOW else httpx.USE_CLIENT_DEFAULT
        answer = self.client.post(route, content=body, headers=headers, timeout=patience).json()
        return ToolResult.from_dict({**answer, "value": answer["result"]})
