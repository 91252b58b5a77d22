"""The audit trail on the real port: who may read it, the same as on the host, and what an edited, cut or odd trail gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from tools_stage import Stage, set_stage

from suite.access.event import Event
from suite.access.identify import Door
from suite.access.key import create_key
from suite.errors import BadRequest, Denied, from_dict
from suite.http import tools as tools_http
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.remote_audit import RemoteTrail
from suite.http.serve import HttpServers, bind
from suite.tools.trail import COLUMNS, MOST, Trail, frame

ROUTES = ("/api/v1/audit", "/api/v1/audit/verify", "/api/v1/audit/head")


@dataclass
class Port:
    """The served port; `keys` by actor, `owner` the access token, `trail` what the host has."""

    stage: Stage
    trail: Trail
    url: str
    owner: str
    keys: dict[str, str]

    def get(self, token: str, path: str, **params: Any) -> httpx.Response:
        with httpx.Client(base_url=self.url, trust_env=False, headers={"Authorization": f"Bearer {token}"} if token else {}) as client:
            return client.get(path, params=params)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    stage = set_stage(tmp_path, mcp_user_id="local-owner")
    (tmp_path / "run").mkdir(mode=0o700)
    token = create_key(tmp_path / "run")
    keys = {actor: stage.keys.create(actor)[1] for actor in ("guest_user", "dev_user", "admin_user")}
    door = Door(token, stage.keys, "local-owner")
    app = tools_http.app(stage.tools, door)
    add_problems(app)
    sock, servers = bind("127.0.0.1", 0, "mcp-server"), HttpServers()
    servers.start({"mcp-server": (sock, Guard(app, "mcp-server", token.matches, "127.0.0.1", lambda *seen: None, door))})
    yield Port(stage, Trail(stage.audit, stage.actors), f"http://127.0.0.1:{sock.getsockname()[1]}", token.token, keys)
    servers.stop()
    stage.storage.close()


@pytest.fixture
def remote(port: Port) -> Iterator[RemoteTrail]:
    """What a guest has."""
    with Client(port.url, port.owner) as client:
        yield RemoteTrail(client)


def fill(port: Port) -> None:
    """Four entries: two of an allowed call, a denied one, a failed one."""
    port.stage.tools.call("read_file", {"path": "README.md"})
    with pytest.raises(Denied):
        port.stage.tools.call("list_files", {}, actor="mallory")
    with pytest.raises(BadRequest):
        port.stage.tools.call("read_file", {"pth": "README.md"})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("who", "status"), [("owner", 200), ("admin_user", 200), ("dev_user", 403), ("guest_user", 403), ("", 401)])
def test_who_holds_audit_read_and_the_owner_may_read(port: Port, route: str, who: str, status: int) -> None:
    answer = port.get({"owner": port.owner, "": ""}.get(who) if who not in port.keys else port.keys[who], route)
    assert answer.status_code == status
    assert status != 403 or "'audit.read'" in answer.json()["error"]["message"]


def test_a_key_that_may_read_stops_when_its_actor_is_switched_off(port: Port) -> None:
    port.stage.actors.change("admin_user", active=False)
    assert {port.get(port.keys["admin_user"], route).status_code for route in ROUTES} <= {401, 403}


def test_the_owner_reads_their_own_trail_whatever_their_role(port: Port) -> None:
    port.stage.actors.change("local-owner", role="guest")
    assert {port.get(port.owner, route).status_code for route in ROUTES} == {200}


def test_the_table_is_the_same_on_the_host_and_on_a_guest(port: Port, remote: RemoteTrail) -> None:
    fill(port)
    here = port.trail.list()
    pd.testing.assert_frame_equal(here, remote.list())
    assert tuple(here.columns) == COLUMNS and str(here["at"].dt.tz) == "UTC" and list(here["seq"]) == list(range(1, len(here) + 1))
    assert list(here["outcome"])[-4:] == ["allowed", "done", "denied", "failed"] and list(here["actor"])[-2:] == ["mallory", "local-owner"]
    assert set(here["client"][-4:]) == {"kernel"} and here["digest"].iloc[-1] == port.stage.audit.head()[1]
    assert abs(here["at"].iloc[-1].timestamp() - port.stage.audit.tail(1)[0].at) < 1e-3


@pytest.mark.parametrize("asked", [
    {"actor": "mallory"}, {"kind": "tool_call"}, {"subject": "read_file"}, {"outcome": "denied"}, {"limit": 1}, {"limit": MOST}, {"actor": "nobody"},
    {"subject": "read_file", "outcome": "done"}, {"subject": "a&b=c #%20/\n한글"}, {"kind": "' OR 1=1 --"},
])
def test_filters_narrow_alike(port: Port, remote: RemoteTrail, asked: dict[str, Any]) -> None:
    fill(port)
    here = port.trail.list(**asked)
    pd.testing.assert_frame_equal(here, remote.list(**asked))
    for name, value in asked.items():
        assert name == "limit" or set(here[name]) <= {value}
    assert len(here) == {"mallory": 1, "denied": 1, "read_file": 3}.get(str(asked.get("actor") or asked.get("outcome") or asked.get("subject")), len(here))


def test_a_limit_gives_the_newest(port: Port) -> None:
    fill(port)
    assert list(port.trail.list(2)["outcome"]) == ["denied", "failed"]
    assert [row["outcome"] for row in port.get(port.owner, "/api/v1/audit", limit=2).json()["entries"]] == ["denied", "failed"]


@pytest.mark.parametrize("asked", [
    {"limit": 0}, {"limit": -1}, {"limit": MOST + 1}, {"limit": True}, {"limit": 2.5}, {"limit": "x"}, {"outcome": "good"}, {"actor": "a\0b"},
    {"subject": "\ud800"},
])
def test_what_cannot_be_asked_is_the_same_sentence_on_both(port: Port, remote: RemoteTrail, asked: dict[str, Any]) -> None:
    said = []
    for trail in (port.trail, remote):
        with pytest.raises(BadRequest) as caught:
            trail.list(**asked)
        said.append(str(caught.value))
    assert said[0] == said[1] and "\n" not in said[0]


@pytest.mark.parametrize(("query", "status"), [({"limit": 0}, 400), ({"limit": MOST + 1}, 400), ({"limit": "x"}, 422), ({"outcome": "good"}, 400),
                                               ({"actor": "a\0"}, 400), ({"kind": "x" * 5000}, 200)])
def test_a_client_of_another_kind_gets_a_status_and_a_sentence(port: Port, query: dict[str, Any], status: int) -> None:
    answer = port.get(port.owner, "/api/v1/audit", **query)
    assert answer.status_code == status and (status == 200 or isinstance(from_dict(answer.json(), status), BadRequest))


def test_verify_and_head_are_the_same_and_find_an_edited_entry(port: Port, remote: RemoteTrail) -> None:
    fill(port)
    assert port.trail.verify() == remote.verify() and remote.verify().ok and remote.verify().entries == port.stage.audit.head()[0]
    assert port.trail.head() == remote.head() == port.stage.audit.head()
    with port.stage.storage.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER IF EXISTS audit_no_update"))
        connection.execute(sa.text("UPDATE audit SET reason = 'nothing to see', at = 1e300 WHERE seq = 2"))
    found = remote.verify()
    assert found == port.trail.verify() and found.findings == ("Entry 2 was changed after it was written.",)
    assert list(remote.list()["at"].isna()) == [entry == 2 for entry in remote.list()["seq"]], "an edited time is no time, and the rest is shown"


def test_an_empty_trail_is_an_empty_table_with_the_same_types() -> None:
    empty, full = frame([]), frame([Event("a", "b", "c", "done", "r", {"client": "http"}, at=1.5, seq=1)])
    assert len(empty) == 0 and list(empty.columns) == list(COLUMNS) and list(empty.dtypes) == list(full.dtypes) and full["client"][0] == "http"


def test_no_secret_of_a_call_is_in_the_answers(port: Port) -> None:
    secret = port.keys["admin_user"]
    port.stage.audit.record(Event("dev_user", "tool_call", "write_file", "ask", f"with {secret}", {"arguments": {"content": f"key {secret}"}}))
    assert secret not in port.get(port.owner, "/api/v1/audit").text and "***" in port.get(port.owner, "/api/v1/audit").text
