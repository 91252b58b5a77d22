"""The tools over the Model Context Protocol, by the official SDK: streamable HTTP and stdio."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
from anyio.to_thread import run_sync
from mcp import types
from mcp.server import Server, ServerRequestContext
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from suite.access.caller import Caller
from suite.errors import SuiteError
from suite.tools.tool import Tool, ToolResult, Watch

NAME = "local-ai-suite"
PATH = "/mcp"
SCOPE = "tools"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Asgi = Callable[..., Awaitable[None]]


class ToolFace(Protocol):
    """The tools as an MCP server uses them."""

    workspace: Path

    def list(self) -> list[Tool]:
        """The registered tools."""

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None,
             watch: Watch | None = None, caller: Caller | None = None) -> ToolResult:
        """Call one of them."""


class KeyVerifier:
    """Accepts the bearer token by which `identify` knows somebody: the same as on the rest of the port."""

    def __init__(self, identify: Callable[[str], Caller | None]) -> None:
        self.identify = identify

    async def verify_token(self, token: str) -> AccessToken | None:
        """The SDK's question; None is a refusal."""
        # the SDK gets a constant in place of the token, so that its own records cannot hold it
        caller = await run_sync(self.identify, token)
        return AccessToken(token="***", client_id=f"{caller.actor}/{caller.key}", scopes=[SCOPE]) if caller is not None else None


def mcp_server(tools: ToolFace, cwd: Path | None = None) -> Server[Any]:
    """The SDK's server over `tools`; every call goes through their permission check. Relative paths start in `cwd`, else in the workspace.

    A refusal or failure is a result with `is_error`, its text the reason.
    """

    async def list_tools(_context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.schema))
                                            for tool in tools.list()])

    async def call_tool(context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        headers = getattr(context.request, "headers", {})  # stdio and in-memory connections have no HTTP request
        actor = unquote(headers.get("x-actor", "")) or None
        try:
            result = await run_sync(lambda: tools.call(params.name, params.arguments or {}, actor=actor, cwd=cwd or tools.workspace,
                                                       caller=_caller(context)))
        except SuiteError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
        text = json.dumps(result.value, ensure_ascii=False)
        structured = result.value if isinstance(result.value, dict) else {"result": result.value}
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=structured)

    def schema(name: str) -> Mapping[str, Any] | None:
        return next((tool.schema for tool in tools.list() if tool.name == name), None)

    return Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool, get_tool_input_schema=schema,
                  instructions="Tools of the Local AI Suite. Every call is checked against the caller's permissions and recorded.")


def _caller(context: ServerRequestContext[Any]) -> Caller | None:
    """Who the port's door found behind the request; None in memory and over stdio, where the other end is the owner's own process."""
    found = getattr(getattr(context.request, "state", None), "caller", None)
    return None if found is None else Caller(found.actor, found.key, "mcp")


def mcp_app(tools: ToolFace, identify: Callable[[str], Caller | None], bind: str = "127.0.0.1") -> Any:
    """The ASGI app (a Starlette app) that serves MCP at `/mcp` behind the bearer tokens by which `identify` knows somebody.

    Its lifespan must run: it owns the sessions. Hosts other than this machine and `bind` are refused.
    """
    hosts = [f"{host}:*" for host in (*LOOPBACK, bind)]
    security = TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=[f"http://{h}" for h in hosts])
    # No authorization server stands behind a local key; the SDK only asks for its address to be well-formed, and nothing calls it.
    auth = AuthSettings(issuer_url="http://127.0.0.1:1/", resource_server_url=None, required_scopes=[SCOPE])
    return mcp_server(tools).streamable_http_app(streamable_http_path=PATH, transport_security=security, auth=auth,
                                                 token_verifier=KeyVerifier(identify))


def serve_stdio(tools: ToolFace, cwd: Path | None = None) -> None:
    """Serve MCP on this process's standard input and output until the input ends."""
    server = mcp_server(tools, cwd or Path.cwd())

    async def serve() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)
