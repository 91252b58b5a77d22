"""Resources and prompts over the real port: documents and reports that may be read, nothing that is not listed, and each reading on the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client as McpClient
from mcp import MCPError, types
from mcp.client.streamable_http import streamable_http_client
from tools_stage import NoToken, Stage, set_stage

from suite.access.identify import Door
from suite.errors import BadArguments, Denied, NotFound
from suite.http import tools as tools_http
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.remote_shelf import RemoteShelf
from suite.http.serve import HttpServers, bind
from suite.tools.prompts import MAX_ARGUMENT, PROMPTS, prompt
from suite.tools.shelf import Shelf


@dataclass
class Port:
    """The served port, and the keys of actors."""

    stage: Stage
    url: str
    keys: dict[str, str]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    stage = set_stage(tmp_path)
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "20260101T000000Z-phase2_health.ipynb").write_text('{"cells": []}', encoding="utf-8")
    (reports / "drills.json").write_text("{}", encoding="utf-8")
    (reports / "link.ipynb").symlink_to(tmp_path / "outside.txt")
    readme = str(stage.workspace / "README.md")
    stage.tools.shelf = Shelf(stage.audit, stage.actors, "admin_user", reports, lambda: [("핸드북", readme)], lambda path: Path(path).read_text("utf-8"))
    keys = {actor: stage.keys.create(actor)[1] for actor in ("guest_user", "dev_user")}
    door = Door(NoToken(), stage.keys, "admin_user")
    app = tools_http.app(stage.tools, door)
    add_problems(app)
    sock, servers = bind("127.0.0.1", 0, "mcp-server"), HttpServers()
    servers.start({"mcp-server": (sock, Guard(app, "mcp-server", NoToken().matches, "127.0.0.1", lambda *seen: None, door))})
    yield Port(stage, f"http://127.0.0.1:{sock.getsockname()[1]}", keys)
    servers.stop()
    stage.storage.close()


def talk(port: Port, key: str, conversation: Any, mode: str = "auto") -> Any:
    async def run() -> Any:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as http:
            with anyio.fail_after(30):
                async with McpClient(streamable_http_client(port.url + "/mcp", http_client=http), mode=mode) as client:
                    return await conversation(client)

    return anyio.run(run)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_documents_and_reports_are_listed_read_and_recorded(port: Port, mode: str) -> None:
    async def all_of_it(client: McpClient) -> Any:
        listed = (await client.list_resources()).resources
        return listed, [(await client.read_resource(row.uri)).contents[0] for row in listed]

    listed, contents = talk(port, port.keys["dev_user"], all_of_it, mode)
    assert [(row.name, row.mime_type) for row in listed] == [("README.md", "text/plain"), ("20260101T000000Z-phase2_health.ipynb", "application/x-ipynb+json")]
    assert [content.text for content in contents] == ["# 안녕\n", '{"cells": []}'] and [content.uri for content in contents] == [row.uri for row in listed]
    events = [(event.actor, event.kind, event.subject, event.outcome, event.detail["client"]) for event in port.stage.audit.tail(2)]
    assert events == [("dev_user", "resource_read", row.uri, "allowed", "mcp") for row in listed]


def test_who_may_not_make_reports_sees_none_and_reads_none(port: Port) -> None:
    report = "report:///20260101T000000Z-phase2_health.ipynb"

    async def look(client: McpClient) -> Any:
        names = [row.name for row in (await client.list_resources()).resources]
        with pytest.raises(MCPError, match=r"runbook\.run"):
            await client.read_resource(report)
        return names

    assert talk(port, port.keys["guest_user"], look) == ["README.md"] and port.stage.audit.tail(1)[0].outcome == "denied"


@pytest.mark.parametrize("uri", ["report:///../outside.txt", "report:///link.ipynb", "report:///drills.json", "document:////etc/passwd", "file:///etc/passwd",
                                 "report:///20260101T000000Z-phase2_health.ipynb/..", "document:///%ED%95%B8%EB%93%9C%EB%B6%81/etc/passwd", "x", "document:///"])
def test_what_is_not_listed_cannot_be_read(port: Port, uri: str) -> None:
    with Client(port.url, port.keys["dev_user"]) as client, pytest.raises(NotFound, match="nothing to read"):
        RemoteShelf(client).read(uri)
    assert port.stage.audit.tail(1)[0].outcome == "failed"


def test_a_guest_process_reads_as_the_host_does(port: Port) -> None:
    with Client(port.url, port.keys["dev_user"]) as client:
        far = RemoteShelf(client)
        here = port.stage.tools.shelf
        assert far.templates == here.templates and far.list() == here.list() and [far.read(item.uri) for item in far.list()] == [here.read(item.uri) for item in here.list()]
    with Client(port.url, port.keys["guest_user"]) as client, pytest.raises(Denied):
        RemoteShelf(client).read("report:///20260101T000000Z-phase2_health.ipynb")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_prompts_are_listed_and_filled(port: Port, mode: str) -> None:
    async def ask(client: McpClient) -> Any:
        listed = (await client.list_prompts()).prompts
        got = await client.get_prompt("answer_from_documents", {"question": "언제 {question}?"})
        with pytest.raises(MCPError, match="no prompt 'none'"):
            await client.get_prompt("none", {})
        with pytest.raises(MCPError, match="takes topic"):
            await client.get_prompt("what_was_said", {})
        return listed, got

    listed, got = talk(port, port.keys["guest_user"], ask, mode)
    assert [row.name for row in listed] == list(PROMPTS) and all(row.arguments and row.arguments[0].required for row in listed)
    assert got.messages[0].content.text.endswith("Question: 언제 {question}?") and "rag_search" in got.messages[0].content.text


REPORT = "report:///20260101T000000Z-phase2_health.ipynb"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_prompt_about_a_report_has_the_report_in_it_for_whoever_may_read_it(port: Port, mode: str) -> None:
    async def review(client: McpClient) -> Any:
        return (await client.get_prompt("review_report", {"report": REPORT})).messages

    report, text = (message.content for message in talk(port, port.keys["dev_user"], review, mode))
    assert (report.resource.uri, report.resource.text, report.resource.mime_type) == (REPORT, '{"cells": []}', "application/x-ipynb+json")
    assert REPORT in text.text and port.stage.audit.tail(1)[0].subject == REPORT

    async def refused(client: McpClient) -> None:
        with pytest.raises(MCPError, match=r"runbook\.run"):
            await review(client)

    talk(port, port.keys["guest_user"], refused, mode)
    assert port.stage.audit.tail(1)[0].outcome == "denied"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_addresses_are_completed_from_what_the_caller_may_read(port: Port, mode: str) -> None:
    about, of_template = types.PromptReference(name="review_report"), types.ResourceTemplateReference(uri="report:///{file}")

    async def typed(client: McpClient) -> Any:
        templates = (await client.list_resource_templates()).resource_templates
        asked = [(about, "report", "HEALTH"), (about, "report", "README"), (of_template, "file", "phase2"), (of_template, "file", "report"), (of_template, "x", ""),
                 (types.PromptReference(name="what_was_said"), "topic", "")]
        with pytest.raises(MCPError, match="no template"):
            await client.complete(types.ResourceTemplateReference(uri="file:///{path}"), {"name": "path", "value": ""})
        return templates, [(await client.complete(ref, {"name": name, "value": value})).completion.values for ref, name, value in asked]

    templates, values = talk(port, port.keys["dev_user"], typed, mode)
    assert [row.uri_template for row in templates] == ["report:///{file}"] and values == [[REPORT], [], [REPORT.removeprefix("report:///")], [], [], []]
    assert talk(port, port.keys["guest_user"], typed, mode)[1] == [[]] * 6


def test_no_more_is_completed_than_the_protocol_lets(port: Port, tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / "reports" / f"2026-{number}.ipynb").write_text("{}", encoding="utf-8")

    async def complete(client: McpClient) -> Any:
        return (await client.complete(types.PromptReference(name="review_report"), {"name": "report", "value": ""})).completion

    found = talk(port, port.keys["dev_user"], complete)
    assert (len(found.values), found.total, found.has_more) == (100, 101, True)


def test_a_prompt_about_a_report_takes_nothing_else() -> None:
    with pytest.raises(BadArguments, match="begins with"):
        prompt("review_report").filled({"report": "document:///x"})


@pytest.mark.parametrize("given", [{}, {"question": " "}, {"question": "x" * (MAX_ARGUMENT + 1)}, {"question": "x", "more": "y"}, {"topic": "x"}])
def test_a_prompt_takes_its_arguments_and_no_others(given: dict[str, str]) -> None:
    with pytest.raises(BadArguments):
        prompt("answer_from_documents").filled(given)
