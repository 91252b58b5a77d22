"""Model files and disks of phase 1 on a stack that says what a test wants, about real files on this machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_stack import Answer, FakeStack, change, status

from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase1 import CHECKS
from suite.checks.result import Result
from suite.serving.catalog import catalog
from suite.settings import package_file

LIMITS = load().under("smoke")
SMOKE = catalog()["smoke"]
CHAT, TOKENS = "inference-chat GET /v1/models", "inference-chat POST /v1/chat/completions"


class OnDisk(FakeStack):
    """A stack of this machine: its process is this one, its models are the bundled one and the real embedder."""

    def __init__(self, data: Path, models: Path) -> None:
        super().__init__()
        self.data, self.models, self.file = data, models, data / SMOKE.file
        shutil.copyfile(package_file(f"models/{SMOKE.file}"), self.file)
        self.bend("embedding GET /health", change(facts={"model": "minilm"}))

    def host(self) -> dict[str, Any]:
        return {**super().host(), "pid": os.getpid(), "data_dir": str(self.data), "models_dir": str(self.models), "reports_dir": str(self.data / "reports" / "r"),
                "ports": {}, "watching": {"loki_retention": 30}, "expected": {role: {"file": SMOKE.file, "sha256": SMOKE.sha256} for role in ("chat", "code")}}

    def _server(self, role: str, path: str) -> Answer:
        row = {"id": role, "path": str(self.file), "sha256": SMOKE.sha256, "smoke": True}
        return (200, {"data": [row]}) if path == "/v1/models" else (200, self.reply())


def run(identity: str, stack: FakeStack, **around: Any) -> Result:
    target = stack.target()
    target.surroundings = replace(target.surroundings, **around)
    result = perform(next(check for check in CHECKS if check.id == identity), target, LIMITS[identity])
    target.close()
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def broken(result: Result) -> set[str]:
    assert "error" not in [item["name"] for item in result.evidence], result.why
    return {str(item["name"]) for item in result.conditions if item["met"] is False}


@pytest.fixture
def stack(tmp_path: Path, models_dir: Path) -> OnDisk:
    return OnDisk(tmp_path, models_dir)


def row(**values: Any) -> Any:
    """A bend of a server's list of models."""
    return lambda found: (200, {"data": [{**found[1]["data"][0], **values}]})


def test_the_files_that_were_meant_pass(stack: OnDisk) -> None:
    assert broken(run("P1.4", stack)) == set()


@pytest.mark.parametrize(("route", "bend", "conditions"), [
    (TOKENS, change(usage={"completion_tokens": 0}), {"models_silent"}), (TOKENS, change(usage={}), {"models_silent"}),
    (TOKENS, status(503), {"models_silent"}), (CHAT, row(sha256="ab" * 32), {"files_different"}), (CHAT, change(data=[]), {"models_missing"}),
    (CHAT, row(path=""), {"models_missing"}), (CHAT, status(500), {"models_missing"}), (CHAT, row(path="/nowhere/x.gguf"), {"files_damaged"}),
    ("embedding GET /health", change(facts={"model": "another"}), {"files_unlocked"}),
])
def test_what_a_server_says_is_compared_with_its_file(route: str, bend: Any, conditions: set[str], stack: OnDisk) -> None:
    assert broken(run("P1.4", stack.bend(route, bend))) == conditions


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda path: path.write_bytes(b""), "is empty"), (lambda path: path.write_bytes(b"not a model" * 100), "not a GGUF file"),
    (lambda path: os.truncate(path, 1_000_000), "cut off"),
])
def test_a_file_that_is_no_model_any_more_is_damaged(spoil: Any, said: str, stack: OnDisk) -> None:
    spoil(stack.file)
    result = run("P1.4", stack)
    assert broken(result) == {"files_damaged"} and said in result.why


def test_a_file_of_another_content_is_neither_locked_nor_the_one_that_was_loaded(stack: OnDisk) -> None:
    with stack.file.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00" if stack.file.read_bytes()[-1] else b"\x01")
    assert broken(run("P1.4", stack)) == {"files_unlocked", "files_different"}


def test_a_file_of_another_name_or_size_than_the_lock_has_is_different(stack: OnDisk) -> None:
    stack.file = stack.file.rename(stack.data / "renamed.gguf")
    assert broken(run("P1.4", stack)) == {"files_different"}
    stack.file = stack.file.rename(stack.data / SMOKE.file)
    larger = {"smoke": replace(SMOKE, bytes=SMOKE.bytes + 1)}
    assert broken(run("P1.4", stack, catalog=lambda: larger)) == {"files_different"}
    about = {"smoke": replace(SMOKE, bytes=SMOKE.bytes + 1, approximate=True)}
    assert broken(run("P1.4", stack, catalog=lambda: about)) == set()


def test_a_hash_that_only_the_hub_stated_is_a_lock_too(stack: OnDisk, tmp_path: Path) -> None:
    import json

    from suite.serving.pull import RECORD, recorded

    unpinned = {"smoke": replace(SMOKE, sha256="")}
    assert broken(run("P1.4", stack, catalog=lambda: unpinned)) == {"files_unlocked"}
    shutil.copytree(stack.models / "minilm", tmp_path / "models" / "minilm")
    stack.models = tmp_path / "models"
    (stack.models / RECORD).write_text(json.dumps({SMOKE.file: {"sha256": SMOKE.sha256}}))
    assert recorded(stack.models)[SMOKE.file]["sha256"] == SMOKE.sha256
    assert broken(run("P1.4", stack, catalog=lambda: unpinned)) == set()


def disk(**values: int) -> Any:
    """A filesystem with ten thousand blocks of a megabyte, and as many inodes, some of it changed."""
    made = {"f_bsize": 1 << 20, "f_frsize": 1_000_000, "f_blocks": 10_000, "f_bfree": 9_000, "f_bavail": 9_000, "f_files": 10_000, "f_ffree": 9_000,
            "f_favail": 9_000, "f_flag": 0, "f_namemax": 255, **values}
    return lambda _: os.statvfs_result(list(made.values()))


@pytest.mark.parametrize(("values", "conditions"), [
    ({}, set()), ({"f_bavail": 2_500}, set()), ({"f_bavail": 1_900}, {"data_free"}), ({"f_bavail": 900}, {"data_free", "models_free", "reports_free", "left_after_growth"}),
    ({"f_favail": 501}, set()), ({"f_favail": 499}, {"inodes_free"}), ({"f_files": 0, "f_favail": 0}, set()),
    ({"f_bavail": 900, "f_bfree": 9_000}, {"data_free", "models_free", "reports_free", "left_after_growth"}),  # what only root may use is not free
])
def test_bytes_and_inodes_that_are_free_are_counted(values: dict[str, int], conditions: set[str], stack: OnDisk) -> None:
    assert broken(run("P1.6", stack, volume=disk(**values))) == conditions


def test_each_volume_is_asked_where_it_is_and_one_that_is_not_there_yet_above(stack: OnDisk) -> None:
    asked: list[Path] = []

    def volume(path: Path) -> os.statvfs_result:
        asked.append(path)
        return disk(**({"f_bavail": 500} if path == stack.models else {}))(path)

    assert broken(run("P1.6", stack, volume=volume)) == {"models_free"}
    assert asked == [stack.data, stack.models, stack.data]  # its reports will be made below
