"""A verification is a restore: every kind of damage and every difference in what comes back is named, and nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from suite.access.audit import Audit
from suite.access.event import Event
from suite.backup import source
from suite.backup.copy import hashed
from suite.backup.create import create
from suite.backup.listing import standing
from suite.backup.snapshot import MANIFEST, SEAL, read_snapshot
from suite.backup.verification import SUFFIX, kept
from suite.backup.verify import verify
from suite.errors import StorageError
from suite.storage.engine import open_storage
from suite.vectors.disk import copy_folder
from suite.vectors.shard import Shard


@pytest.fixture
def light(data: Path, settings: Any) -> Path:
    """A snapshot without vectors, whose files are read in no time."""
    storage = open_storage("", data / "sqlite")
    try:
        for number in range(2):
            Audit(storage).record(Event("ann", "tool_call", "read_file", "done", f"Call {number}."))
        return Path(create(data / "backups", [source.database(storage), source.files(settings)]).path)
    finally:
        storage.close()


def rewrite(snapshot: Path, change: Callable[[dict[str, Any]], None] = lambda body: None) -> None:
    """Make the manifest anew so that it fits the files that are there, and `change` it: what a careful forger would do."""
    body = json.loads((snapshot / MANIFEST).read_text(encoding="utf-8"))
    paths = sorted(path for path in snapshot.rglob("*") if path.is_file() and path.name not in (MANIFEST, SEAL))
    body["files"] = [dict(zip(("path", "bytes", "sha256"), (path.relative_to(snapshot).as_posix(), *hashed(path)), strict=True)) for path in paths]
    change(body)
    text = json.dumps(body).encode()
    (snapshot / MANIFEST).write_bytes(text)
    (snapshot / SEAL).write_text(sha256(text).hexdigest())


def test_a_whole_snapshot_comes_back_and_is_recorded_outside_of_itself(snapshot: Path) -> None:
    before = {path: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    found = verify(snapshot)
    assert found.ok and found.problems == () and found.seconds > 0
    assert (found.points, found.collections, found.searches, found.decisions) == (44, 2, 10, 2) and found.rows > 6
    assert {path: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()} == before
    assert sorted(os.listdir(snapshot.parent)) == [snapshot.name, snapshot.name + SUFFIX]
    again, now = kept(snapshot), standing(snapshot.parent)
    assert again == found and now.rto_s == found.seconds and now.newest_verified == snapshot.name and 0 <= now.rpo_s < 86_400


def flip(file: Path) -> None:
    middle = file.stat().st_size // 2
    with file.open("r+b") as opened:
        opened.seek(middle)
        byte = opened.read(1)[0]
        opened.seek(middle)
        opened.write(bytes([byte ^ 1]))


def test_a_flipped_byte_in_any_file_is_found_and_the_file_is_named(light: Path, snapshot: Path) -> None:
    names = [entry.path for entry in read_snapshot(light).files]
    assert len(names) == 3
    for folder, name in [*((light, name) for name in (*names, MANIFEST, SEAL)), (snapshot, "vectors/notes/meta.json"), (snapshot, _largest(snapshot))]:
        flip(folder / name)
        try:
            problems = verify(folder).problems
        except StorageError as error:
            assert name == MANIFEST, error
        else:
            assert any(name in problem for problem in problems), (name, problems)
        flip(folder / name)
    assert verify(light).ok


def _largest(snapshot: Path) -> str:
    return max(read_snapshot(snapshot).files, key=lambda entry: entry.bytes).path


def change_size(folder: Path) -> None:
    (folder / "files/policy.toml").write_text("# nothing\n")


def remove(folder: Path) -> None:
    (folder / "files/policy.toml").unlink()


def truncate(folder: Path) -> None:
    os.truncate(folder / "database/suite.db", 4096)


def add(folder: Path) -> None:
    (folder / "files/more.txt").write_text("")


def link(folder: Path) -> None:
    (folder / "files/policy.toml").rename(folder.parent / "elsewhere")
    (folder / "files/policy.toml").symlink_to(folder.parent / "elsewhere")


def link_folder(folder: Path) -> None:
    (folder / "files").rename(folder.parent / ".elsewhere")
    (folder / "files").symlink_to(folder.parent / ".elsewhere")


def make_folder(folder: Path) -> None:
    (folder / "files/policy.toml").unlink()
    (folder / "files/policy.toml").mkdir()


def escape(folder: Path) -> None:
    file = folder / MANIFEST
    file.write_text(file.read_text().replace("files/policy.toml", "../../files/policy.toml"))


def absolute(folder: Path) -> None:
    file = folder / MANIFEST
    file.write_text(file.read_text().replace('"files/policy.toml"', '"/etc/hostname"'))


@pytest.mark.parametrize(("damage", "word"), [
    (change_size, "files/policy.toml has"), (remove, "files/policy.toml is missing"), (truncate, "database/suite.db has 4096 bytes"),
    (add, "files/more.txt is not in the manifest"), (link, "files/policy.toml is not an ordinary file"), (link_folder, "files is a link"),
    (make_folder, "files/policy.toml is not an ordinary file"), (escape, "../../files/policy.toml points outside"),
    (absolute, "/etc/hostname points outside"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_every_kind_of_damage_is_named_and_takes_the_record_away(light: Path, damage: Callable[[Path], None], word: str) -> None:
    assert verify(light).ok and kept(light)
    damage(light)
    found = verify(light)
    assert not found.ok and any(word in problem for problem in found.problems), found.problems
    with pytest.raises(StorageError, match="not as it was written"):
        found.check()
    assert kept(light) is None and standing(light.parent).rpo_s is None


def change_database(*statements: str) -> Callable[[Path], None]:
    def change(snapshot: Path) -> None:
        with closing(sqlite3.connect(snapshot / "database/suite.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    change.__name__ = statements[0].split(" WHERE")[0].replace(" ", "-")
    return change


def extra_collection(snapshot: Path) -> None:
    copy_folder(snapshot / "vectors/notes", snapshot / "vectors/others")


def change_points(snapshot: Path) -> None:
    shard = Shard.load(snapshot / "vectors/notes")
    shard.delete(["n3"], None)
    shard.close()


def break_collection(snapshot: Path) -> None:
    (snapshot / "vectors/memory-default/meta.json").write_text("{}")


def other_decision(snapshot: Path) -> None:
    file = snapshot / "files/policy.toml"
    saved = json.loads((snapshot / MANIFEST).read_text())["decisions"][0]
    file.write_text("\n".join(line.replace('"LOW"', '"CRITICAL"').replace('"MEDIUM"', '"CRITICAL"') if line.startswith(saved["tool"]) else line
                              for line in file.read_text().splitlines()))


def no_tables(snapshot: Path) -> None:
    rewrite(snapshot, lambda body: body.pop("tables"))


@pytest.mark.parametrize(("forge", "word"), [
    (change_database("DELETE FROM actors WHERE name = 'dev_user'"), "The restored table actors has 3 rows instead of 4"),
    (change_database("UPDATE memories SET project = 'elsewhere'"), "finds other turns"),
    (change_database("UPDATE audit SET reason = 'nothing'"), "Entry 1 was changed after it was written"),
    (change_database("DELETE FROM audit WHERE seq = 2"), "ends with another entry than 2"),
    (change_database("UPDATE actors SET active = 0"), "is decided 'deny', and was 'allow'"),
    (change_database("DROP TABLE jobs"), "The restored table jobs has no rows"),
    (change_database("PRAGMA writable_schema=ON", "DELETE FROM sqlite_schema WHERE type = 'index'"), "database disk image is malformed"),
    (change_database("CREATE TABLE child (x REFERENCES actors(name))", "INSERT INTO child VALUES ('gone')"), "a row of child refers to a row of actors"),
    (other_decision, "is decided 'ask', and was 'allow'"), (no_tables, "It cannot be restored"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_database_as_listed_that_does_not_come_back_the_same_is_found(light: Path, forge: Callable[[Path], None], word: str) -> None:
    forge(light)
    if forge is not no_tables:
        rewrite(light)
    found = verify(light)
    assert any(word in problem for problem in found.problems), found.problems
    assert os.listdir(light.parent) == [light.name]


def test_collections_as_listed_that_do_not_come_back_the_same_are_found(snapshot: Path) -> None:
    change_points(snapshot)
    extra_collection(snapshot)
    break_collection(snapshot)
    rewrite(snapshot)
    problems = verify(snapshot).problems
    assert len(problems) >= 3 and os.listdir(snapshot.parent) == [snapshot.name]
    for word in ("The restored collection notes has 39 points instead of 40", "The collection others is in no manifest",
                 "The collection memory-default cannot be opened"):
        assert any(word in problem for problem in problems), problems


def test_a_collection_that_was_left_out_is_found(snapshot: Path) -> None:
    for name in ("notes", "memory-default"):
        shutil.rmtree(snapshot / "vectors" / name)
    rewrite(snapshot)
    assert {"The collection notes was not restored.", "The collection memory-default was not restored."} <= set(verify(snapshot).problems)


def test_a_search_or_decision_that_nobody_could_ask_again_is_a_problem(light: Path) -> None:
    rewrite(light, lambda body: body["searches"].append({"kind": "smell", "hits": []}))
    assert any("6 of 7 searches" in problem for problem in verify(light).problems)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "files": [], "sources": {}}'])
def test_a_damaged_manifest_is_an_error_of_its_own(light: Path, text: str) -> None:
    (light / MANIFEST).write_text(text)
    with pytest.raises(StorageError, match=r"damaged|no backup"):
        verify(light)


def test_a_newer_format_or_schema_is_refused_with_one_sentence(light: Path) -> None:
    rewrite(light, lambda body: body.update(schema="9999"))
    with pytest.raises(StorageError, match=r"^The backup .* has a database of schema 9999, which this version does not know .*; use the version that wrote it\.$"):
        verify(light)
    rewrite(light, lambda body: body.update(format=3))
    with pytest.raises(StorageError, match=r"^The backup .* has format 3, this version reads 2; use the version that wrote it\.$"):
        verify(light)


def test_a_folder_that_is_no_backup_is_refused_and_an_unfinished_one_never_verifies(light: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no backup"):
        verify(tmp_path)
    aside = tmp_path / "aside" / (light.name + ".partial")
    copy_folder(light, aside)
    from suite.backup.stage import shape_problems

    assert any("never finished" in problem for problem in shape_problems(read_snapshot(aside)))


def test_a_snapshot_can_be_verified_where_it_was_carried_to(light: Path, tmp_path: Path) -> None:
    carried = tmp_path / "stick" / "renamed"
    copy_folder(light, carried)
    assert verify(carried).ok and os.listdir(carried.parent) != [] and kept(carried)


def test_a_record_of_another_snapshot_proves_nothing(light: Path) -> None:
    verify(light)
    rewrite(light, lambda body: body.update(commit="other"))
    assert kept(light) is None
    for text in ("", "[]", "{}", '{"manifest": 1}'):
        (light.parent / (light.name + SUFFIX)).write_text(text)
        assert kept(light) is None
