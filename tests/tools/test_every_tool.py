"""Every one of the 24 tools answers a real MCP client, over HTTP with an API key and over `suite mcp`, on a whole stack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from notion_stage import DATABASE, TOKEN, Service
from web_stage import NO_BROWSER, site

from suite.access.policy import load_policy
from suite.bench import Bench, throwaway

PAGES = {"/": "<title>Harbour</title><h1>The ferry</h1><p>It leaves at noon.</p><button id='b'>Go</button>"}


@pytest.fixture(scope="module")
def stack(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, str]]:
    """A stack that asks for no approval, the URL of a web page, and an administrator's key; its workspace is a repository with a document."""
    if NO_BROWSER:
        pytest.skip(NO_BROWSER)
    work, service = tmp_path_factory.mktemp("work"), Service()
    (work / "README.md").write_text("# Harbour\n\nThe ferry leaves at noon.\n", encoding="utf-8")
    for command in (("init", "-q"), ("add", "README.md"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], cwd=work, check=True)
    with site(PAGES) as page:
        settings = {"workspace_dir": str(work), "rag_roots": str(work), "approval_workflow_enabled": False, "mcp_user_id": "admin_user", "notion_token": TOKEN,
                    "notion_url": service.url, "web_allowed": page.place, "models_dir": str(models_dir), "rate_limit_enabled": False}
        with throwaway(profile="smoke", **settings) as (found, _):
            Bench(found.settings, found).collection("default").add(str(work / "README.md"))
            yield found, page.url, found.keys.create("admin_user")[1]
    service.close()


def calls(url: str, mark: str) -> dict[str, tuple[dict[str, Any], Any]]:
    """Arguments of every tool, and what must be true of its structured result."""
    return {
        "list_files": ({}, lambda r: "README.md" in r["files"]), "read_file": ({"path": "README.md"}, lambda r: "ferry" in r["content"]),
        "write_file": ({"path": f"{mark}.txt", "content": "안녕"}, lambda r: r["created"] and r["bytes"] == 6),
        "git_status": ({}, lambda r: f"{mark}.txt" in str(r)), "git_add": ({"file_paths": [f"{mark}.txt"]}, lambda r: f"{mark}.txt" in str(r)),
        "git_diff": ({"staged": True}, lambda r: f"{mark}.txt" in str(r)), "git_commit": ({"message": f"add {mark}"}, lambda r: mark in str(r)),
        "git_log": ({"max_count": 1}, lambda r: f"add {mark}" in str(r)),
        "execute_python": ({"code": "print(6 * 7)"}, lambda r: r["stdout"] == "42\n" and r["success"] and "seccomp" in r["sandbox"]),
        "execute_bash": ({"command": "echo one | tr a-z A-Z"}, lambda r: r["stdout"] == "ONE\n"),
        "rag_search": ({"query": "When does the ferry leave?"}, lambda r: "noon" in r["sources"][0]["quote"] and r["response"] and r["smoke"]),
        "ai_chat": ({"message": "Name three colours."}, lambda r: r["text"] and r["model"] == "chat-7b" and r["smoke"]),
        "get_current_model": ({}, lambda r: [row["role"] for row in r["models"]] == ["chat", "code"] and all(row["loaded"] for row in r["models"])),
        "switch_model": ({"model_type": "code"}, lambda r: r["success"] and r["current_model"] == "smoke"),
        "memory_save": ({"question": f"Where is the lamp of {mark}?", "reply": "In the cellar."}, lambda r: len(r["id"]) == 36 and r["rules"]),
        "memory_search": ({"query": f"lamp {mark}", "how": "words"}, lambda r: mark in r["turns"][0]["question"]),
        "run_runbook": ({"name": "phase2_health"}, lambda r: r["verdict"] == "pass" and len(r["checks"]) == 9),
        "web_scrape": ({"url": url, "selector": "h1"}, lambda r: r["data"] == ["The ferry"]),
        "web_screenshot": ({"url": url}, lambda r: str(r).find("iVBORw0KGgo") > 0), "web_analyze_ui": ({"url": url}, lambda r: r["title"] == "Harbour"),
        "web_automate": ({"url": url, "actions": [{"type": "click", "selector": "#b"}]}, lambda r: r["done"] == 1 and r["title"] == "Harbour"),
        "notion_search": ({"query": "page"}, lambda r: len(r["results"]) == 10),
        "notion_create_page": ({"database_id": DATABASE, "title": mark}, lambda r: mark in r["url"]),
        "web_to_notion": ({"url": url, "database_id": DATABASE}, lambda r: "ferry" in str(r)),
    }


async def every(client: Client, url: str, mark: str) -> dict[str, str]:
    """Call each tool once; gives what was wrong, by tool."""
    wrong = {}
    described = {tool.name: tool for tool in (await client.list_tools()).tools}
    for name, (arguments, holds) in calls(url, mark).items():
        result = await client.call_tool(name, arguments)
        if result.is_error or not holds(result.structured_content):
            wrong[name] = str(result.content)[:300] if result.is_error else str(result.structured_content)[:300]
        elif missing := set(described[name].output_schema.get("required", ())) - result.structured_content.keys():
            wrong[name] = f"without {missing}"
    return wrong


async def readable(client: Client) -> dict[str, str]:
    """The document and the report that the tools made are resources; gives what was wrong."""
    listed = {row.name: row.uri for row in (await client.list_resources()).resources}
    texts = {name: (await client.read_resource(uri)).contents[0].text for name, uri in listed.items()}
    report = next((text for name, text in texts.items() if name.endswith("phase2_health.ipynb")), "")
    return {} if "ferry" in texts.get("README.md", "") and "P2.9" in report else {"resources": str(listed)}


def test_every_tool_is_tried() -> None:
    assert set(calls("", "")) == set(load_policy().tools) and len(calls("", "")) == 24


def test_every_tool_answers_over_http(stack: tuple[Any, str, str]) -> None:
    found, url, key = stack

    async def run() -> dict[str, str]:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=120) as http:
            with anyio.fail_after(200):
                async with Client(streamable_http_client(f"http://127.0.0.1:{found.ports['mcp-server']}/mcp", http_client=http)) as client:
                    wrong = await every(client, url, "http")
                    return wrong | await readable(client)

    assert anyio.run(run) == {}
    assert {event.detail["client"] for event in found.audit.find(2, subject="web_to_notion")} == {"mcp"}


def test_every_tool_answers_over_stdio(stack: tuple[Any, str, str]) -> None:
    found, url, _ = stack
    environment = {**os.environ, "DATA_DIR": str(found.settings.data_dir)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "suite", "mcp"], env=environment, cwd=str(found.settings.workspace_dir))

    async def run() -> dict[str, str]:
        with anyio.fail_after(200):
            async with Client(server) as client:
                wrong = await every(client, url, "stdio")
                return wrong | await readable(client)

    assert anyio.run(run) == {}
