"""The tools over the Model Context Protocol, by the official SDK: streamable HTTP and stdio."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
from anyio import from_thread
from anyio.to_thread import run_sync
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from suite.access.caller import Caller
from suite.access.identify import FOUND
from suite.errors import ApprovalNeeded, Denied, NotFound, SuiteError
from suite.tools.desk import ApprovalsFace
from suite.tools.lane import Lane
from suite.tools.prompts import PROMPTS, Prompt, prompt
from suite.tools.shelf import ShelfFace
from suite.tools.tool import Tool, ToolResult, Watch

NAME = "local-ai-suite"
PATH = "/mcp"
SCOPE = "tools"
MODERN = tuple(MODERN_PROTOCOL_VERSIONS)
MOST_COMPLETED = 100  # values in one completion, by the protocol
APPROVAL = "approval"  # the name of the question that is put to a person
FORM: dict[str, Any] = {
    "type": "object", "required": ["decision", "reason", "key"],
    "properties": {"decision": {"type": "string", "enum": ["approve", "reject"], "title": "Decision"},
                   "reason": {"type": "string", "title": "Reason", "description": "It is part of the record."},
                   "key": {"type": "string", "title": "API key of whoever decides", "description": "Not that of whoever makes the call."}}}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Asgi = Callable[..., Awaitable[None]]


class ToolFace(Protocol):
    """The tools as an MCP server uses them."""

    workspace: Path

    def list(self) -> list[Tool]:
        """The registered tools."""

    def lane_of(self, name: str) -> Lane | None:
        """The thread that calls of a quick tool share; None for all others."""

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
        found = FOUND.get()  # by the port's door, for this very request
        caller = found[1] if found is not None and found[0] == token else await run_sync(self.identify, token)
        return AccessToken(token="***", client_id=f"{caller.actor}/{caller.key}", scopes=[SCOPE]) if caller is not None else None


def mcp_server(tools: ToolFace, approvals: ApprovalsFace, shelf: ShelfFace, cwd: Path | None = None,
               prompts: Mapping[str, Prompt] = PROMPTS) -> Server[Any]:
    """The SDK's server over `tools`; every call goes through their permission check. Relative paths start in `cwd`, else in the workspace.

    A refusal or failure is a result with `is_error`, its text the reason. A call that needs an approval is put to a person where
    the client can ask one: the API key of somebody else, who may decide, approves it, and it runs. Newest clients get an input-required result and
    try again; older ones are asked during the call, until the approval's time is over or they leave.
    """

    async def list_tools(_context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[described(tool) for tool in await run_sync(tools.list)])

    async def call_tool(context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
        try:
            if params.input_responses and params.request_state:
                await run_sync(_decide, approvals, params.request_state, params.input_responses.get(APPROVAL))
            return _given(await _run(context, params))
        except ApprovalNeeded as error:
            return await _asked(context, error, approvals, partial(_run, context, params))
        except SuiteError as error:
            return _failed(error)

    async def _run(context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> ToolResult:
        headers = getattr(context.request, "headers", {})  # stdio and in-memory connections have no HTTP request
        actor, gone = unquote(headers.get("x-actor", "")) or None, threading.Event()

        def report(done: float, total: float | None, text: str) -> None:
            with suppress(RuntimeError):  # nobody listens any longer
                from_thread.run(context.session.report_progress, done, total, text)

        def call() -> ToolResult:
            return tools.call(params.name, params.arguments or {}, actor=actor, cwd=cwd or tools.workspace, watch=Watch(report, gone.is_set),
                              caller=_caller(context))

        try:
            lane = tools.lane_of(params.name)
            return await (run_sync(call, abandon_on_cancel=True) if lane is None else lane.run(call))
        finally:
            gone.set()  # a call that was cancelled learns that it was

    def schema(name: str) -> Mapping[str, Any] | None:
        return next((tool.schema for tool in tools.list() if tool.name == name), None)

    reading = Reading(shelf, prompts)
    return Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool, get_tool_input_schema=schema,
                  on_list_resources=reading.list_resources, on_list_resource_templates=reading.list_templates, on_read_resource=reading.read,
                  on_list_prompts=reading.list_prompts, on_get_prompt=reading.get_prompt, on_completion=reading.complete,
                  instructions="Tools of the Local AI Suite. Every call is checked against the caller's permissions and recorded.")


class Reading:
    """What the SDK asks about resources and prompts; an error is an answer of its own, with our sentence in it."""

    def __init__(self, shelf: ShelfFace, prompts: Mapping[str, Prompt]) -> None:
        self.shelf, self.prompts = shelf, prompts

    async def list_resources(self, context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        """What the caller may read."""
        items = await run_sync(self.shelf.list, _caller(context))
        return types.ListResourcesResult(resources=[types.Resource(uri=item.uri, name=item.name, description=item.description, mime_type=item.mime)
                                                    for item in items])

    async def list_templates(self, _context: ServerRequestContext[Any],
                             _params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
        """The addresses that can be built."""
        return types.ListResourceTemplatesResult(resource_templates=[types.ResourceTemplate(
            uri_template=item.uri, name=item.name, description=item.description, mime_type=item.mime) for item in self.shelf.templates])

    async def read(self, context: ServerRequestContext[Any], params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """One resource."""
        return types.ReadResourceResult(contents=[await self._contents(context, str(params.uri))])

    async def list_prompts(self, _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        """The prompts."""
        return types.ListPromptsResult(prompts=[types.Prompt(name=one.name, description=one.description, arguments=[
            types.PromptArgument(name=name, description=what, required=True) for name, what in one.arguments.items()])
            for one in self.prompts.values()])

    async def get_prompt(self, context: ServerRequestContext[Any], params: types.GetPromptRequestParams) -> types.GetPromptResult:
        """A filled prompt; what its arguments lead to comes first, since a model can often not read resources itself."""
        given = params.arguments or {}
        with _sentences():
            asked = prompt(params.name, self.prompts)
            text = asked.filled(given)
        attached = [await self._contents(context, given[name]) for name in asked.attached]
        parts = [*(types.EmbeddedResource(type="resource", resource=one) for one in attached), types.TextContent(type="text", text=text)]
        return types.GetPromptResult(description=asked.description, messages=[types.PromptMessage(role="user", content=part) for part in parts])

    async def complete(self, context: ServerRequestContext[Any], params: types.CompleteRequestParams) -> types.CompleteResult:
        """Which of the listed addresses, or names in a template, have in them what was typed; other arguments are free text, and complete to none."""
        with _sentences():
            shape = self._shape(params)
            items = [] if shape is None else await run_sync(self.shelf.list, _caller(context))
        parts = [match[1] for item in items if shape is not None and (match := shape.fullmatch(item.uri))]
        values = parts if isinstance(params.ref, types.PromptReference) else [unquote(part) for part in parts]  # a template's client quotes it again
        found = [value for value in values if params.argument.value.casefold() in unquote(value).casefold()]
        more = len(found) > MOST_COMPLETED
        return types.CompleteResult(completion=types.Completion(values=found[:MOST_COMPLETED], total=len(found), has_more=more))

    def _shape(self, params: types.CompleteRequestParams) -> re.Pattern[str] | None:
        """The addresses that complete an argument, by the one group in them; None where none does. Raises NotFound."""
        if isinstance(params.ref, types.PromptReference):
            begins = prompt(params.ref.name, self.prompts).attached.get(params.argument.name)
            return None if begins is None else re.compile(f"({re.escape(begins)}.*)")
        if params.ref.uri not in (item.uri for item in self.shelf.templates):
            raise NotFound(f"There is no template {params.ref.uri[:200]!r}; list the templates to see what there is.", param="uri")
        begins, name, ends = params.ref.uri.partition("{" + params.argument.name + "}")
        return re.compile(f"{re.escape(begins)}(.*){re.escape(ends)}") if name else None

    async def _contents(self, context: ServerRequestContext[Any], uri: str) -> types.TextResourceContents:
        with _sentences():
            item, text = await run_sync(self.shelf.read, uri, _caller(context))
        return types.TextResourceContents(uri=item.uri, mime_type=item.mime, text=text)


@contextmanager
def _sentences() -> Iterator[None]:
    """Errors of ours as the SDK's, which reach the client with their text."""
    try:
        yield
    except SuiteError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from error


def described(tool: Tool) -> types.Tool:
    """A tool as MCP clients see it."""
    reads = tool.effect == "reads"
    hints = types.ToolAnnotations(read_only_hint=reads, destructive_hint=tool.effect == "changes", idempotent_hint=reads, open_world_hint=tool.web)
    return types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.schema), output_schema=dict(tool.output),
                      annotations=hints)


def _given(result: ToolResult) -> types.CallToolResult:
    text = json.dumps(result.value, ensure_ascii=False)
    structured = result.value if isinstance(result.value, dict) else {"result": result.value}
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=structured)


def _failed(error: SuiteError) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)


async def _asked(context: ServerRequestContext[Any], error: ApprovalNeeded, approvals: ApprovalsFace,
                 again: Callable[[], Awaitable[ToolResult]]) -> types.CallToolResult | types.InputRequiredResult:
    """What becomes of a call that waits, in the way of the client's protocol; a client that can ask nobody is told what to do."""
    if not _can_ask(context):
        return _failed(error)
    if context.protocol_version in MODERN:  # the client asks, and tries again
        request = types.ElicitRequest(params=types.ElicitRequestFormParams(message=str(error), requested_schema=FORM))
        return types.InputRequiredResult(input_requests={APPROVAL: request}, request_state=str(error.facts["approval"]))
    try:  # before that version we ask, and the call goes on
        answer = await _elicited(context, error)
        await run_sync(_decide, approvals, str(error.facts["approval"]), answer)
        return _given(await again())
    except SuiteError as failure:
        return _failed(failure)


def _can_ask(context: ServerRequestContext[Any]) -> bool:
    """Whether the client can put a form before a person."""
    capabilities = context.session.client_capabilities
    asks = capabilities.elicitation if capabilities is not None else None
    return asks is not None and (asks.form is not None or asks.url is None)


async def _elicited(context: ServerRequestContext[Any], error: ApprovalNeeded) -> types.ElicitResult:
    """What a person answers to the form while the call waits; raises Denied when the approval's time is over, or nobody can answer."""
    waiting = f"approval {str(error.facts['approval'])[:8]}"
    answer: types.ElicitResult | MCPError | ValueError | None = None
    with anyio.move_on_after(max(0.0, error.facts["expires"] - time.time())) as clock:
        async with anyio.create_task_group() as group:
            group.start_soon(_end_when_left, context, group.cancel_scope)
            try:
                answer = await context.session.elicit_form(str(error), FORM, related_request_id=context.request_id)
            except (MCPError, ValueError) as refusal:  # the client answered with an error, or with something that is no answer
                answer = refusal
            group.cancel_scope.cancel()
    if isinstance(answer, types.ElicitResult):
        return answer
    if answer is not None:
        raise Denied(f"The client asked nobody ({str(answer)[:200]}). {error}")
    if clock.cancelled_caught:
        raise Denied(f"Nobody answered in time, and the {waiting} is over; make the same call again to ask anew.")
    raise Denied(f"The client left before anybody answered; the {waiting} still waits.")


async def _end_when_left(context: ServerRequestContext[Any], scope: anyio.CancelScope) -> None:
    """Cancel when the HTTP request that carries the call is broken off: no answer could reach it. Other transports end with their connection."""
    if context.request is None:
        return
    while (await context.request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _decide(approvals: ApprovalsFace, id: str, answer: Any) -> None:
    """Do what a person answered; raises Denied unless the call was approved now, so that it is not tried again for nothing."""
    content = (answer.content or {}) if isinstance(answer, types.ElicitResult) and answer.action == "accept" else None
    if content is None:
        raise Denied(f"Nobody decided; the approval {id[:8]} still waits.")
    key, reason, decision = (str(content.get(name) or "") for name in ("key", "reason", "decision"))
    if not key:
        raise Denied(f"To decide about the approval {id[:8]} takes the API key of somebody who may; it still waits.")
    (approvals.approve if decision == "approve" else approvals.reject)(id, reason, key=key)
    if decision != "approve":
        raise Denied(f"The call was rejected: {reason}")


def _caller(context: ServerRequestContext[Any]) -> Caller | None:
    """Who the port's door found behind the request; None in memory and over stdio, where the other end is the owner's own process."""
    found = getattr(getattr(context.request, "state", None), "caller", None)
    return None if found is None else Caller(found.actor, found.key, "mcp")


def mcp_app(tools: ToolFace, approvals: ApprovalsFace, shelf: ShelfFace, identify: Callable[[str], Caller | None], bind: str = "127.0.0.1",
            prompts: Mapping[str, Prompt] = PROMPTS) -> Any:
    """The ASGI app (a Starlette app) that serves MCP at `/mcp` behind the bearer tokens by which `identify` knows somebody.

    Its lifespan must run: it owns the sessions. Hosts other than this machine and `bind` are refused.
    """
    hosts = [f"{host}:*" for host in (*LOOPBACK, bind)]
    security = TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=[f"http://{h}" for h in hosts])
    # No authorization server stands behind a local key; the SDK only asks for its address to be well-formed, and nothing calls it.
    auth = AuthSettings(issuer_url="http://127.0.0.1:1/", resource_server_url=None, required_scopes=[SCOPE])
    server = mcp_server(tools, approvals, shelf, prompts=prompts)
    return server.streamable_http_app(streamable_http_path=PATH, transport_security=security, auth=auth, token_verifier=KeyVerifier(identify))


def serve_stdio(tools: ToolFace, approvals: ApprovalsFace, shelf: ShelfFace, cwd: Path | None = None) -> None:
    """Serve MCP on this process's standard input and output until the input ends."""
    server = mcp_server(tools, approvals, shelf, cwd or Path.cwd())

    async def serve() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)
