"""Port 8021 is for administrators with a key; what they do is recorded, and holds at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tools_stage import Stage, desk, set_stage

from suite.access.admin import Admin
from suite.access.identify import Door
from suite.http import security
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.tools.sandbox import Sandbox, Sessions

OWNER = "f" * 64


class Token:
    """The access token of the stack."""

    def matches(self, token: str) -> bool:
        return token == OWNER


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = set_stage(tmp_path, mcp_user_id="local-owner")
    yield found
    found.storage.close()


@pytest.fixture
def port(stage: Stage, tmp_path: Path) -> Iterator[str]:
    sessions = Sessions(Sandbox(tmp_path / "sandbox"))
    app = security.app(stage.tools, Admin(stage.actors, stage.keys, stage.audit), sessions)
    add_problems(app)
    sock, servers = bind("127.0.0.1", 0, "security-admin"), HttpServers()
    door = Door(Token(), stage.keys, "local-owner")
    servers.start({"security-admin": (sock, Guard(app, "security-admin", Token().matches, "127.0.0.1", lambda *seen: None, door))})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()
    sessions.close()


def ask(port: str, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
    with httpx.Client(base_url=port, trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        return client.request(method, path, json=body)


ROUTES = [("GET", "/security/health"), ("GET", "/security/stats"), ("GET", "/security/sessions"), ("GET", "/security/sessions/x"),
          ("POST", "/security/sessions/cleanup"), ("GET", "/security/settings"), ("POST", "/security/settings"), ("GET", "/security/logs/audit"),
          ("GET", "/security/actors"), ("GET", "/security/keys"), ("DELETE", "/security/keys/0"), ("DELETE", "/security/approve-all")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_but_an_administrator_with_a_key_gets_in(stage: Stage, port: str, method: str, path: str) -> None:
    keys = {actor: stage.keys.create(actor)[1] for actor in ("guest_user", "dev_user", "admin_user")}
    assert [ask(port, token, method, path).status_code for token in ("wrong", keys["guest_user"], keys["dev_user"], OWNER)] == [401, 403, 403, 403]
    assert ask(port, keys["admin_user"], method, path).status_code in (200, 400, 404)
    assert stage.audit.tail(50)[0].outcome == "denied"


def test_an_actor_is_made_changed_and_switched_off_at_once(stage: Stage, port: str) -> None:
    admin = stage.keys.create("admin_user")[1]
    assert ask(port, admin, "POST", "/security/actors", {"name": "ann", "role": "guest"}).status_code == 201
    made = ask(port, admin, "POST", "/security/keys", {"actor": "ann", "label": "laptop"}).json()
    assert made["key"].startswith("suite_") and ask(port, made["key"], "GET", "/security/actors").status_code == 403
    assert ask(port, admin, "PUT", "/security/actors/ann", {"role": "admin"}).json()["role"] == "admin"
    assert ask(port, made["key"], "GET", "/security/actors").status_code == 200
    assert ask(port, admin, "PUT", "/security/actors/ann", {"active": False}).status_code == 200
    assert ask(port, made["key"], "GET", "/security/actors").status_code == 401
    kinds = [(event.kind, event.outcome) for event in stage.audit.tail(50)]
    assert [pair for pair in kinds if pair[0] != "admin"] == [("actor_add", "allowed"), ("key_create", "done"), ("actor_change", "allowed"), ("actor_change", "allowed")]
    assert made["key"] not in repr([event.to_dict() for event in stage.audit.tail(50)])


def test_keys_are_listed_without_their_text_and_revoked(stage: Stage, port: str) -> None:
    admin, (key, text) = stage.keys.create("admin_user")[1], stage.keys.create("dev_user", "old")
    listed = ask(port, admin, "GET", "/security/keys")
    assert key.id in listed.text and text not in listed.text
    assert ask(port, admin, "DELETE", f"/security/keys/{key.id}").json()["revoked"] and stage.keys.find(text) is None


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("POST", "/security/actors", {"name": "a b", "role": "guest"}, 400), ("POST", "/security/actors", {"name": "ann", "role": "queen"}, 400),
    ("POST", "/security/actors", {"name": "ann"}, 422), ("PUT", "/security/actors/nobody", {"active": True}, 404),
    ("PUT", "/security/actors/admin_user", {"active": False}, 400), ("POST", "/security/keys", {"actor": "nobody"}, 404),
    ("POST", "/security/keys", {"actor": "dev_user", "days": -1}, 400), ("POST", "/security/settings", {"security_level": "legacy"}, 400),
    ("POST", "/security/validate", {"code": ""}, 422), ("GET", "/security/logs/audit?limit=0", None, 422), ("GET", "/security/nowhere", None, 404),
    ("POST", "/security/approve-all", {"minutes": 999, "reason": "x"}, 400), ("POST", "/security/execute", {"code": "1", "timeout": 0}, 422),
])
def test_bad_input_has_its_status(stage: Stage, port: str, method: str, path: str, body: Any, status: int) -> None:
    answer = ask(port, stage.keys.create("admin_user")[1], method, path, body)
    assert answer.status_code == status and answer.json()["error"]["message"], answer.text


def test_what_holds_is_said(stage: Stage, port: str) -> None:
    admin = stage.keys.create("admin_user")[1]
    stage.tools.call("list_files")
    health, settings = ask(port, admin, "GET", "/security/health").json(), ask(port, admin, "GET", "/security/settings").json()["settings"]
    assert health["status"] == "healthy" and settings["security_mode"] == "normal" and settings["rbac_enabled"] and settings["approve_all"] is None
    stats = ask(port, admin, "GET", "/security/stats").json()["stats"]
    assert stats["total_events"] == 2 and stats["allowed"] == stats["done"] == 1 and stats["waiting"] == 0
    assert [row["outcome"] for row in ask(port, admin, "GET", "/security/logs/audit?kind=tool_call").json()["logs"]] == ["done", "allowed"]
    opened = ask(port, admin, "POST", "/security/approve-all", {"minutes": 1, "reason": "fire"})
    assert opened.status_code == 201 and ask(port, admin, "GET", "/security/settings").json()["settings"]["approve_all"]["reason"] == "fire"
    assert ask(port, admin, "DELETE", "/security/approve-all").json()["closed"]
    assert not ask(port, admin, "POST", "/security/validate", {"code": "def"}).json()["validation"]["valid"]
    assert ask(port, admin, "POST", "/security/validate", {"code": "import os"}).json()["validation"]["valid"]


def test_a_key_that_cannot_be_recorded_opens_nothing(stage: Stage, port: str) -> None:
    admin = stage.keys.create("admin_user")[1]
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END")
    assert ask(port, admin, "POST", "/security/keys", {"actor": "dev_user"}).status_code == 503
    assert [key.revoked is not None for key in stage.keys.list()] == [False, True]
    assert desk(stage).list(key=admin) == []
