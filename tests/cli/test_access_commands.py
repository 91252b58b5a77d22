"""`suite keys`, `suite approvals`, `suite audit`: beside a stack or without one, on the database itself."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from suite.access.actor import Actors
from suite.access.approval import Wish
from suite.access.approvals import Approvals
from suite.cli.main import main
from suite.storage.engine import open_storage


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a database, in force for commands."""
    folder = tmp_path / "data"
    (folder / "sqlite").mkdir(parents=True)
    storage = open_storage("", folder / "sqlite")
    Actors(storage).seed()
    storage.close()
    monkeypatch.setenv("DATA_DIR", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SUITE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def said(capsys: pytest.CaptureFixture[str], *command: str, status: int = 0) -> Any:
    """What a command prints, as JSON where it is that."""
    capsys.readouterr()
    assert main(list(command)) == status, capsys.readouterr()
    out = capsys.readouterr().out
    try:
        return json.loads(out)
    except ValueError:
        return out


def waiting(data: Path, actor: str = "local-owner") -> str:
    storage = open_storage("", data / "sqlite")
    try:
        return Approvals(storage).ask(Wish(actor, "write_file", {"path": "a", "password": "hunter2"}, "/w"), "why")[0].id
    finally:
        storage.close()


def key_of(capsys: pytest.CaptureFixture[str], actor: str, folder: Path) -> Path:
    file = folder / f"{actor}.key"
    file.write_text(said(capsys, "keys", "create", actor), encoding="utf-8")
    return file


def test_a_key_is_made_shown_once_listed_without_itself_and_revoked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = said(capsys, "keys", "create", "dev_user", "--label", "laptop", "--days", "2", "--json")
    assert made["key"].startswith("suite_") and made["actor"] == "dev_user" and made["expires"]
    listed = said(capsys, "keys", "list")
    assert made["id"] in listed and "laptop" in listed and made["key"] not in listed
    assert said(capsys, "keys", "revoke", made["id"], "--json")["revoked"]
    assert [event["kind"] for event in said(capsys, "audit", "list", "--json")] == ["key_create", "key_revoke"]
    assert made["key"].encode() not in b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


def test_only_the_key_goes_to_standard_output(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "admin_user"]) == 0
    out, err = capsys.readouterr()
    assert out.strip().startswith("suite_") and len(out.split()) == 1 and out.strip() not in err and "shown this once" in err


@pytest.mark.parametrize(("command", "says"), [
    (["keys", "create", "mallory"], "There is no actor 'mallory'"), (["keys", "revoke", "0"], "There is no key '0'"),
    (["approvals", "approve", "12345678", "--reason", "x"], "There is no one approval"), (["approvals", "list", "--state", "odd"], "no state 'odd'"),
    (["approvals", "list", "--key-file", "none"], "cannot be read"), (["tools", "call", "read_file", "path"], "is not NAME=VALUE"),
])
def test_bad_input_is_one_sentence(data: Path, capsys: pytest.CaptureFixture[str], command: list[str], says: str) -> None:
    assert main(command) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_without_a_database_the_next_step_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "none"))
    assert main(["audit", "verify"]) == 2 and "`suite up` makes one" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_an_approval_is_listed_shown_and_approved_with_a_key(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    id, key = waiting(data), key_of(capsys, "admin_user", tmp_path)
    assert id[:8] in said(capsys, "approvals", "list") and "hunter2" not in said(capsys, "approvals", "list")
    assert said(capsys, "approvals", "show", id[:8])["arguments"] == {"path": "a", "password": "***"}
    done = said(capsys, "approvals", "approve", id[:8], "--reason", "fine", "--key-file", str(key), "--json")
    assert (done["state"], done["decided_by"], done["rule"]) == ("approved", "admin_user", "approver")
    assert main(["approvals", "reject", id, "--reason", "no", "--key-file", str(key)]) == 2 and "is approved" in capsys.readouterr().err
    assert said(capsys, "approvals", "list") == said(capsys, "approvals", "list", "--state", "rejected") and id[:8] in said(capsys, "approvals", "list", "--state", "all")


def test_the_owner_confirms_in_stage_dev_only(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    id = waiting(data)
    monkeypatch.setenv("SUITE_STAGE", "staging")
    assert main(["approvals", "approve", id, "--reason", "mine"]) == 2 and "asked for this call" in capsys.readouterr().err
    monkeypatch.setenv("SUITE_STAGE", "dev")
    assert "owner-confirm" in said(capsys, "approvals", "approve", id, "--reason", "mine")


def test_a_key_in_the_environment_is_used_and_a_dead_one_refused(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    id, made = waiting(data, "dev_user"), said(capsys, "keys", "create", "admin_user", "--json")
    monkeypatch.setenv("SUITE_API_KEY", made["key"])
    assert said(capsys, "approvals", "reject", id, "--reason", "no", "--json")["decided_by"] == "admin_user"
    said(capsys, "keys", "revoke", made["id"])
    assert main(["approvals", "list"]) == 2
    error = capsys.readouterr().err
    assert "was revoked" in error and made["key"] not in error


def test_everything_is_opened_and_closed_by_an_administrator(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["approvals", "open", "5", "--reason", "fire"]) == 2 and "does not hold" in capsys.readouterr().err
    key = str(key_of(capsys, "admin_user", tmp_path))
    assert "approved for 5 minutes" in said(capsys, "approvals", "open", "5", "--reason", "fire", "--key-file", key)
    assert "again" in said(capsys, "approvals", "close", "--key-file", key) and "nothing was open" in said(capsys, "approvals", "close", "--key-file", key)


def test_an_edited_a_cut_and_a_whole_trail(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        said(capsys, "keys", "create", "dev_user")
    found = said(capsys, "audit", "verify", "--json")
    assert found["ok"] and found["entries"] == 3
    capsys.readouterr()
    assert main(["audit", "export"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3] and lines[-1]["digest"] == found["head"]
    with closing(sqlite3.connect(data / "sqlite" / "suite.db")) as connection:
        connection.execute("DELETE FROM audit WHERE seq = 3")
        connection.commit()
    assert "Entries 3 to 3 are missing at the end." in said(capsys, "audit", "verify", status=1)
    with closing(sqlite3.connect(data / "sqlite" / "suite.db")) as connection:
        connection.execute("UPDATE audit SET actor = 'x' WHERE seq = 1")
        connection.commit()
    assert "Entry 1 was changed" in said(capsys, "audit", "verify", status=1)


def test_a_key_must_allow_reading_the_trail(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = str(key_of(capsys, "dev_user", tmp_path))
    assert main(["audit", "list", "--key-file", key]) == 2 and "'audit.read'" in capsys.readouterr().err
    assert said(capsys, "audit", "list", "--json", "--key-file", str(key_of(capsys, "admin_user", tmp_path)))
