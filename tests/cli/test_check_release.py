"""`suite check --release`: what is refused with one sentence, the exit status of the verdict, and the key that it is signed with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import main
from suite.errors import StartError
from suite.runbooks.expected import IDS
from suite.runbooks.sign import load_key, make_key
from suite.runbooks.verify import verify


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    mask = os.umask(0o022)
    yield
    os.umask(mask)  # the command takes one of its own


@pytest.mark.parametrize(("arguments", "words"), [
    (["--stage", "dev"], "--stage is for a release"), (["phase2", "--strict"], "--strict is for a release"), (["--time-limit", "3"], "--time-limit is for"),
    (["--release", "../x"], "1 to 64 letters"), (["--release", "R", "phase9"], "no phase 'phase9'"), (["--release", "R", "backup"], "has no phase 'backup'"),
    (["--release", "R", "-p", "buget_s=3"], "Did you mean budget_s"), (["--release", "R", "--key", "a.pem", "--key-fd", "3"], "two keys"),
    (["--release", "R", "--passphrase-fd", "987"], "cannot be read"), (["--release", "R", "--resume"], "begin a new one"), (["--release", "R", "-p", "budget_s"], "NAME=VALUE"),
])
def test_what_cannot_be_begun_is_one_sentence_and_exits_2(arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "data" / "reports").exists() or not list((tmp_path / "data" / "reports").glob(".*partial"))


@pytest.mark.parametrize("limit", ["0", "-1", "soon", "nan", "inf"])
def test_a_limit_of_time_is_a_number_above_0(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["check", "--release", "R", "--time-limit", limit])
    assert left.value.code == 2 and "--time-limit" in capsys.readouterr().err


def test_a_stack_that_cannot_be_started_exits_2_with_33_rows_in_a_report_signed_by_the_key_that_was_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def start(*_: Any, **__: Any) -> Any:
        raise StartError("port 8000 belongs to somebody else")

    monkeypatch.setattr("suite.bench.start", start)
    make_key(tmp_path / "key.pem", "a word")
    reader, writer = os.pipe()
    os.write(writer, b"a word\n")
    os.close(writer)
    try:
        status = main(["check", "--release", "R", "--stage", "staging", "--reports", str(tmp_path / "archive"), "--key", str(tmp_path / "key.pem"),
                       "--passphrase-fd", str(reader), "--language", "ko", "--json"])
    finally:
        os.close(reader)
    told = json.loads(capsys.readouterr().out)
    assert (status, told["verdict"], told["results"]["stage"]) == (2, "COULD NOT RUN", "staging")
    assert [(row["id"], row["state"]) for row in told["rows"]] == [(name, "not-run") for name in IDS]
    assert Path(told["path"]).parent == tmp_path / "archive" and 'lang="ko"' in (Path(told["path"]) / "report.html").read_text(encoding="utf-8")
    assert verify(Path(told["path"]), load_key(tmp_path / "key.pem", "a word").public, told["head"]).ok
