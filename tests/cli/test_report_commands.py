"""`suite report` as a person and as a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from release_stage import Archive, edited_json

from suite.cli.main import main
from suite.runbooks.sign import load_key, make_key, read_public


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REPORTS_DIR", str(tmp_path / "reports"))
    made = Archive(tmp_path)
    made.seal("R1")
    made.seal("R2", broken=["P2.5"])
    return made


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["report", *arguments]) == status
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    return json.loads(told(capsys, *arguments, "--json", status=status))


def test_the_list_names_every_release_and_the_head_to_keep(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.make("R3")
    body = answer(capsys, "list")
    assert [(row["release"], row["verdict"], row["n"]) for row in body["rows"]] == [("R1", "REHEARSAL", 1), ("R2", "NOT READY", 2)]
    assert [Path(path).name for path in body["unfinished"]] == [".20261129T010003Z-R3.partial"]
    text = told(capsys, "list")
    assert "R1" in text and "not sealed: .20261129T010003Z-R3.partial" in text and f"for keeping elsewhere: {body['rows'][-1]['head']}" in text
    assert answer(capsys, "list", "--reports", str(archive.folder / "none"))["rows"] == []


def test_verify_is_0_for_what_is_whole_and_1_for_any_doubt(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "ours.pub").write_bytes(archive.key.public.pem())
    head = answer(capsys, "list")["rows"][-1]["head"]
    assert "nothing speaks against it" in told(capsys, "verify", "--head", head)
    body = answer(capsys, "verify", "--all", "--key", str(tmp_path / "ours.pub"))
    assert body["ok"] and len(body["rows"]) == 3 and body["rows"][0]["releases"] == 2 and body["rows"][2]["verdict"] == "NOT READY"
    assert answer(capsys, "verify", "R2")["rows"][0]["release"] == "R2"
    assert answer(capsys, "verify", str(archive.reports / "20261129T010001Z-R1"))["ok"]
    make_key(tmp_path / "theirs.pem")
    assert "is not signed by the key given" in told(capsys, "verify", "R1", "--key", str(tmp_path / "theirs.pub"), status=1)
    assert "does not hold the head" in told(capsys, "verify", "--head", "a" * 64, status=1)
    edited_json(archive.reports / "20261129T010001Z-R1" / "results.json", lambda found: found.update(verdict="READY"))
    assert not answer(capsys, "verify", "R1", status=1)["ok"] and answer(capsys, "verify")["ok"]
    assert [row["ok"] for row in answer(capsys, "verify", "--all", status=1)["rows"]] == [True, False, True]


def test_verify_works_where_there_is_nothing_of_ours_but_the_folder(archive: Archive, tmp_path: Path) -> None:
    """Another machine: no settings, no archive, no key, no network."""
    code = ("import socket, sys\n"
            "def refused(*_, **__): raise OSError('no network')\n"
            "socket.socket.connect = refused\n"
            "from suite.cli.main import main\n"
            "sys.exit(main(['report', 'verify', *sys.argv[1:]]))")
    (tmp_path / "elsewhere").mkdir()
    (archive.reports / "20261129T010002Z-R2").rename(tmp_path / "elsewhere" / "R2")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nobody"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "elsewhere" / "R2")], env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "nothing speaks against it" in done.stdout, done
    assert not (tmp_path / "nobody").exists()  # verifying writes nothing
    (tmp_path / "elsewhere" / "R2" / "junit.xml").write_text("", encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "elsewhere" / "R2")], env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "junit.xml was changed after the seal" in done.stdout, done


def test_it_is_said_whether_the_key_is_this_machines_own(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "this machine's own" not in told(capsys, "verify", "R1")  # there is none, and looking makes none
    own = answer(capsys, "key")["id"]
    assert f"The signing key is NOT this machine's own, which is {own}." in told(capsys, "verify", "R1")
    for suffix in (".pem", ".pub"):
        (tmp_path / "data" / "keys" / f"report-ed25519{suffix}").write_bytes(archive.key_file.with_suffix(suffix).read_bytes())
    assert "The signing key is this machine's own." in told(capsys, "verify", "R1")


def test_what_is_not_there_is_2(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "verify", "R9"]) == 2
    assert "No sealed release is called 'R9'" in capsys.readouterr().err
    assert main(["report", "seal", str(archive.folder / "none.ipynb")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["report", "open", "--reports", str(archive.folder / "none")]) == 2
    assert "No release is sealed in" in capsys.readouterr().err


def test_prune_says_first_and_does_it_when_told(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert "add --yes to do it" in told(capsys, "prune", "--keep", "1")
    assert answer(capsys, "list")["rows"][0]["pruned"] is False
    body = answer(capsys, "prune", "--keep", "1", "--yes", "--key", str(archive.key_file))
    assert body["done"] and [row["fate"] for row in body["rows"]] == ["pruned", "kept"]
    assert answer(capsys, "list")["rows"][0]["pruned"] is True and "(pruned)" in told(capsys, "list")


def test_open_shows_the_newest_or_the_one_named(archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    assert told(capsys, "open").strip() == str(archive.reports / "20261129T010002Z-R2" / "report.html")
    assert opened == [(archive.reports / "20261129T010002Z-R2" / "report.html").as_uri()]
    assert answer(capsys, "open", "R1")["path"].endswith("R1/report.html") and told(capsys, "open", "R1", "--print").strip().endswith("R1/report.html")
    assert len(opened) == 1


def test_the_key_is_made_at_first_use_and_only_its_public_half_is_shown(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = answer(capsys, "key", "--out", str(tmp_path / "ours.pub"))
    assert body["file"] == str(tmp_path / "data" / "keys" / "report-ed25519.pem") and set(body) == {"id", "public", "file"}
    assert read_public(tmp_path / "ours.pub")[0].id == body["id"] == load_key(Path(body["file"])).public.id
    text = told(capsys, "key")
    assert f"id {body['id']}" in text and "PRIVATE" not in text


def test_a_key_and_its_passphrase_come_by_descriptors(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    make_key(tmp_path / "locked.pem", "correct horse")
    reading, writing = os.pipe()
    os.write(writing, b"correct horse\n")
    os.close(writing)
    with (tmp_path / "locked.pem").open("rb") as stream:
        body = answer(capsys, "key", "--key-fd", str(stream.fileno()), "--passphrase-fd", str(reading))
    os.close(reading)
    assert body["id"] == load_key(tmp_path / "locked.pem", "correct horse").public.id and "file" not in body
    assert main(["report", "key", "--key", str(tmp_path / "locked.pem")]) == 2
    assert "is locked with a passphrase; give it with --passphrase-fd" in capsys.readouterr().err
    assert main(["report", "key", "--key", str(tmp_path / "locked.pem"), "--passphrase-fd", "999"]) == 2
    assert "cannot be read from file descriptor 999" in capsys.readouterr().err


def test_at_a_terminal_the_passphrase_is_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "locked.pem", "correct horse")
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or "correct horse")
    assert answer(capsys, "key", "--key", str(tmp_path / "locked.pem"))["id"] == load_key(tmp_path / "locked.pem", "correct horse").public.id
    assert asked == ["Passphrase of the signing key: "]
    make_key(tmp_path / "open.pem")
    answer(capsys, "key", "--key", str(tmp_path / "open.pem"))
    assert len(asked) == 1  # an open one needs none
