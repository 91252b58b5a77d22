"""The MCP project's own conformance suite against our `/mcp` on the real port; what it is expected to fail is listed, each with its reason."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools_stage import set_stage

from suite.access.caller import Caller
from suite.access.identify import Door
from suite.access.key import create_key
from suite.access.permission import Permission, Sensitivity
from suite.errors import BadRequest, NotFound
from suite.http import tools as tools_http
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.tools.prompts import Prompt
from suite.tools.shelf import Item
from suite.tools.tool import Watch, tool_of

PACKAGES = ("@modelcontextprotocol/conformance@0.1.16", "node@22.23.3")  # the suite needs a newer node than distributions have
EXPECTED = Path(__file__).with_name("mcp_conformance.txt")
SECONDS = 240


def test_simple_text() -> dict[str, Any]:
    """Give a text."""
    return {"text": "This is a simple text response for testing."}


def test_error_handling() -> dict[str, Any]:
    """Fail."""
    raise BadRequest("This tool intentionally returns an error for testing.")


def test_tool_with_progress(watch: Watch) -> dict[str, Any]:
    """Say three times how far it is."""
    for done in (0, 50, 100):
        watch.report(done, 100, f"{done} of 100")
    return {"text": "done"}


def test_elicitation(message: str) -> dict[str, Any]:
    """Wait for an approval: the one thing for which a person is asked during a call. The suite's person has no key, so it never runs."""
    raise AssertionError(message)


def json_schema_2020_12_tool(**given: Any) -> dict[str, Any]:
    """Give what was given."""
    return given


TOOLS = (test_simple_text, test_error_handling, test_tool_with_progress, test_elicitation)  # the suite asks for these names
for tool in TOOLS:
    tool.__test__ = False  # type: ignore[attr-defined]
SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
          "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
          "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}}}
PROMPTS = {prompt.name: prompt for prompt in (
    Prompt("test_simple_prompt", "Without arguments.", {}, "This is a simple prompt for testing."),
    Prompt("test_prompt_with_arguments", "With two.", {"arg1": "the first", "arg2": "the second"}, "Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"),
    Prompt("test_prompt_with_embedded_resource", "With a resource.", {"resourceUri": "its address"}, "Please process the embedded resource above.",
           attached={"resourceUri": ""}),
)}


TEXTS = {"test://static-text": "This is the content of the static text resource.", "test://example-resource": "Embedded resource content for testing.",
         "test://template/123/data": '{"id": "123", "templateTest": true, "data": "Data for ID: 123"}'}


class SuiteShelf:
    """The resources that the suite reads, which are text."""

    templates = (Item("test://template/{id}/data", "template", "The data of an id.", "application/json"),)

    def list(self, caller: Caller | None = None) -> list[Item]:
        return [Item(uri, uri, "A text.", "text/plain") for uri in TEXTS]

    def read(self, uri: str, caller: Caller | None = None) -> tuple[Item, str]:
        found = next((item for item in self.list() if item.uri == uri), None)
        if found is None:
            raise NotFound(f"There is nothing to read at {uri!r}.")
        return found, TEXTS[uri]


@dataclass(frozen=True)
class Outcome:
    """What the suite found in one scenario: its failed checks, and how many checks passed."""

    failed: tuple[str, ...]
    passed: int


class Bearer:
    """Adds the token that the suite cannot send; host, origin and all else go on as they came."""

    def __init__(self, app: Any, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {self.token}".encode())]}
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Port 8020 with the tools, prompts and resources that the suite asks for."""
    root = tmp_path_factory.mktemp("stage")
    stage = set_stage(root, mcp_user_id="local-owner")
    for tool in (*map(tool_of, TOOLS), tool_of(json_schema_2020_12_tool, schema=SCHEMA)):
        asks = Sensitivity.HIGH if tool.name == "test_elicitation" else Sensitivity.LOW
        stage.actors.policy.tools[tool.name] = Permission(tool.name, "file.list", asks, effect="reads")
        stage.tools.register(tool)
    stage.tools.shelf = SuiteShelf()  # type: ignore[assignment]
    (root / "run").mkdir(mode=0o700)
    token = create_key(root / "run")
    door = Door(token, stage.keys, "local-owner")
    app = tools_http.app(stage.tools, door, prompts=PROMPTS)
    add_problems(app)
    guarded = Guard(app, "mcp-server", token.matches, "127.0.0.1", lambda *seen: None, door)
    sock, servers = bind("127.0.0.1", 0, "mcp-server"), HttpServers()
    servers.start({"mcp-server": (sock, Bearer(guarded, token.token))})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
    servers.stop()
    stage.storage.close()


@pytest.fixture(scope="module")
def command() -> list[str]:
    """How the suite is run; it is installed once and kept beside the tests' models. Without npm or its registry the tests are skipped."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; install the packages nodejs and npm.")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "local-ai-suite-tests" / "mcp-conformance" / "-".join(
        package.rpartition("@")[2] for package in PACKAGES)
    node, script = folder / "node_modules" / "node" / "bin" / "node", folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    if not (node.is_file() and script.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        made = subprocess.run(["npm", "install", "--no-audit", "--no-fund", *PACKAGES], cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        if made.returncode != 0 or not (node.is_file() and script.is_file()):
            pytest.skip(f"npm could not install {' and '.join(PACKAGES)}: {made.stderr.strip().splitlines()[-1:]}")
    return [str(node), str(script)]


@pytest.fixture(scope="module")
def outcomes(url: str, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """By scenario what the suite found."""
    results = tmp_path_factory.mktemp("results")
    ran = subprocess.run([*command, "server", "--url", url, "--suite", "all", "--output-dir", str(results)], capture_output=True, text=True, timeout=SECONDS)
    found = {}
    for file in results.glob("*/checks.json"):
        checks = json.loads(file.read_text())
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name.removeprefix("server-"))
        failed = tuple(f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] in ("FAILURE", "WARNING"))
        found[scenario] = Outcome(failed, sum(check["status"] == "SUCCESS" for check in checks))
    assert found, ran.stdout[-2000:] + ran.stderr[-2000:]
    return found


def expected() -> dict[str, str]:
    """The reason by the scenario, or by a pattern of several."""
    rows = [line.partition(": ") for line in EXPECTED.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {pattern: reason for pattern, _, reason in rows}


def test_just_the_listed_scenarios_fail(outcomes: dict[str, Outcome]) -> None:
    reasons = expected()
    listed = {pattern: fnmatch.filter(outcomes, pattern) for pattern in reasons}
    assert len(outcomes) >= 30 and all(reasons.values()) and [pattern for pattern, names in listed.items() if not names] == []
    others = {name: outcome for name, outcome in outcomes.items() if not any(name in names for names in listed.values())}
    assert {name: outcome.failed for name, outcome in others.items() if outcome.failed or not outcome.passed} == {}
    passing = [name for names in listed.values() for name in names if not outcomes[name].failed]
    assert passing == [], "these pass now: take them off the list"
