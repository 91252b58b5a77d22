"""kill -9 at every step of sealing, pruning and making a key: the archive is whole before and after, and the next seal goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from release_stage import Archive
from sealing_driver import Driver

from suite.errors import BadRequest
from suite.runbooks import archive as shelf
from suite.runbooks import ledger
from suite.runbooks.prune import prune
from suite.runbooks.seal import seal
from suite.runbooks.sign import load_key, make_key
from suite.runbooks.verify import verify


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as running:
        yield running


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sealed release, and one that is ready to be."""
    archive = Archive(tmp_path_factory.mktemp("ready"))
    archive.seal("R1")
    archive.make("R2")
    return archive.folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sealed releases."""
    archive = Archive(tmp_path_factory.mktemp("three"))
    for name in ("R1", "R2", "R3"):
        archive.seal(name)
    return archive.folder


def copies(source: Path, folder: Path, number: int) -> Archive:
    return Archive(shutil.copytree(source, folder / str(number)))


def names(archive: Archive) -> list[str]:
    return [row.release for row in shelf.releases(archive.reports)]


@pytest.mark.parametrize("half", [False, True])
def test_killed_at_any_step_of_sealing(half: bool, driver: Driver, ready: Path, tmp_path: Path) -> None:
    steps, killed = driver.run("seal", copies(ready, tmp_path, 0).folder)
    assert not killed and len(steps) > 30 and steps.count("w") >= 4
    seen = set()
    for step in [number for number, kind in enumerate(steps, 1) if kind == "w" or not half]:
        archive = copies(ready, tmp_path, step)
        assert driver.run("seal", archive.folder, step, half) == (steps[:step], True)
        before = verify(archive.reports, archive.key.public)
        assert before.ok, (step, before)
        listed, named = "R2" in names(archive), any(archive.reports.glob("2*-R2"))
        assert listed or not named, step
        seen.add((listed, named, ledger.read(archive.reports).torn))
        for place in [row.path for row in shelf.releases(archive.reports) if row.path.exists()]:
            assert verify(place, archive.key.public).ok, step
        waiting = shelf.unfinished(archive.reports)
        if waiting and listed:
            with pytest.raises(BadRequest, match="was sealed already"):
                seal(waiting[0], archive.reports, archive.key, runbooks=archive.runbooks)
        elif waiting:
            seal(waiting[0], archive.reports, archive.key, runbooks=archive.runbooks)
        last = archive.seal("R3")
        assert names(archive) == ["R1", "R2", "R3"] and not shelf.unfinished(archive.reports), step
        after = verify(archive.reports, archive.key.public, last.head)
        assert after.ok and not any("cut off" in note or "not given its name" in note for note in after.notes), (step, after)
        assert all(verify(row.path, archive.key.public).ok for row in shelf.releases(archive.reports)), step
        shutil.rmtree(archive.folder)
    assert ({(False, False, False), (False, False, True)} if half else {(False, False, False), (True, False, False), (True, True, False)}) == seen  # each stage


def test_killed_at_any_step_of_pruning(driver: Driver, three: Path, tmp_path: Path) -> None:
    steps, killed = driver.run("prune", copies(three, tmp_path, 0).folder)
    assert not killed and len(steps) > 30
    for step in range(1, len(steps) + 1):
        archive = copies(three, tmp_path, step)
        assert driver.run("prune", archive.folder, step) == (steps[:step], True)
        assert verify(archive.reports, archive.key.public).ok, step
        for row in shelf.releases(archive.reports):
            assert verify(row.path, archive.key.public).ok, (step, row)
        prune(archive.reports, archive.key, 1, dry_run=False)
        assert [row.pruned for row in shelf.releases(archive.reports)] == [True, True, False], step
        assert all(not (row.path / "report.html").exists() for row in shelf.releases(archive.reports)[:2]), step
        assert verify(archive.reports, archive.key.public).ok and len(ledger.read(archive.reports).lines) == 5, step
        shutil.rmtree(archive.folder)


def test_killed_at_any_step_of_making_the_key(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    steps, killed = driver.run("key", tmp_path / "0")
    assert not killed and len(steps) >= 5
    for step in range(1, len(steps) + 1):
        (tmp_path / str(step)).mkdir()
        assert driver.run("key", tmp_path / str(step), step)[1]
        file = tmp_path / str(step) / "fresh" / "key.pem"
        there = load_key(file) if file.exists() else None
        make_key(file)
        assert there is None or load_key(file) == there, step
        assert file.stat().st_mode & 0o777 == 0o600
