"""Approvals and keys on the real port: by REST, and by a real MCP client whose person is asked for the key of somebody who may decide."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client as McpClient
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from openai_stage import until
from tools_stage import Stage, set_stage

from suite.access.identify import Door
from suite.access.key import create_key
from suite.errors import ApprovalNeeded, Denied, NotPending
from suite.http import tools as tools_http
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.remote_approvals import RemoteApprovals
from suite.http.remote_tools import RemoteTools
from suite.http.serve import HttpServers, bind
from suite.tools.tool import Watch, tool_of

RAN: list[str] = []
WIRES = pytest.mark.parametrize("mode", ["auto", "legacy"])  # input-required results, and elicitation during the call


@dataclass
class Port:
    """The served port; `keys` by actor, `owner` the access token."""

    stage: Stage
    url: str
    owner: str
    keys: dict[str, str]
    ids: dict[str, str]
    left: list[bytes]  # the X-About of a request, each time that a part of the server was told of its end

    def client(self, token: str) -> Client:
        return Client(self.url, token)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    RAN.clear()
    stage = set_stage(tmp_path, mcp_user_id="local-owner")
    stage.tools._tools.pop("write_file", None)

    def write_file(path: str) -> dict[str, Any]:
        RAN.append(path)
        return {"path": path}

    stage.tools.register(tool_of(write_file))
    (tmp_path / "run").mkdir(mode=0o700)
    token = create_key(tmp_path / "run")
    made = {actor: stage.keys.create(actor) for actor in ("guest_user", "dev_user", "admin_user")}
    door = Door(token, stage.keys, "local-owner")
    app = tools_http.app(stage.tools, door)
    add_problems(app)
    sock, servers, left = bind("127.0.0.1", 0, "mcp-server"), HttpServers(), []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def told() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                left.append(dict(scope["headers"]).get(b"x-about", b""))
            return message

        await app(scope, told if scope["type"] == "http" else receive, send)

    servers.start({"mcp-server": (sock, Guard(watched, "mcp-server", token.matches, "127.0.0.1", lambda *seen: None, door))})
    yield Port(stage, f"http://127.0.0.1:{sock.getsockname()[1]}", token.token, {name: text for name, (_, text) in made.items()},
               {name: key.id for name, (key, _) in made.items()}, left)
    servers.stop()
    stage.storage.close()


def rest(port: Port, token: str, method: str, path: str, **more: Any) -> httpx.Response:
    with httpx.Client(base_url=port.url, trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        return client.request(method, path, **more)


def test_a_key_is_its_actor_and_a_revoked_one_is_nobody(port: Port) -> None:
    answer = rest(port, port.keys["guest_user"], "POST", "/tools/read_file/call", json={"path": "README.md"})
    assert answer.status_code == 200 and answer.json()["actor"] == "guest_user"
    event = port.stage.audit.tail(1)[0]
    assert (event.actor, event.detail["key"], event.detail["client"]) == ("guest_user", port.ids["guest_user"], "http")
    assert rest(port, port.keys["guest_user"], "POST", "/tools/write_file/call", json={"path": "a"}).status_code == 403
    port.stage.keys.revoke(port.ids["guest_user"])
    assert rest(port, port.keys["guest_user"], "GET", "/tools").status_code == 401
    assert rest(port, "suite_" + "x" * 43, "GET", "/tools").status_code == 401


@pytest.mark.parametrize(("key", "named", "status"), [
    ("dev_user", "guest_user", 200), ("guest_user", "dev_user", 403), ("dev_user", "admin_user", 403), ("admin_user", "local-owner", 200), ("dev_user", "mallory", 403),
])
def test_a_key_may_act_as_who_may_do_no_more(port: Port, key: str, named: str, status: int) -> None:
    assert rest(port, port.keys[key], "POST", "/tools/list_files/call", headers={"X-Actor": named}).status_code == status


def test_a_key_sees_no_facts_of_the_machine_and_opens_no_other_port(port: Port) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    async def run() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        other = Guard(app, "rag", lambda token: token == port.owner, "127.0.0.1", lambda *what: None)
        headers = [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + port.keys["admin_user"].encode())]
        await other({"type": "http", "method": "GET", "path": "/collections", "headers": headers}, None, send)
        return int(sent[0]["status"])

    assert anyio.run(run) == 401 and seen == []


def test_rest_waits_with_202_is_approved_by_a_key_and_runs_once(port: Port) -> None:
    first = rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "a"})
    assert first.status_code == 202 and first.json()["error"]["type"] == "ApprovalNeeded"
    id = first.json()["error"]["facts"]["approval"]
    pending = rest(port, port.keys["admin_user"], "GET", "/api/approvals/pending").json()
    assert pending["count"] == 1 and pending["pending_approvals"][0]["request_id"] == id and pending["pending_approvals"][0]["arguments"] == {"path": "a"}
    decided = rest(port, port.keys["admin_user"], "PUT", f"/api/v1/approvals/{id}", json={"action": "approve", "reason": "fine"})
    assert decided.status_code == 200 and decided.json()["responder"] == "admin_user" and decided.json()["status"] == "approved"
    assert rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "b"}).status_code == 202
    assert rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "a"}).status_code == 200 and RAN == ["a"]
    assert rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "a"}).status_code == 202
    assert rest(port, port.keys["admin_user"], "GET", f"/api/approvals/{id}/status").json()["status"] == "used"


@pytest.mark.parametrize(("who", "method", "path", "body", "status"), [
    ("guest_user", "GET", "/api/v1/approvals", None, 403), ("dev_user", "GET", "/api/v1/approvals", None, 200),
    ("dev_user", "PUT", "/api/v1/approvals/{id}", {"action": "approve", "reason": "x"}, 403), ("admin_user", "PUT", "/api/v1/approvals/{id}", {"action": "burn", "reason": "x"}, 422),
    ("admin_user", "PUT", "/api/v1/approvals/{id}", {"action": "approve"}, 422), ("admin_user", "PUT", "/api/v1/approvals/{id}", {"action": "approve", "reason": " "}, 400),
    ("admin_user", "PUT", "/api/v1/approvals/00000000", {"action": "approve", "reason": "x"}, 404), ("admin_user", "POST", "/api/approvals/{id}/reject", {"reason": "no"}, 200),
    ("guest_user", "GET", "/api/approvals/{id}/status", None, 403), ("admin_user", "GET", "/api/v1/approvals?limit=0", None, 422), ("admin_user", "GET", "/api/v1/approvals?status=odd", None, 400),
    ("admin_user", "DELETE", "/api/v1/approvals/{id}", None, 204), ("guest_user", "DELETE", "/api/v1/approvals/{id}", None, 403),
])
def test_each_answer_has_its_status(port: Port, who: str, method: str, path: str, body: Any, status: int) -> None:
    id = rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "a"}).json()["error"]["facts"]["approval"]
    assert rest(port, port.keys[who], method, path.format(id=id), json=body).status_code == status


def test_a_decision_twice_is_a_conflict(port: Port) -> None:
    id = rest(port, port.owner, "POST", "/tools/write_file/call", json={"path": "a"}).json()["error"]["facts"]["approval"]
    statuses = [rest(port, port.keys["admin_user"], "POST", f"/api/approvals/{id}/approve", json={"reason": "ok"}).status_code for _ in range(2)]
    assert statuses == [200, 409]


def test_a_guest_decides_like_the_host(port: Port) -> None:
    with port.client(port.owner) as client:
        tools, approvals = RemoteTools(client), RemoteApprovals(client)
        with pytest.raises(ApprovalNeeded) as waits:
            tools.call("write_file", {"path": "a"})
        id = waits.value.facts["approval"]
        assert [row.id for row in approvals.list()] == [id] and approvals.get(id[:8]).tool == "write_file"
        with pytest.raises(Denied, match=r"approvals\.decide"):
            approvals.approve(id, "no right", key=port.keys["dev_user"])
        assert approvals.approve(id, "yes", key=port.keys["admin_user"]).rule == "approver"
        with pytest.raises(NotPending):
            approvals.reject(id, "late", key=port.keys["admin_user"])
        assert tools.call("write_file", {"path": "a"}).value == {"path": "a"}
        with pytest.raises(ApprovalNeeded) as waits:
            tools.call("write_file", {"path": "b"})
        assert approvals.cancel(waits.value.facts["approval"]).state == "cancelled"
        assert tools.used("write_file")["current_count"] == 3


def talk(port: Port, token: str, conversation: Any, mode: str = "auto", **options: Any) -> Any:
    async def run() -> Any:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
            with anyio.fail_after(30):
                async with McpClient(streamable_http_client(port.url + "/mcp", http_client=http), mode=mode, **options) as client:
                    return await conversation(client)

    return anyio.run(run)


async def write(client: McpClient) -> Any:
    return await client.call_tool("write_file", {"path": "a"})


def person(asked: list[str], **content: str) -> Any:
    async def answer(_context: Any, params: types.ElicitRequestFormParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content=dict(content)) if content else types.ElicitResult(action="decline")

    return answer


@WIRES
def test_over_mcp_somebody_elses_key_approves_and_the_call_runs(port: Port, mode: str) -> None:
    asked: list[str] = []
    result = talk(port, port.keys["dev_user"], write, mode, elicitation_callback=person(asked, decision="approve", reason="ok", key=port.keys["admin_user"]))
    assert not result.is_error and RAN == ["a"] and len(asked) == 1 and "HIGH" in asked[0]
    kinds = [(event.actor, event.kind, event.outcome) for event in port.stage.audit.tail(4)]
    assert kinds == [("dev_user", "tool_call", "ask"), ("admin_user", "approval", "allowed"), ("dev_user", "tool_call", "allowed"), ("dev_user", "tool_call", "done")]
    assert port.keys["admin_user"] not in repr([event.to_dict() for event in port.stage.audit.tail(50)])


@WIRES
@pytest.mark.parametrize(("who", "says"), [("dev_user", "asked for this call"), ("guest_user", r"approvals.decide"), ("nobody", "not the API key of anybody"), ("", "takes the API key")])
def test_over_mcp_no_other_key_counts(port: Port, who: str, says: str, mode: str) -> None:
    key = {"nobody": "suite_" + "n" * 43, "": ""}.get(who) if who not in port.keys else port.keys[who]
    result = talk(port, port.keys["dev_user"], write, mode, elicitation_callback=person([], decision="approve", reason="ok", key=str(key)))
    assert result.is_error and says in result.content[0].text and RAN == []
    assert [row.state for row in port.stage.tools.approver.approvals.list()] == ["pending"]


@WIRES
def test_over_mcp_the_access_token_is_no_approvers_key(port: Port, mode: str) -> None:
    result = talk(port, port.keys["dev_user"], write, mode, elicitation_callback=person([], decision="approve", reason="ok", key=port.owner))
    assert result.is_error and RAN == []


@WIRES
def test_over_mcp_a_person_rejects_or_declines(port: Port, mode: str) -> None:
    declined = talk(port, port.keys["dev_user"], write, mode, elicitation_callback=person([]))
    assert declined.is_error and "Nobody decided" in declined.content[0].text
    assert [row.state for row in port.stage.tools.approver.approvals.list()] == ["pending"]
    rejected = talk(port, port.keys["dev_user"], write, mode, elicitation_callback=person([], decision="reject", reason="too risky", key=port.keys["admin_user"]))
    assert rejected.is_error and "too risky" in rejected.content[0].text and RAN == []


@WIRES
def test_a_client_that_cannot_ask_is_told_what_to_do(port: Port, mode: str) -> None:
    result = talk(port, port.owner, write, mode=mode)
    assert result.is_error and "suite approvals approve" in result.content[0].text and RAN == []


def test_a_forged_state_approves_nothing(port: Port) -> None:
    async def forge(client: McpClient) -> Any:
        answer = types.ElicitResult(action="accept", content={"decision": "approve", "reason": "x", "key": port.keys["admin_user"]})
        return await client.session.call_tool("write_file", {"path": "a"}, input_responses={"approval": answer}, request_state="0" * 36)

    result = talk(port, port.keys["dev_user"], forge)
    assert result.is_error and "no one approval" in result.content[0].text and RAN == []


def test_schemas_hints_progress_and_cancellation_reach_a_client(port: Port) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    begun, ended = threading.Event(), threading.Event()

    def git_status(watch: Watch, forever: bool = False) -> dict[str, Any]:
        """Count."""
        watch.report(1, 2, "half")
        begun.set()
        while forever and not watch.halted():
            ended.wait(0.01)
        if forever:
            ended.set()
        return {"n": 2}

    port.stage.tools.register(tool_of(git_status))

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    async def run(client: McpClient) -> Any:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool("git_status", {}, progress_callback=progress)
        begun.clear()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                async def cancel() -> None:
                    await anyio.to_thread.run_sync(begun.wait, 20)
                    scope.cancel()

                group.start_soon(cancel)
                await client.call_tool("git_status", {"forever": True})
        return tools, result

    tools, result = talk(port, port.owner, run)
    assert result.structured_content == {"n": 2} and seen == [(1, 2, "half")] and ended.wait(20)
    read, write_tool = tools["read_file"], tools["write_file"]
    assert read.output_schema["properties"]["content"] == {"type": "string"} and read.annotations.read_only_hint and not read.annotations.destructive_hint
    assert write_tool.annotations.destructive_hint and not write_tool.annotations.read_only_hint and not write_tool.annotations.open_world_hint


def test_a_question_is_over_with_the_approval(port: Port) -> None:
    port.stage.tools.approver.approvals.seconds = 1.0
    told = threading.Event()

    async def never(_context: Any, _params: types.ElicitRequestFormParams) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            told.set()  # the client was told that nobody waits for the answer any longer

    result = talk(port, port.keys["dev_user"], write, "legacy", elicitation_callback=never)
    assert result.is_error and "Nobody answered in time" in result.content[0].text and RAN == [] and told.wait(20)
    assert [row.state for row in port.stage.tools.approver.approvals.list()] == ["expired"]


def test_while_a_person_thinks_the_client_goes_on_with_other_calls(port: Port) -> None:
    asked, other = threading.Event(), anyio.Event()
    answer = person([], decision="approve", reason="ok", key=port.keys["admin_user"])

    async def think(context: Any, params: types.ElicitRequestFormParams) -> Any:
        asked.set()
        await other.wait()
        return await answer(context, params)

    async def both(client: McpClient) -> Any:
        results = []

        async def call() -> None:
            results.append(await write(client))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.to_thread.run_sync(asked.wait, 20)
            assert not (await client.call_tool("list_files", {"path": "."})).is_error and results == []
            other.set()
        return results

    assert [result.is_error for result in talk(port, port.keys["dev_user"], both, "legacy", elicitation_callback=think)] == [False] and RAN == ["a"]


def test_a_client_that_answers_with_an_error_is_told_what_to_do(port: Port) -> None:
    async def fail(_context: Any, _params: types.ElicitRequestFormParams) -> Any:
        return types.ErrorData(code=-32603, message="no window")

    result = talk(port, port.keys["dev_user"], write, "legacy", elicitation_callback=fail)
    assert result.is_error and "no window" in result.content[0].text and "suite approvals approve" in result.content[0].text and RAN == []


def test_an_answer_after_the_client_has_left_decides_nothing(port: Port) -> None:
    session = {"Authorization": f"Bearer {port.keys['dev_user']}", "Accept": "application/json, text/event-stream"}

    def send(client: httpx.Client, **message: Any) -> httpx.Response:
        return client.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=session)

    with httpx.Client(base_url=port.url, trust_env=False) as client:
        about = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "old", "version": "1"}}
        begun = send(client, id=1, method="initialize", params=about)
        session |= {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
        send(client, method="notifications/initialized")
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "write_file", "arguments": {"path": "a"}}}
        with client.stream("POST", "/mcp", json=call, headers={**session, "X-About": "call"}) as stream:
            question = next(json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: {"))
            assert question["method"] == "elicitation/create" and "HIGH" in question["params"]["message"]
        until(lambda: port.left.count(b"call") == 2)  # the part of the SDK that writes the stream, and the call that waits
        answer = {"decision": "approve", "reason": "ok", "key": port.keys["admin_user"]}
        assert send(client, id=question["id"], result={"action": "accept", "content": answer}).status_code == 202
        assert send(client, id=3, method="ping").status_code == 200  # what came before it was dealt with
    assert RAN == [] and [row.state for row in port.stage.tools.approver.approvals.list()] == ["pending"]
