"""Our MCP server with all that secures it, the SDK's own server without any of that, and many MCP clients: each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server, ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings

from suite.benchmark.tools_parts import ANSWER, FREE, Parts, list_files
from suite.errors import RunFailed, UpstreamError
from suite.http import tools as tools_http
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.tools.server import LOOPBACK, PATH, described
from suite.tools.tool import tool_of

PART, ADDRESS = "mcp-server", "127.0.0.1"
ACTORS = 5  # whose keys the clients take turns with: one actor may not make so many calls at once
SECONDS = 300.0


@contextlib.contextmanager
def ours(data: str) -> Iterator[dict[str, Any]]:
    """Port 8020 of a stack, on a free one: where it answers, and the API keys that open it."""
    parts = Parts(Path(data))
    keys = []
    for which in range(ACTORS):
        parts.actors.add(f"client-{which}", "developer")
        keys.append(parts.keys.create(f"client-{which}")[1])
    app = tools_http.app(parts.tools, parts.door)
    add_problems(app)
    with _served(Guard(app, PART, parts.token.matches, ADDRESS, lambda *seen: None, parts.door)) as url:
        yield {"url": url, "keys": keys}
    parts.close()


@contextlib.contextmanager
def bare() -> Iterator[dict[str, Any]]:
    """The SDK's server with the same tool: clients check its answers against the same schema."""
    tool = described(tool_of(list_files))

    async def list_tools(_context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool])

    async def call_tool(_context: ServerRequestContext[Any], _params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(ANSWER))], structured_content=ANSWER)

    hosts = [f"{host}:*" for host in LOOPBACK]
    security = TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=[f"http://{h}" for h in hosts])
    server: Server[Any] = Server("bare", on_list_tools=list_tools, on_call_tool=call_tool)
    with _served(server.streamable_http_app(streamable_http_path=PATH, transport_security=security)) as url:
        yield {"url": url, "keys": [""]}


@contextlib.contextmanager
def _served(app: Any) -> Iterator[str]:
    sock, servers = bind(ADDRESS, 0, PART), HttpServers()
    servers.start({PART: (sock, app)})
    try:
        yield f"http://{ADDRESS}:{sock.getsockname()[1]}{PATH}"
    finally:
        servers.stop()


def calls(url: str, keys: list[str], clients: int, each: int, warm: int = 1) -> dict[str, Any]:
    """`each` calls by so many clients at once, all connected before the first: the seconds of every call, and of all together.

    Raises UpstreamError when a call fails or gives another answer, RunFailed when it takes too long.
    """
    marks: list[float] = []

    async def work(client: Client, count: int, into: list[float]) -> None:
        for _ in range(count):
            began = time.perf_counter()
            result = await client.call_tool(FREE, {"path": "."})
            into.append(time.perf_counter() - began)
            if result.is_error or result.structured_content != ANSWER:
                raise UpstreamError(f"{url} answered a call with {str(result.content)[:200]}")

    async def run() -> float:
        async with contextlib.AsyncExitStack() as held:
            connected = [await held.enter_async_context(_client(url, keys[which % len(keys)])) for which in range(clients)]
            await _all(connected, work, warm, [])  # the first call of a client lists the tools too
            began = time.perf_counter()
            await _all(connected, work, each, marks)
            return time.perf_counter() - began

    try:
        return {"seconds": anyio.run(_in_time, run), "marks": marks}
    except TimeoutError:
        raise RunFailed(f"The clients were not done within {SECONDS:.0f} s.") from None
    except (ExceptionGroup, MCPError, httpx2.HTTPError) as error:  # the SDK's clients raise groups
        cause = _first(error)
        raise cause if isinstance(cause, UpstreamError) else UpstreamError(f"A client failed ({type(cause).__name__}: {cause}).") from error


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _in_time(run: Any) -> float:
    with anyio.fail_after(SECONDS):
        return float(await run())


async def _all(clients: list[Client], work: Any, count: int, marks: list[float]) -> None:
    async with anyio.create_task_group() as group:
        for client in clients:
            group.start_soon(work, client, count, marks)


@contextlib.asynccontextmanager
async def _client(url: str, key: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (httpx2.AsyncClient(headers=headers, trust_env=False, timeout=SECONDS) as http,
                Client(streamable_http_client(url, http_client=http)) as client):
        yield client
