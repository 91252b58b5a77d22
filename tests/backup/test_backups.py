"""The backups of a stack: what the maintainer does daily, what is listed, and the numbers that are scraped."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from suite.backup.backups import Backups
from suite.backup.folder import held
from suite.backup.listing import Listed, Standing
from suite.backup.series import BackupSeries
from suite.backup.source import everything
from suite.errors import NotFound, StorageError


@pytest.fixture
def backups(opened: Any, settings: Any, data: Path) -> Backups:
    return Backups(data / "backups", lambda: everything(*opened, settings), opened[0])


def series(backups: Backups) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(BackupSeries(backups.standing))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_a_snapshot_counts_only_once_it_was_restored(backups: Backups) -> None:
    with pytest.raises(NotFound, match="There is no backup in"):
        backups.verify()
    assert series(backups) == {'suite_backup_snapshots{verified="yes"}': 0, 'suite_backup_snapshots{verified="no"}': 0, "suite_backup_bytes": 0}
    snapshot = backups.create()
    [row] = backups.list()
    assert (row.name, row.verified_at, row.points, row.error) == (snapshot.name, None, 46, "") and row.bytes < snapshot.bytes
    assert backups.standing().rpo_s is None and "none verified" in repr(backups.standing()) and backups.newest() is None
    found = backups.verify(snapshot.name)
    now = backups.standing()
    assert found.ok and now.rto_s == found.seconds and now.rpo_s >= 0 and backups.newest().name == snapshot.name and "RPO" in repr(now)
    seen = series(backups)
    assert seen["suite_backup_restore_seconds"] == found.seconds and seen["suite_backup_verified_age_seconds"] >= 0
    assert seen['suite_backup_snapshots{verified="yes"}'] == 1 and seen["suite_backup_bytes"] == row.bytes
    assert Listed.from_dict(json.loads(json.dumps(row.to_dict()))) == row and Standing.from_dict(json.loads(json.dumps(now.to_dict()))) == now
    assert "RTO" in now._repr_html_()


def test_what_happens_daily_is_made_and_restored_and_fails_when_it_does_not_come_back(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    done = backups.daily()
    assert backups.newest().path == done["path"] and done["points"] == 46 and done["restore_s"] > 0
    honest = backups.create

    def damaged(key_file: str = "") -> Any:
        snapshot = honest(key_file)
        Path(snapshot.path, "files", "policy.toml").write_text("")
        return snapshot

    monkeypatch.setattr(backups, "create", damaged)
    with pytest.raises(StorageError, match=r"policy\.toml has 0 bytes"):
        backups.daily()
    assert backups.newest().path == done["path"], "the one that is damaged does not count"


def test_a_snapshot_is_found_by_name_or_path_and_a_damaged_one_is_listed_with_the_reason(backups: Backups) -> None:
    snapshot = backups.create()
    (backups.folder / "odd").mkdir()
    (backups.folder / "replaced-2026").mkdir()
    rows = {row.name: row for row in backups.list()}
    assert set(rows) == {snapshot.name, "odd"} and "is no backup" in rows["odd"].error
    assert backups.find("") == backups.find(snapshot.name) == backups.find(snapshot.path) == Path(snapshot.path)
    for name in ("absent", "../backups", "/absent"):
        with pytest.raises((NotFound, StorageError)):
            backups.verify(name)


def test_who_comes_second_waits_and_gives_up_with_one_sentence(backups: Backups) -> None:
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with held(backups.folder):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    try:
        with pytest.raises(StorageError, match=r"^Another process works in .* and did not end within 0 s; end it, or try again later\.$"), \
                held(backups.folder, wait=0):
            pytest.fail("both were let in")
    finally:
        leave.set()
        thread.join()
    snapshot = backups.create()
    assert os.listdir(backups.folder) == [snapshot.name]


def test_two_backups_at_once_are_made_one_after_the_other(backups: Backups) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(backups.create().name)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2 and sorted(os.listdir(backups.folder)) == sorted(made)
