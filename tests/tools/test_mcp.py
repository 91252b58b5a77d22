"""The tools over MCP: a real client of the official SDK, in memory, over HTTP and over stdio."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters, types
from tools_stage import Stage, desk, set_stage

from suite.tools.server import mcp_server
from suite.tools.tool import tool_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = set_stage(tmp_path)
    yield found
    found.storage.close()


def talk(target: Any, conversation: Callable[[Client], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Open a client, hold the conversation, close it."""

    async def run() -> Any:
        with anyio.fail_after(30):
            async with Client(target, **options) as client:
                return await conversation(client)

    return anyio.run(run)


async def exercise(client: Client) -> dict[str, Any]:
    """What every transport must give."""
    listed = (await client.list_tools()).tools
    return {
        "tools": {tool.name: tool.input_schema for tool in listed},
        "read": await client.call_tool("read_file", {"path": "notes/회의록.txt"}),
        "outside": await client.call_tool("read_file", {"path": "../outside.txt"}),
        "wrong": await client.call_tool("read_file", {"file": "x"}),
        "unknown": await client.call_tool("no_such_tool", {}),
        "gated": await client.call_tool("write_file", {}),
    }


def expect(stage: Stage, seen: dict[str, Any]) -> None:
    """The same on every transport."""
    assert seen["tools"] == {tool.name: dict(tool.schema) for tool in stage.tools.list()}
    assert seen["read"].structured_content["content"] == "세 시에 만나요.\n" and not seen["read"].is_error
    for name, reason in (("outside", "out of the workspace"), ("wrong", "'file'"), ("unknown", "'no_such_tool'"), ("gated", "approval")):
        assert seen[name].is_error and reason in seen[name].content[0].text, (name, seen[name])
    outcomes = [event.outcome for event in stage.audit.tail(100)]
    assert outcomes == ["allowed", "done", "allowed", "denied", "failed", "failed", "ask"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_mcp_client_lists_calls_and_is_refused_with_the_reason(stage: Stage, mode: str) -> None:
    stage.tools.register(tool_of(lambda: "written", name="write_file"))
    expect(stage, talk(mcp_server(stage.tools, desk(stage), stage.tools.shelf), exercise, mode=mode))


def test_a_value_that_is_no_object_is_wrapped(stage: Stage) -> None:
    stage.tools.register(tool_of(lambda: [1, "둘"], name="git_status"))

    async def call(client: Client) -> Any:
        return await client.call_tool("git_status", {})

    result = talk(mcp_server(stage.tools, desk(stage), stage.tools.shelf), call)
    assert result.structured_content == {"result": [1, "둘"]} and result.content[0].text == '[1, "둘"]'


def test_the_inside_of_a_broken_tool_reaches_the_client_only_as_one_sentence(stage: Stage) -> None:
    def breaks() -> None:
        raise RuntimeError("boom")

    stage.tools.register(tool_of(breaks, name="git_status"))

    async def call(client: Client) -> Any:
        return await client.call_tool("git_status", {})

    result = talk(mcp_server(stage.tools, desk(stage), stage.tools.shelf), call)
    assert result.is_error and "git_status failed" in result.content[0].text and "Traceback" not in result.content[0].text


def test_relative_paths_over_stdio_start_where_the_process_was_started(tmp_path: Path) -> None:
    stage = set_stage(tmp_path)
    stage.storage.close()
    script = ("import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from tools_stage import desk, open_stage; "
              "from suite.tools.server import serve_stdio; stage = open_stage(Path(sys.argv[1])); serve_stdio(stage.tools, desk(stage), stage.tools.shelf)")
    server = StdioServerParameters(command=sys.executable, args=["-c", script, str(tmp_path), str(ROOT / "tests")],
                                   cwd=str(stage.workspace / "notes"))

    async def call(client: Client) -> Any:
        return await client.call_tool("read_file", {"path": "회의록.txt"})

    result = talk(server, call)
    assert not result.is_error and result.structured_content["path"] == "notes/회의록.txt"


# the owner of the process is dev_user, so that the key of admin_user may decide
ASKS = ("import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]; from tools_stage import desk, open_stage; "
        "from suite.tools.builtin.files import WRITE_TOOLS; from suite.tools.server import serve_stdio; "
        "stage = open_stage(Path(sys.argv[1]), mcp_user_id='dev_user'); stage.tools.register(WRITE_TOOLS[0]); "
        "serve_stdio(stage.tools, desk(stage), stage.tools.shelf)")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio_somebody_elses_key_approves(tmp_path: Path, mode: str) -> None:
    stage = set_stage(tmp_path)
    key = stage.keys.create("admin_user")[1]
    stage.storage.close()
    server = StdioServerParameters(command=sys.executable, args=["-c", ASKS, str(tmp_path), str(ROOT / "tests"), str(ROOT)], cwd=str(stage.workspace))

    async def approve(_context: Any, _params: types.ElicitRequestFormParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"decision": "approve", "reason": "ok", "key": key})

    async def call(client: Client) -> Any:
        return await client.call_tool("write_file", {"path": "new.txt", "content": "새"})

    result = talk(server, call, mode=mode, elicitation_callback=approve)
    assert not result.is_error and (stage.workspace / "new.txt").read_text(encoding="utf-8") == "새"


def test_over_stdio_a_client_that_leaves_while_it_is_asked_ends_the_process(tmp_path: Path) -> None:
    stage = set_stage(tmp_path)
    stage.storage.close()
    about = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "old", "version": "1"}}
    messages = ({"id": 1, "method": "initialize", "params": about}, {"method": "notifications/initialized"},
                {"id": 2, "method": "tools/call", "params": {"name": "write_file", "arguments": {"path": "new.txt", "content": "x"}}})
    with subprocess.Popen([sys.executable, "-c", ASKS, str(tmp_path), str(ROOT / "tests"), str(ROOT)], cwd=stage.workspace, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        for message in messages:
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        server.stdin.flush()
        said = (json.loads(line) for line in server.stdout)
        assert "result" in next(said) and next(said).get("method") == "elicitation/create"
        server.stdin.close()
        assert server.wait(30) == 0
    assert not (stage.workspace / "new.txt").exists()
