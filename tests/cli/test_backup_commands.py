"""`suite backup`: by itself while nothing runs, through the host while a stack does; exit codes and the one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels import Process
from suite.access.actor import Actors
from suite.cli.main import main
from suite.storage.engine import open_storage

Call = Callable[..., tuple[int, str, str]]


def caller(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["backup", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command on a data directory on which no stack runs, with an actor in it."""
    (tmp_path / "data" / "sqlite").mkdir(parents=True)
    storage = open_storage("", tmp_path / "data" / "sqlite")
    Actors(storage).seed()
    storage.close()
    return caller({"DATA_DIR": str(tmp_path / "data")}, monkeypatch, capsys)


def made(call: Call, *arguments: str) -> dict[str, Any]:
    status, out, _ = call("create", "--json", *arguments)
    assert status == 0
    return json.loads(out)


def test_a_backup_is_made_listed_verified_and_thinned_out_while_nothing_runs(call: Call, tmp_path: Path) -> None:
    assert call("verify")[0] == 1, "where there is none, nothing is proven"
    snapshot = made(call)
    place = Path(snapshot["path"])
    assert place.parent == tmp_path / "data" / "backups" and snapshot["tables"]["actors"] == 4
    status, out, _ = call("list", "--json")
    told = json.loads(out)
    assert status == 0 and [row["name"] for row in told["rows"]] == [place.name] and told["standing"]["rpo_s"] is None
    assert "No snapshot was ever restored" in call("list")[1]
    status, out, _ = call("verify", str(place))
    assert status == 0 and "2 decisions as before" in out
    assert call("verify", place.name)[0] == 0 and json.loads(call("verify", "--json")[1])["ok"] is True
    status, out, _ = call("list")
    assert "RTO" in out and place.name in out
    second = made(call)
    assert "would be deleted" not in call("prune")[1], "the verified one and the newest of the day"
    assert call("verify", second["path"])[0] == 0
    status, out, _ = call("prune", "--json")
    assert status == 0 and json.loads(out)["gone"] == [place.name] and place.is_dir()
    assert "Nothing was deleted" in call("prune")[1]
    assert call("prune", "--yes")[0] == 0 and not place.exists() and Path(second["path"]).is_dir()
    assert not any(path.name.startswith("host") and path.suffix == ".json" for path in (tmp_path / "data" / "run").iterdir())


def test_a_flipped_byte_ends_with_status_one_and_names_the_file(call: Call) -> None:
    place = Path(made(call)["path"])
    data = bytearray((place / "database" / "suite.db").read_bytes())
    data[5000] ^= 1
    (place / "database" / "suite.db").write_bytes(bytes(data))
    status, out, _ = call("verify", str(place))
    assert status == 1 and "database/suite.db has other content" in out and "NOT as it was written" in out
    status, out, _ = call("verify", str(place), "--json")
    assert status == 1 and json.loads(out)["ok"] is False and "suite.db" in str(json.loads(out)["problems"])
    assert call("verify", str(place.parent / "absent"))[0] == 1
    (place / "manifest.json").write_text("{")
    status, out, err = call("verify", str(place))
    assert (status, out) == (1, "") and err.startswith("suite: The manifest") and err.count("\n") == 1


def test_a_restore_takes_the_newest_verified_one_and_is_undone(call: Call, tmp_path: Path) -> None:
    def actors() -> list[str]:
        storage = open_storage("", tmp_path / "data" / "sqlite")
        try:
            return [actor.name for actor in Actors(storage).list()]
        finally:
            storage.close()

    status, _, err = call("restore")
    assert status == 2 and "was ever verified; name one" in err
    snapshot = made(call)
    storage = open_storage("", tmp_path / "data" / "sqlite")
    Actors(storage).add("later", "guest")
    storage.close()
    assert call("verify")[0] == 0
    status, out, _ = call("restore")
    assert status == 0 and snapshot["path"] in out and "--undo" in out and "later" not in actors()
    status, out, _ = call("restore", "--undo", "--json")
    assert status == 0 and Path(json.loads(out)["replaced"]).is_dir() and "later" in actors()
    assert call("restore", "--finish") == (0, "No restore was interrupted here.\n", "")
    status, _, err = call("restore", snapshot["path"], "--undo")
    assert status == 2 and "only one of them" in err


def test_a_key_is_made_and_used_and_never_shown(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("key", "my.key", "--json")
    assert status == 0 and json.loads(out)["path"] == str(tmp_path / "my.key")
    secret = (tmp_path / "my.key").read_text().strip().rpartition(":")[2]
    snapshot = made(call, "--key-file", "my.key")
    assert snapshot["encryption"]["key_id"] == json.loads(out)["key_id"] and secret not in json.dumps(snapshot) + out
    status, _, err = call("verify")
    assert status == 1 and "name its file with --key-file" in err
    assert call("verify", "--key-file", "my.key")[0] == 0 and call("restore", "--key-file", "my.key")[0] == 0
    status, _, err = call("key", "my.key")
    assert status == 2 and "is there already" in err


@pytest.mark.parametrize(("name", "value", "said"), [
    ("QDRANT_URL", "http://127.0.0.1:9", "a Qdrant server, whose vectors are restored by its own snapshots"),
    ("DATABASE_URL", "sqlite:////nowhere/x.db", "a SQLite file outside of the suite's folders"),
])
def test_a_restore_that_would_miss_its_place_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    status, _, err = call("restore")
    assert status == 2 and said in err


def test_while_a_stack_runs_it_makes_the_backup_and_no_restore_is_let_in(host: Process, env: dict[str, str], monkeypatch: pytest.MonkeyPatch,
                                                                        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    call = caller(env, monkeypatch, capsys)
    host.ask("bench.memory.remember('Where is the archive?', 'On the third floor.')")
    done = subprocess.run([sys.executable, "-m", "suite", "backup", "create", "--json"], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    snapshot = json.loads(done.stdout)
    assert snapshot["tables"]["memories"] == 1 and snapshot["collections"] == {"memory-default-project": 1} and snapshot["asked"]["searches"] >= 2
    assert call("verify", snapshot["path"])[0] == 0
    status, _, err = call("restore")
    assert status == 2 and f"A stack runs on {env['DATA_DIR']} (pid {host.pid})" in err and "`suite down` ends it" in err
    assert host.ask("bench.backups.standing().newest_verified") == snapshot["name"]
    assert host.ask("[r.question for r in bench.memory.recall('archive')]") == ["Where is the archive?"]
    state = host.ask("bench._behind.parts['memory-maintainer'].run_now('backup').to_dict()")
    assert state["error"] == "" and state["result"]["restore_s"] > 0 and Path(state["result"]["path"]).is_dir()
    assert state["result"]["pruned"] == [snapshot["name"]], "a newer one of the same day was verified"
    metrics = host.ask("bench._behind.metrics.exposition(\"monitoring\").decode()")
    assert 'suite_backup_snapshots{verified="yes"} 1.0' in metrics and "suite_backup_restore_seconds " in metrics
