"""Port 8020: plain HTTP, the guest's face, and MCP, served by a real uvicorn behind the real guard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from tools_stage import Stage, set_stage

from suite.access.identify import Door
from suite.access.key import AccessKey, create_key
from suite.errors import ApprovalNeeded, BadRequest, Denied, NotFound, SuiteError, ToolFailed
from suite.http import tools as tools_http
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.remote_tools import RemoteTools
from suite.http.serve import HttpServers, bind
from suite.tools.tool import tool_of


@dataclass
class Port:
    """A served port and two clients of it: one that only looks, one that raises our errors."""

    stage: Stage
    key: AccessKey
    url: str
    plain: httpx.Client
    remote: RemoteTools


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    root = tmp_path_factory.mktemp("port")
    stage = set_stage(root, mcp_user_id="dev_user")
    (root / "run").mkdir(mode=0o700)
    key = create_key(root / "run")

    def breaks() -> None:
        raise RuntimeError("boom")

    def echo(text: str) -> str:
        return text

    for name, function in (("git_status", breaks), ("write_file", lambda: None), ("switch_model", lambda: None), ("ai_chat", echo)):
        stage.tools.register(tool_of(function, name=name))
    sock = bind("127.0.0.1", 0, "mcp-server")
    door = Door(key, stage.keys, "dev_user")
    app = tools_http.app(stage.tools, door)
    add_problems(app)
    servers = HttpServers()
    servers.start({"mcp-server": (sock, Guard(app, "mcp-server", key.matches, "127.0.0.1", lambda *seen: None, door))})
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key.token}"}, trust_env=False) as plain, Client(url, key.token) as client:
        yield Port(stage, key, url, plain, RemoteTools(client))
    servers.stop()
    stage.storage.close()


def call(port: Port, tool: str, body: Any, **headers: str) -> httpx.Response:
    return port.plain.post(f"/tools/{tool}/call", json=body, headers=headers)


def test_tools_are_listed_with_their_schemas(port: Port) -> None:
    rows = {row["name"]: row for row in port.plain.get("/tools").json()["tools"]}
    assert rows["read_file"]["inputSchema"]["required"] == ["path"] and rows["read_file"]["description"].startswith("Read a UTF-8")
    assert rows["list_files"]["sensitivity"] == "LOW"


@pytest.mark.parametrize("body", [{"path": "README.md"}, {"arguments": {"path": "README.md"}}])
def test_both_bodies_are_understood(port: Port, body: dict[str, Any]) -> None:
    answer = call(port, "read_file", body)
    seen = answer.json()
    assert answer.status_code == 200 and seen["success"] is True and seen["result"]["content"] == "# 안녕\n"
    assert seen["actor"] == "dev_user" and seen["decision"]["outcome"] == "allow" and seen["audit_seq"] > 0


def test_a_call_without_a_body_takes_the_defaults(port: Port) -> None:
    answer = port.plain.post("/tools/list_files/call")
    assert answer.status_code == 200 and answer.json()["result"]["count"] == 2


@pytest.mark.parametrize(("tool", "body", "headers", "status", "kind"), [
    ("no_such_tool", {}, {}, 404, "NotFound"), ("read_file", {}, {}, 422, "BadArguments"), ("read_file", {"path": "a", "b": 1}, {}, 422, "BadArguments"),
    ("read_file", {"path": "../outside.txt"}, {}, 403, "Denied"), ("read_file", {"path": "none"}, {}, 404, "NotFound"),
    ("switch_model", {}, {}, 403, "Denied"), ("write_file", {}, {}, 202, "ApprovalNeeded"), ("git_status", {}, {}, 502, "ToolFailed"),
    ("list_files", {}, {"X-Actor": "mallory"}, 403, "Denied"), ("list_files", {}, {"X-Actor": "admin_user"}, 403, "Denied"),
    ("read_file", {"arguments": "README.md"}, {}, 422, "BadArguments"),
    ("read_file", [], {}, 422, "BadRequest"), ("read_file", "x", {}, 422, "BadRequest"),
    ("read_file", {"path": "\ud800"}, {}, 400, "BadRequest"), ("read_file", {"path": "\0"}, {}, 400, "BadRequest"),
])
def test_no_failure_is_a_200(port: Port, tool: str, body: Any, headers: dict[str, str], status: int, kind: str) -> None:
    import json

    content = json.dumps(body).encode()  # escapes, so that odd characters travel
    answer = port.plain.post(f"/tools/{tool}/call", content=content, headers={**headers, "Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text


def test_the_header_may_name_a_lesser_actor(port: Port) -> None:
    assert call(port, "list_files", {}, **{"X-Actor": "guest_user"}).json()["actor"] == "guest_user"
    assert call(port, "write_file", {}, **{"X-Actor": "guest_user"}).json()["error"]["type"] == "Denied"


def test_without_the_token_no_tool_is_called(port: Port) -> None:
    before = len(port.stage.audit.tail(10_000))
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer " + "0" * 64}):
        assert call(port, "list_files", {}, **headers).status_code == 401
    assert len(port.stage.audit.tail(10_000)) == before


def test_relative_paths_start_in_the_caller_s_folder(port: Port) -> None:
    assert port.remote.call("read_file", {"path": "회의록.txt"}, cwd=port.stage.workspace / "notes").value["path"] == "notes/회의록.txt"


def test_tool_info_is_given_and_unknown_names_are_404(port: Port) -> None:
    assert port.plain.get("/tool-info/write_file").json()["require_approval"] is True
    assert port.plain.get("/tool-info/read_file").json()["sensitivity"] == "medium"
    assert port.plain.get("/tool-info/none").status_code == 404


CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("read_file", {"path": "README.md"}, {}), ("list_files", None, {}), ("ai_chat", {"text": "가\0\U0001f642"}, {}),
    ("ai_chat", {"text": "\ud800"}, {}),
    ("list_files", {}, {"actor": "guest_user"}), ("list_files", {}, {"actor": "admin_user"}), ("list_files", {}, {"actor": "나"}),
    ("read_file", {"path": "../x"}, {}), ("read_file", {"path": "none"}, {}), ("read_file", {}, {}), ("read_file", ["a"], {}), ("a/b ?", {}, {}),
    ("write_file", {}, {}), ("git_status", {}, {}), ("read_file", {"path": "회의록.txt"}, {"cwd": Path("/")}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), CASES, ids=[f"{n}-{case[0].replace('/', '_')}" for n, case in enumerate(CASES)])
def test_a_guest_gets_what_the_host_gets(port: Port, name: str, arguments: Any, options: dict[str, Any]) -> None:
    def outcome(face: Any) -> tuple[Any, ...]:
        try:
            result = face.call(name, arguments, **options)
        except SuiteError as error:
            return type(error), str(error).split("the audit entry")[0], {key: value for key, value in error.facts.items() if key != "audit_seq"}
        return type(result), result.tool, result.value, result.actor, result.decision

    assert outcome(port.remote) == outcome(port.stage.tools)


def test_list_and_info_are_the_same_on_both_sides(port: Port) -> None:
    assert port.remote.list() == port.stage.tools.list()
    assert port.remote.info("read_file") == port.stage.tools.info("read_file")
    with pytest.raises(NotFound):
        port.remote.info("none")


@pytest.mark.parametrize(("tool", "kind"), [("switch_model", Denied), ("write_file", ApprovalNeeded), ("git_status", ToolFailed), ("none", NotFound)])
def test_a_guest_raises_the_host_s_errors(port: Port, tool: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        port.remote.call(tool)
    assert type(caught.value) is kind


def test_arguments_that_are_not_json_are_refused_before_they_are_sent(port: Port) -> None:
    with pytest.raises(BadRequest):
        port.remote.call("read_file", {"path": Path("x")})


def mcp(port: Port, token: str, *, mode: str = "auto", **headers: str) -> Any:
    """List and call the tools with a real MCP client over streamable HTTP."""

    async def run() -> Any:
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}
        async with httpx2.AsyncClient(headers=sent, trust_env=False) as http:
            with anyio.fail_after(30):
                async with McpClient(streamable_http_client(port.url + "/mcp", http_client=http), mode=mode) as client:
                    listed = await client.list_tools()
                    return ([tool.name for tool in listed.tools], await client.call_tool("read_file", {"path": "README.md"}),
                            await client.call_tool("switch_model", {}))

    return anyio.run(run)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_mcp_client_with_the_token_calls_and_is_denied_with_the_reason(port: Port, mode: str) -> None:
    names, read, denied = mcp(port, port.key.token, mode=mode)
    assert "read_file" in names and read.structured_content["content"] == "# 안녕\n" and not read.is_error
    assert denied.is_error and "'model.switch'" in denied.content[0].text
    assert [event.outcome for event in port.stage.audit.tail(3)] == ["allowed", "done", "denied"]


def test_mcp_calls_may_name_a_lesser_actor_too(port: Port) -> None:
    mcp(port, port.key.token, **{"X-Actor": "guest_user"})
    assert port.stage.audit.tail(1)[0].actor == "guest_user"
    _, read, _ = mcp(port, port.key.token, **{"X-Actor": "admin_user"})
    assert read.is_error and "may not act as" in read.content[0].text


@pytest.mark.parametrize("token", ["", "wrong"])
def test_an_mcp_client_without_the_token_gets_nothing(port: Port, token: str) -> None:
    before = len(port.stage.audit.tail(10_000))
    with pytest.raises(BaseException) as caught:
        mcp(port, token)
    assert not isinstance(caught.value, TimeoutError) and len(port.stage.audit.tail(10_000)) == before


class Right:
    """An access token."""

    def matches(self, token: str) -> bool:
        return token == "right"


def test_mcp_itself_checks_the_token_without_the_guard(tmp_path: Path) -> None:
    stage = set_stage(tmp_path)
    sock = bind("127.0.0.1", 0, "mcp-server")
    servers = HttpServers()
    servers.start({"mcp-server": (sock, tools_http.app(stage.tools, Door(Right(), stage.keys, "admin_user")))})
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with httpx.Client(trust_env=False, headers={"Accept": "application/json, text/event-stream"}) as client:
        statuses = {token: client.post(url, json=hello, headers={"Authorization": f"Bearer {token}"}).status_code
                    for token in ("w", "wrong", "right")}
        naked = client.post(url, json=hello).status_code
        foreign = client.post(url, json=hello, headers={"Authorization": "Bearer right", "Host": "evil.example"}).status_code
    servers.stop()
    stage.storage.close()
    assert naked == statuses["w"] == statuses["wrong"] == 401 and statuses["right"] != 401 and foreign == 421
