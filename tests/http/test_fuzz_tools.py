"""Port 8020 under bad input: what its OpenAPI says by schemathesis, and JSON-RPC at `/mcp`. Never a 500, never a traceback, never an open door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.openapi import from_dict
from tools_stage import Stage, set_stage

from suite.access.identify import Door
from suite.access.key import create_key
from suite.http import tools as tools_http
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind

BOUNDED = settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
TALKS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
VERSION = "2025-11-25"
HELLO = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "fuzz", "version": "1"}}


class Served:
    """The port, whose token only `client` has."""

    def __init__(self, stage: Stage, app: Any, url: str, token: str) -> None:
        self.stage, self.app, self.url = stage, app, url
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)
        self.stranger = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def close(self) -> None:
        self.client.close()
        self.stranger.close()

    def rpc(self, method: str, params: Any = None, **headers: str) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return self.client.post("/mcp", json=body, headers=TALKS | headers)

    def session(self) -> dict[str, str]:
        """The headers of a session that was opened."""
        answer = self.rpc("initialize", HELLO)
        assert answer.status_code == 200, answer.text
        return {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": VERSION}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("stage")
    stage = set_stage(root, mcp_user_id="local-owner", rate_limit_enabled=False)  # so that calls get as far as they can
    (root / "run").mkdir(mode=0o700)
    token = create_key(root / "run")
    door = Door(token, stage.keys, "local-owner")
    app = tools_http.app(stage.tools, door)
    add_problems(app)
    sock, servers = bind("127.0.0.1", 0, "mcp-server"), HttpServers()
    servers.start({"mcp-server": (sock, Guard(app, "mcp-server", token.matches, "127.0.0.1", lambda *seen: None, door))})
    port = Served(stage, app, f"http://127.0.0.1:{sock.getsockname()[1]}", token.token)
    yield port
    port.close()
    servers.stop()
    stage.storage.close()


@pytest.fixture(autouse=True)
def answers_afterwards(served: Served) -> Iterator[None]:
    """After each test the port is as it was: a call runs by REST and by MCP, and the trail is whole."""
    yield
    assert served.client.post("/tools/list_files/call", json={}).json()["success"] is True
    called = served.rpc("tools/call", {"name": "list_files", "arguments": {}}, **served.session())
    assert called.status_code == 200 and '"isError":false' in called.text.replace(" ", ""), called.text
    assert served.stage.audit.verify().ok


def no_inside(answer: httpx.Response, sent: Any = "") -> None:
    """Neither a failure of the server's own, nor anything of its code."""
    assert answer.status_code < 500, (answer.status_code, answer.text[:500], sent)
    assert not any(word in answer.text for word in ("Traceback", "site-packages", 'File "')), (answer.text[:500], sent)


def ours(answer: httpx.Response, sent: Any = "") -> None:
    """An answer of ours: as above, and an error in the one shape that errors have."""
    no_inside(answer, sent)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert {"type", "message"} <= set(error) and error["message"], (answer.text[:500], sent)


# ---- what OpenAPI says ----


def operations(served: Served) -> list[Any]:
    """Every operation of the port's OpenAPI."""
    schema = from_dict(served.app.openapi())
    schema.config.update(base_url=served.url)
    found = [operation.ok() for operation in schema.get_all_operations()]
    assert {operation.path for operation in found} == {route.path.replace(":path", "") for route in served.app.routes if getattr(route, "include_in_schema", False)
                                                       and route.path != "/mcp"}
    return found


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_every_route_answers_anything_in_our_own_shape_and_nothing_without_the_token(served: Served, mode: Any) -> None:
    reached: set[int] = set()
    done = 0
    for operation in operations(served):
        @given(case=operation.as_strategy(generation_mode=mode), name=st.sampled_from(["", "list_files", "read_file"]))
        @BOUNDED
        def fuzz(case: Any, name: str) -> None:
            if name and "name" in case.path_parameters:
                case.path_parameters["name"] = name
            asked = case.as_transport_kwargs(base_url=served.url)
            sent = {"method": asked["method"], "url": asked["url"], "params": asked.get("params"), "content": asked.get("data"), "json": asked.get("json"),
                    "headers": {name: value for name, value in dict(asked.get("headers") or {}).items() if name.lower() != "authorization"}}
            try:
                request = httpx.Request(**{name: value for name, value in sent.items() if value is not None})
            except (httpx.InvalidURL, UnicodeEncodeError):
                return  # no client can send it
            refused = served.stranger.send(request)
            assert refused.status_code == 401, (refused.status_code, sent)
            request.headers["authorization"] = served.client.headers["authorization"]
            answer = served.client.send(request)
            ours(answer, sent)
            reached.add(answer.status_code)

        try:
            fuzz()
            done += 1
        except Unsatisfiable:  # a route of which nothing could be wrong: it takes nothing, or any text
            assert mode is schemathesis.GenerationMode.NEGATIVE, operation.path
    assert done >= 6 and {200, 404, 422} <= reached, (done, reached)  # it got as far as the routes


# ---- JSON-RPC at /mcp ----

DEEP = "[" * 20_000 + "]" * 20_000
RAW = [b"", b"{", b"null", b"[]", b"[[]]", b'"x"', b"1", b"NaN", b"\xff\xfe", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + DEEP.encode() + b"}",
       DEEP.encode(), b'{"jsonrpc":"2.0","id":1' + b"0" * 5000 + b',"method":"ping"}', b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
       b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', b'{"jsonrpc":"2.0","id":"' + b"x" * 100_000 + b'","method":"ping"}', b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
       json.dumps([{"jsonrpc": "2.0", "id": which, "method": "ping"} for which in range(3)]).encode(), b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
       b'{"jsonrpc":"2.0","id":1,"result":{}}', b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}', b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}']
METHODS = ["initialize", "ping", "tools/list", "tools/call", "server/discover", "subscriptions/listen", "logging/setLevel", "completion/complete", "resources/read", "prompts/get",
           "notifications/initialized", "notifications/cancelled", "notifications/progress", "sampling/createMessage", "", "x"]
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)
ids = st.sampled_from([None, 1, 0, -1, 2**31, 2**64, 10**400, 1.5, True, "", "x", "\x00", [], {}])
calls = st.fixed_dictionaries({}, optional={"name": st.sampled_from(["list_files", "read_file", "", "x", None, 1]), "arguments": values | st.fixed_dictionaries({"path": values}),
                                            "_meta": values | st.fixed_dictionaries({"progressToken": values}), "inputResponses": values, "requestState": values,
                                            "task": values, "protocolVersion": values, "capabilities": values, "clientInfo": values})
messages = st.fixed_dictionaries({}, optional={"jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]), "id": ids, "method": st.sampled_from(METHODS) | values, "params": calls | values})
latin = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)  # clients send none with spaces around it
heads = st.fixed_dictionaries({}, optional={"mcp-session-id": latin, "mcp-protocol-version": st.sampled_from(["", "2024-11-05", "2025-03-26", VERSION, "2026-07-28", "9999-99-99", "x"]) | latin,
                                            "accept": st.sampled_from(["", "*/*", "application/json", "text/event-stream", "text/html"]) | latin, "x-actor": latin, "last-event-id": latin,
                                            "content-type": st.sampled_from(["", "application/json", "text/plain", "application/json; charset=utf-16", "multipart/form-data"]),
                                            "mcp-method": st.sampled_from(METHODS), "mcp-name": latin})


@pytest.mark.parametrize("content", RAW, ids=lambda content: repr(content[:24]))
def test_what_is_no_message_is_refused_or_answered(served: Served, content: bytes) -> None:
    for headers in (TALKS, TALKS | served.session(), TALKS | {"mcp-protocol-version": "2026-07-28", "mcp-method": "ping"}):
        answer = served.client.post("/mcp", content=content, headers=headers)
        no_inside(answer, content[:80])
        assert answer.status_code < 500
    assert served.client.get("/tools").status_code == 200  # the port goes on


def test_any_message_in_any_headers_is_answered(served: Served) -> None:
    session = served.session()
    reached: set[int] = set()

    @given(message=messages | st.lists(messages, max_size=3), headers=heads, known=st.booleans())
    @settings(BOUNDED, max_examples=400)
    def fuzz(message: Any, headers: dict[str, str], known: bool) -> None:
        content = json.dumps(message).encode()
        answer = served.client.post("/mcp", content=content, headers=TALKS | (session if known else {}) | headers)
        no_inside(answer, (content, headers, known))
        reached.add(answer.status_code)

    fuzz()
    assert {200, 400} <= reached, reached


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "POST"])
@pytest.mark.parametrize("session", ["", "x", "0" * 5000, "../..", "00000000-0000-0000-0000-000000000000"])
def test_other_methods_and_unknown_sessions_are_refused(served: Served, method: str, session: str) -> None:
    answer = served.client.request(method, "/mcp", headers={"Accept": "application/json", "mcp-session-id": session} if session else {"Accept": "application/json"})
    no_inside(answer)
    assert answer.status_code >= 400


@pytest.mark.parametrize(("header", "value", "status"), [
    ("Host", "evil.example", 421), ("Host", "127.0.0.1.evil.example", 421), ("Host", "evil.example:8020", 421), ("Host", "", 421), ("Host", "localhost@evil.example", 421), ("Host", "[::1", 421),
    ("Origin", "http://evil.example", 403), ("Origin", "null", 403), ("Origin", "", 403), ("Origin", "https://127.0.0.1", 403), ("Origin", "http://127.0.0.1.evil.example", 403),
])
def test_a_page_of_another_site_reaches_nothing(served: Served, header: str, value: str, status: int) -> None:
    before = served.stage.audit.head()[0]
    for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/tools"), ("POST", "/tools/list_files/call"), ("GET", "/api/v1/approvals")):
        answer = served.client.request(method, path, headers=TALKS | {header: value}, json={} if method == "POST" else None)
        assert answer.status_code == status and answer.json()["error"]["type"] == "Denied", (method, path, answer.text)
    assert served.stage.audit.head()[0] == before


def test_mcp_answers_nobody_without_a_token(served: Served) -> None:
    for content in RAW:
        for token in ("", "Bearer x", "Bearer suite_" + "x" * 43, "Basic eA==", "Bearer " + "y" * 20_000):
            assert served.stranger.post("/mcp", content=content, headers=TALKS | {"Authorization": token}).status_code == 401
