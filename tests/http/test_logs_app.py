"""Port 3100: the log for guests and for clients of Loki, behind the door of every port."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.access.caller import Caller
from suite.errors import BadRequest, Denied, NotFound
from suite.http import logs
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.loki import Selector
from suite.http.problem import add_problems
from suite.http.remote_logs import RemoteLogs
from suite.http.serve import HttpServers, bind
from suite.monitoring.log import FileLog
from suite.monitoring.log_line import LEVELS, SERVICES, moment_text
from suite.monitoring.logs import Logs

OWNER, KEY = "o" * 64, "suite_" + "k" * 43
# Loki HTTP API, GET /loki/api/v1/query_range
FOUND = {
    "type": "object", "required": ["status", "data"],
    "properties": {"status": {"const": "success"}, "data": {"type": "object", "required": ["resultType", "result", "stats"], "properties": {
        "resultType": {"const": "streams"}, "stats": {"type": "object"}, "result": {"type": "array", "items": {
            "type": "object", "required": ["stream", "values"], "properties": {
                "stream": {"type": "object", "additionalProperties": {"type": "string"}},
                "values": {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [
                    {"type": "string", "pattern": "^[0-9]{19}$"}, {"type": "string"}]}}}}}}}},
}


class Door:
    """Knows the owner's token and the key of one actor."""

    quick = True

    def identify(self, token: str) -> Caller | None:
        return {OWNER: Caller("local-owner", client="http"), KEY: Caller("admin_user", "key-1", "http")}.get(token)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def url(log: FileLog) -> Iterator[str]:
    app = logs.app(log)
    add_problems(app)
    sock, servers = bind("127.0.0.1", 0, "logs"), HttpServers()
    servers.start({"logs": (sock, Guard(app, "logs", lambda token: token == OWNER, "127.0.0.1", lambda *_: None, Door()))})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, OWNER) as opened:
        yield opened


def found(client: Client, query: str, **params: Any) -> list[dict]:
    body = client.get("/loki/api/v1/query_range", params={"query": query, **params}).json()
    jsonschema.validate(body, FOUND)
    return body["data"]["result"]


@pytest.mark.parametrize("path", ["/api/v1/logs", "/api/v1/logs/after", "/loki/api/v1/labels", "/loki/api/v1/label/level/values",
                                  '/loki/api/v1/query_range?query={level="info"}'])
def test_the_log_is_for_the_owner(url: str, path: str) -> None:
    with httpx.Client() as bare:
        answers = [bare.get(url + path, headers={"Authorization": f"Bearer {token}"}) for token in ("wrong", KEY, OWNER)]
    assert [answer.status_code for answer in answers] == [401, 403, 200] and "not for the key of 'admin_user'" in answers[1].text


def test_ready_is_open_and_says_when_lines_cannot_be_written(url: str, log: FileLog) -> None:
    with httpx.Client() as bare:
        assert (bare.get(url + "/ready").text, bare.get(url + "/ready").status_code) == ("ready\n", 200)
        log._sink.failed = "No space left on device"
        assert bare.get(url + "/ready").status_code == 503


def test_a_guest_sees_what_the_host_sees(client: Client, log: FileLog) -> None:
    host, guest = Logs(log.reader), RemoteLogs(client)
    logging.getLogger("suite.knowledge").error("고장 \udc80 %s", "x" * 20_000, extra={"path": "/a\u2028b"}, exc_info=ValueError("inside"))
    logging.getLogger("suite.memory").info("fine")
    for asked in ({}, {"level": "error"}, {"service": "rag"}, {"contains": "고장"}, {"since": "5m"}, {"until": datetime(2020, 1, 1, tzinfo=UTC)}, {"n": 1}, {"request_id": "x"}):
        there, here = guest.read(**asked), host.read(**asked)
        assert there.equals(here) and list(there.columns) == list(here.columns) and (there.dtypes == here.dtypes).all(), asked
    for asked in ({"n": 0}, {"level": "loud"}, {"since": "soon"}, {"service": "x"}, {"contains": 1}):
        said = []
        for face in (host, guest):
            for how in (face.read, face.follow) if "since" not in asked else (face.read,):
                with pytest.raises(BadRequest) as refused:
                    how(**asked)
                said.append(str(refused.value))
        assert len(set(said)) == 1 and "\n" not in said[0]


def test_a_guest_follows(client: Client, log: FileLog) -> None:
    logging.getLogger("suite").warning("before")
    assert client.get("/api/v1/logs/after").json()["lines"] == [], "the first answer is only where to begin"
    with RemoteLogs(client).follow(level="warning") as lines:
        lines._interval = 0.01
        logging.getLogger("suite").info("not asked for")
        logging.getLogger("suite").error("asked for")
        assert next(lines)["message"] == "asked for" and len(lines.new()) == 0
    assert list(lines) == []


def test_what_somebody_else_wrote_into_the_file_is_no_failure(client: Client, log: FileLog) -> None:
    now = moment_text(time.time())
    log.file.write_text(f'{{"at": "{now}", "level": "info", "service": "rag", "message": "\\udc80"}}\n{{"at": "{now}", "level": "info", "service": ["x"], "message": 7}}\n')
    rows = client.get("/api/v1/logs").json()["lines"]
    assert [(row["message"], row["service"]) for row in rows] == [("\udc80", "rag"), ("7", "stack")]
    assert len(found(client, '{level="info"}')) == 2


def test_a_marker_goes_from_each_service_to_the_query(client: Client) -> None:
    assert client.post("/api/v1/logs/mark?text=marker-77").json()["services"] == list(SERVICES)
    for service in SERVICES:
        ((at, line),) = found(client, f'{{service="{service}"}} |= "marker-77"')[0]["values"]
        assert json.loads(line)["service"] == service and abs(int(at) / 1e9 - time.time()) < 60
    with pytest.raises(BadRequest, match="text"):
        client.post("/api/v1/logs/mark?text=")


def test_labels_are_service_and_level(client: Client) -> None:
    assert client.get("/loki/api/v1/labels").json() == {"status": "success", "data": ["level", "service"]}
    assert client.get("/loki/api/v1/label/service/values").json()["data"] == sorted(SERVICES)
    assert client.get("/loki/api/v1/label/level/values").json()["data"] == sorted(LEVELS)
    assert client.get("/loki/api/v1/label/other/values").json()["data"] == []


def test_lines_are_selected_as_loki_selects_them(client: Client) -> None:
    for n in range(5):
        logging.getLogger("suite.knowledge" if n % 2 else "suite.memory").log((logging.ERROR, logging.INFO)[n % 2], 'n%d "quoted" back\\slash', n)

    def texts(query: str, **params: Any) -> dict:
        return {(one["stream"]["service"], one["stream"]["level"]): [json.loads(line)["message"][:2] for _, line in one["values"]] for one in found(client, query, **params)}

    memory, rag = ("memory-api", "error"), ("rag", "info")
    assert texts('{service="rag"}') == {rag: ["n3", "n1"]}
    assert texts('{ service = "memory-api" , level="error", }', direction="forward") == {memory: ["n0", "n2", "n4"]}
    assert texts('{level="error"}', limit=2) == {memory: ["n4", "n2"]} and texts('{level="error"}', limit=2, direction="forward") == {memory: ["n0", "n2"]}
    assert texts('{service="rag", level="error"}') == {} and texts('{service="nobody"}') == {} and texts('{level="warn"}') == {}
    assert texts('{service="rag"} |= "n3"') == {rag: ["n3"]} == texts('{service="rag"}|=`n3`') and texts('{service="rag"} |= `\\"quoted\\"`') == {rag: ["n3", "n1"]}
    assert texts('{service="rag"} |= "n1 \\"quoted\\""') == {rag: ["n1"]}
    assert texts('{service="rag"}', start=time.time() + 60, end=time.time() + 120) == {}
    now = time.time_ns()
    assert texts('{service="rag"}', start=now - 60 * 10**9, end=now + 60 * 10**9) == {rag: ["n3", "n1"]} == texts('{service="rag"}', since="5m")
    assert texts('{service="rag"}', start=datetime.fromtimestamp(time.time() - 60, UTC).isoformat().replace("+00:00", "Z")) == {rag: ["n3", "n1"]}


@pytest.mark.parametrize("query", [
    "", "{}", "{service=~\"rag\"}", '{service!="rag"}', '{job="rag"}', '{service="rag"} | json', '{service="rag"} |~ "x"', '{service="rag"} != "x"', '{service="rag"} |= "a" |= "b"',
    'rate({service="rag"}[5m])', 'count_over_time({level="error"}[1h])', '{service="rag",service="rag"}', '{service="rag"', 'service="rag"', '{service=""}', '{service="rag"} |= x', '{service="\\q"}',
])
def test_any_other_query_is_refused_in_one_sentence(client: Client, query: str) -> None:
    with pytest.raises(BadRequest) as refused:
        found(client, query)
    assert str(refused.value).startswith(("query is ", "The text ")) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("params", "words"), [
    ({"limit": 0}, "limit is 0 but must be from 1 to 5000"), ({"limit": 5001}, "limit is 5001"), ({"direction": "up"}, "direction is 'up'"), ({"start": "soon"}, "start is 'soon'"),
    ({"end": "-5"}, "end is '-5'"), ({"since": "long"}, "since is 'long'"), ({"start": "2000000000", "end": "1000000000"}, "is after end"), ({"end": "9" * 29}, "end is '999"),
])
def test_other_parameters_are_checked_too(client: Client, params: dict, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        found(client, '{service="rag"}', **params)
    assert "\n" not in str(refused.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.text(max_size=40) | st.from_regex(r'\{(service|level|x)(=|!=|=~)("[^"]*"|`.`|x)[,}]? ?(\|=)? ?("[^"]*"|`.*`)?', fullmatch=True))
def test_any_text_is_a_query_or_refused(query: str) -> None:
    try:
        asked = Selector.of(query)
    except BadRequest as refused:
        assert "\n" not in str(refused).replace(repr(query), "")
    else:
        assert query.lstrip().startswith("{") and (not asked.query.contains or "|=" in query)


def test_other_routes_of_loki_are_not_there(client: Client) -> None:
    for path in ("/loki/api/v1/query", "/loki/api/v1/series", "/loki/api/v1/tail"):
        with pytest.raises(NotFound):
            client.get(path)
    with pytest.raises((NotFound, BadRequest, Denied)):
        client.post("/loki/api/v1/push", json={})
