"""Port 8020: the tools by plain HTTP, and by MCP at `/mcp`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import unquote

from fastapi import Body, FastAPI, Header, Request
from starlette.routing import Route

from suite.access.actor import Actors
from suite.access.approve import Approver
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.identify import Door
from suite.http.approvals import add_approvals, caller_of
from suite.http.audit import add_audit
from suite.tools.desk import Desk
from suite.tools.prompts import PROMPTS, Prompt
from suite.tools.server import PATH, mcp_app
from suite.tools.shelf import Shelf
from suite.tools.tool import Tool, ToolResult, Watch


class ToolPart(Protocol):
    """The part behind this port."""

    workspace: Path
    approver: Approver
    shelf: Shelf
    audit: Audit
    actors: Actors

    def list(self) -> list[Tool]:
        """The registered tools."""

    def info(self, name: str) -> dict[str, Any]:
        """What a call of one takes."""

    def used(self, name: str, actor: str = "") -> dict[str, Any]:
        """How much of its limits an actor has used."""

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None,
             watch: Watch | None = None, caller: Caller | None = None) -> ToolResult:
        """Call one."""


class ToolsApi(FastAPI):
    """The REST routes; what is sent to PATH goes straight to the app of the SDK, which has its own layers around it."""

    mcp: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] == PATH:
            await self.mcp(scope, receive, send)
            scope["route"] = _MCP  # what the request is counted under
        else:
            await super().__call__(scope, receive, send)


_MCP = Route(PATH, endpoint=lambda request: None)


def app(part: ToolPart, door: Door, bind: str = "127.0.0.1", prompts: Mapping[str, Prompt] = PROMPTS) -> FastAPI:
    """The app; `door` tells who holds a bearer token, the stack's or an API key, which MCP clients send too.

    `X-Actor` may name an actor who may do less than the caller, `X-Cwd` the caller's folder (both percent-encoded).
    """
    mcp = mcp_app(part, Desk(part.approver, door), part.shelf, door.identify, bind, prompts)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with mcp.router.lifespan_context(mcp):  # a mounted app's own lifespan is not run by FastAPI; it owns the MCP sessions
            yield

    served = ToolsApi(title="tools", lifespan=lifespan)

    @served.get("/tools")
    def tools() -> dict[str, Any]:
        return {"tools": [tool.to_dict() for tool in part.list()]}

    @served.get("/tool-info/{name:path}")
    def tool_info(name: str) -> dict[str, Any]:
        return part.info(name)

    @served.get("/rate-limits/{name:path}")
    def rate_limits(request: Request, name: str, user_id: str = "") -> dict[str, Any]:
        return part.used(name, user_id or caller_of(request).actor)

    @served.post("/tools/{name:path}/call")  # a name with a slash is a name nobody has, not another route
    def call(request: Request, name: str, body: Annotated[dict[str, Any] | None, Body()] = None, x_actor: Annotated[str, Header()] = "",
             x_cwd: Annotated[str, Header()] = "") -> dict[str, Any]:
        result = part.call(name, _arguments(body or {}), actor=unquote(x_actor) or None, cwd=Path(unquote(x_cwd)) if x_cwd else part.workspace,
                           caller=caller_of(request))
        body = result.to_dict()
        return {"success": True, "result": body.pop("value"), **body}

    @served.get("/api/v1/resources")
    def resources(request: Request) -> dict[str, Any]:
        return {"resources": [item.to_dict() for item in part.shelf.list(caller_of(request))]}

    @served.get("/api/v1/resources/read")
    def resource(request: Request, uri: str) -> dict[str, Any]:
        item, text = part.shelf.read(uri, caller_of(request))
        return {**item.to_dict(), "text": text}

    add_approvals(served, part)
    add_audit(served, part)
    served.mcp = mcp
    return served


def _arguments(body: dict[str, Any]) -> Any:
    """Both bodies that clients send: the arguments themselves, or `{"arguments": {...}}`."""
    return body["arguments"] if set(body) == {"arguments"} else body
