"""Pruning the archive: notebooks and evidence go, the ledger says so, and what stays is verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from release_stage import Archive, edited_json

from suite.errors import BadRequest
from suite.runbooks import archive as shelf
from suite.runbooks import ledger
from suite.runbooks.archive import KEPT
from suite.runbooks.prune import prune
from suite.runbooks.verify import verify


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path)
    for name in ("R1", "R2", "R3"):
        made.seal(name)
    return made


def test_without_being_told_to_it_only_says_what_it_would_do(archive: Archive) -> None:
    before = sorted(path.name for path in archive.reports.rglob("*"))
    said = prune(archive.reports, newest=1)
    assert not said.done and [name[-2:] for name in said.gone] == ["R1", "R2"] and said.bytes > 100_000
    assert list(said.kept.values()) == ["one of the newest 1, the last of stage dev"]
    assert sorted(path.name for path in archive.reports.rglob("*")) == before
    assert "would be pruned" in repr(said) and json.loads(json.dumps(said.to_dict()))["rows"][0]["fate"] == "would be pruned"


def test_what_stays_are_ledger_attestations_and_results(archive: Archive) -> None:
    done = prune(archive.reports, archive.key, 1, dry_run=False)
    assert done.done and "given back" in repr(done)
    rows = shelf.releases(archive.reports)
    assert [row.pruned for row in rows] == [True, True, False] and len(rows[0].states) == 33
    assert sorted(path.name for path in rows[0].path.iterdir()) == sorted(KEPT) and (rows[2].path / "report.html").exists()
    found = verify(rows[0].path, archive.key.public)
    assert found.ok and any("was pruned: its notebooks are gone" in note for note in found.notes), found
    whole = verify(archive.reports, archive.key.public)
    assert whole.ok and whole.facts["pruned"] == 2 and [line["kind"] for line in ledger.read(archive.reports).lines] == ["sealed"] * 3 + ["pruned"] * 2
    again = prune(archive.reports, archive.key, 1, dry_run=False)
    assert again.gone == () and len(ledger.read(archive.reports).lines) == 5


def test_what_was_pruned_cannot_be_edited_unseen(archive: Archive) -> None:
    prune(archive.reports, archive.key, 1, dry_run=False)
    row = shelf.releases(archive.reports)[0]
    for name in KEPT[3:]:
        copy = archive.folder / "kept"
        shutil.copyfile(row.path / name, copy)
        (row.path / name).write_bytes(copy.read_bytes() + b"\n")
        assert any(f"{name} was changed after the seal" in doubt for doubt in verify(row.path).doubts)
        (row.path / name).unlink()
        assert any(f"{name} is missing" in doubt for doubt in verify(row.path).doubts)
        shutil.copyfile(copy, row.path / name)
    edited_json(row.path / "results.json", lambda body: body.update(verdict="READY"))
    assert any("The verdict in results.json is 'READY'" in doubt for doubt in verify(row.path).doubts)


def test_files_that_went_without_the_ledger_saying_so_are_missing(archive: Archive) -> None:
    row = shelf.releases(archive.reports)[0]
    for path in row.path.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert any("phase2_health.ipynb is missing" in doubt for doubt in verify(row.path).doubts)


def test_the_last_good_one_and_the_last_of_each_stage_stay_whatever_their_age(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shelf.releases(archive.reports)
    from dataclasses import replace

    from suite.runbooks.prune import staying

    other = [replace(rows[0], stage="prod", verdict="READY"), replace(rows[1], stage="prod", verdict="NOT READY"), rows[2]]
    why = staying(other, 1)
    assert why == {rows[0].path.name: "the last READY of stage prod", rows[1].path.name: "the last of stage prod",
                   rows[2].path.name: "one of the newest 1, the last of stage dev"}


def test_a_link_in_a_release_is_removed_and_what_it_points_to_stays(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (shelf.releases(archive.reports)[0].path / "link").symlink_to(tmp_path / "precious")
    prune(archive.reports, archive.key, 1, dry_run=False)
    assert (tmp_path / "precious" / "file").exists() and not (shelf.releases(archive.reports)[0].path / "link").is_symlink()


def test_it_needs_the_key_and_a_number(archive: Archive) -> None:
    with pytest.raises(BadRequest, match="Pruning is written into the ledger, which is signed; give the signing key"):
        prune(archive.reports, dry_run=False)
    with pytest.raises(BadRequest, match="0 releases cannot be kept; keep at least 1"):
        prune(archive.reports, newest=0)
