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

from suite.backup.copy import hashed
from suite.backup.listing import standing
from suite.backup.snapshot import MANIFEST, SEAL, Snapshot, read_snapshot
from suite.backup.verification import SUFFIX, kept
from suite.backup.verify import verify
from suite.errors import StorageError
from suite.vectors.disk import copy_folder
from suite.vectors.shard import Shard


@pytest.fixture
def snapshot(made: Callable[[], Snapshot]) -> Path:
    return Path(made().path)


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
    assert (found.points, found.collections, found.searches, found.decisions) == (46, 3, 10, 2) and found.rows > 6
    assert {path: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()} == before
    assert sorted(os.listdir(snapshot.parent)) == [snapshot.name, snapshot.name + SUFFIX]
    again, now = kept(snapshot), standing(snapshot.parent)
    assert again == found and now.rto_s == found.seconds and now.newest_verified == snapshot.name and 0 <= now.rpo_s < 60


def flip(file: Path) -> None:
    middle = file.stat().st_size // 2
    with file.open("r+b") as opened:
        opened.seek(middle)
        byte = opened.read(1)[0]
        opened.seek(middle)
        opened.write(bytes([byte ^ 1]))


def test_a_flipped_byte_in_any_file_is_found_and_the_file_is_named(snapshot: Path) -> None:
    files = [entry.path for entry in read_snapshot(snapshot).files]
    chosen = [*(name for name in files if not name.startswith("vectors/")), *[name for name in files if name.startswith("vectors/")][::4]]
    for name in [*chosen, MANIFEST, SEAL]:
        flip(snapshot / name)
        try:
            problems = verify(snapshot).problems
        except StorageError as error:
            assert name == MANIFEST, error
        else:
            assert any(name in problem for problem in problems), (name, problems)
        flip(snapshot / name)
    assert verify(snapshot).ok


def change_size(folder: Path) -> None:
    (folder / "files/policy.toml").open("a").write("\n")


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
def test_every_kind_of_damage_is_named_and_takes_the_record_away(snapshot: Path, damage: Callable[[Path], None], word: str) -> None:
    assert verify(snapshot).ok and kept(snapshot)
    damage(snapshot)
    found = verify(snapshot)
    assert not found.ok and any(word in problem for problem in found.problems), found.problems
    with pytest.raises(StorageError, match="not as it was written"):
        found.check()
    assert kept(snapshot) is None and standing(snapshot.parent).rpo_s is None


def change_database(*statements: str) -> Callable[[Path], None]:
    def change(snapshot: Path) -> None:
        with closing(sqlite3.connect(snapshot / "database/suite.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    change.__name__ = statements[0].split(" WHERE")[0].replace(" ", "-")
    return change


def drop_collection(snapshot: Path) -> None:
    shutil.rmtree(snapshot / "vectors/notes")


def extra_collection(snapshot: Path) -> None:
    shutil.copytree(snapshot / "vectors/notes", snapshot / "vectors/others")


def change_points(snapshot: Path) -> None:
    shard = Shard.load(snapshot / "vectors/notes")
    shard.delete(["n3"], None)
    shard.close()


def break_collection(snapshot: Path) -> None:
    (snapshot / "vectors/notes/meta.json").write_text("{}")


def other_decision(snapshot: Path) -> None:
    file = snapshot / "files/policy.toml"
    saved = json.loads((snapshot / MANIFEST).read_text())["decisions"][0]
    file.write_text("\n".join(line.replace('"LOW"', '"CRITICAL"').replace('"MEDIUM"', '"CRITICAL"') if line.startswith(saved["tool"]) else line
                              for line in file.read_text().splitlines()))


def no_secret_key(snapshot: Path) -> None:
    rewrite(snapshot, lambda body: body.pop("tables"))


@pytest.mark.parametrize(("forge", "word"), [
    (change_database("DELETE FROM actors WHERE name = 'dev_user'"), "The restored table actors has 2 rows instead of 3"),
    (change_database("UPDATE memories SET project = 'elsewhere'"), "finds other turns"),
    (change_database("UPDATE actors SET active = 0"), "is decided 'deny', and was 'allow'"),
    (change_database("PRAGMA foreign_keys=OFF", "INSERT INTO chunks SELECT * FROM chunks LIMIT 0", "DROP TABLE jobs"), "table jobs has no rows"),
    (drop_collection, "The collection notes was not restored"), (extra_collection, "The collection others is in no manifest"),
    (change_points, "The restored collection notes has 39 points instead of 40"), (break_collection, "The collection notes cannot be opened"),
    (other_decision, "is decided 'ask', and was 'allow'"), (no_secret_key, "It cannot be restored"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_snapshot_whose_files_are_as_listed_but_does_not_come_back_the_same_is_found(snapshot: Path, forge: Callable[[Path], None], word: str) -> None:
    forge(snapshot)
    if forge is not no_secret_key:
        rewrite(snapshot)
    found = verify(snapshot)
    assert any(word in problem for problem in found.problems), found.problems
    assert [name for name in os.listdir(snapshot.parent) if name != snapshot.name] == []


def test_a_search_or_decision_that_nobody_could_ask_again_is_a_problem(snapshot: Path) -> None:
    rewrite(snapshot, lambda body: body["searches"].append({"kind": "smell", "hits": []}))
    assert any("10 of 11 searches" in problem for problem in verify(snapshot).problems)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "files": [], "sources": {}}'])
def test_a_damaged_manifest_is_an_error_of_its_own(snapshot: Path, text: str) -> None:
    (snapshot / MANIFEST).write_text(text)
    with pytest.raises(StorageError, match=r"damaged|no backup"):
        verify(snapshot)


def test_a_newer_format_or_schema_is_refused_with_one_sentence(snapshot: Path) -> None:
    rewrite(snapshot, lambda body: body.update(schema="9999"))
    with pytest.raises(StorageError, match=r"^The backup .* has a database of schema 9999, which this version does not know .*; use the version that wrote it\.$"):
        verify(snapshot)
    rewrite(snapshot, lambda body: body.update(format=3))
    with pytest.raises(StorageError, match=r"^The backup .* has format 3, this version reads 2; use the version that wrote it\.$"):
        verify(snapshot)


def test_a_folder_that_is_no_backup_is_refused_and_an_unfinished_one_never_verifies(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no backup"):
        verify(tmp_path)
    aside = tmp_path / "aside" / (snapshot.name + ".partial")
    copy_folder(snapshot, aside)
    from suite.backup.stage import shape_problems

    assert any("never finished" in problem for problem in shape_problems(read_snapshot(aside)))


def test_a_snapshot_can_be_verified_where_it_was_carried_to(snapshot: Path, tmp_path: Path) -> None:
    carried = tmp_path / "stick" / "renamed"
    copy_folder(snapshot, carried)
    assert verify(carried).ok and os.listdir(carried.parent) != [] and kept(carried)


def test_a_record_of_another_snapshot_proves_nothing(snapshot: Path) -> None:
    verify(snapshot)
    rewrite(snapshot, lambda body: body.update(commit="other"))
    assert kept(snapshot) is None
    for text in ("", "[]", "{}", '{"manifest": 1}'):
        (snapshot.parent / (snapshot.name + SUFFIX)).write_text(text)
        assert kept(snapshot) is None
