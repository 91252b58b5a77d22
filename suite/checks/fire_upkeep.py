"""Fire drills of the rules about memory, its maintainer, backups, and what reports say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.backup import verification
from suite.backup.snapshot import MANIFEST
from suite.checks.fault_memory import hang_maintainer
from suite.checks.fire import Cause, Fire, Scene, bent
from suite.errors import StorageError

HOUR, DAY = 3600.0, 86_400.0


def back_up(scene: Scene) -> None:
    """Make a snapshot and restore it for a test."""
    backups = scene.stack.backups
    backups.verify(backups.create().path).check()


def aged(seconds: float) -> Cause:
    """The newest snapshot that was restored for a test is of long ago; then another is made."""
    @contextmanager
    def cause(scene: Scene) -> Iterator[None]:
        for row in scene.stack.backups.list():
            _backdate(Path(row.path), seconds)
        yield
        back_up(scene)

    return cause


def _backdate(snapshot: Path, seconds: float) -> None:
    found, file = verification.kept(snapshot), snapshot / MANIFEST
    body = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**body, "created": body["created"] - seconds}), encoding="utf-8")
    if found is not None:
        verification.keep(found)  # it is bound to the manifest


@contextmanager
def no_backup(scene: Scene) -> Iterator[None]:
    """Every snapshot is deleted; then one is made."""
    for row in scene.stack.backups.list():
        shutil.rmtree(row.path)
        verification.forget(Path(row.path))
    yield
    back_up(scene)


@contextmanager
def no_folder(scene: Scene) -> Iterator[None]:
    """The folder of backups is a file, and the daily backup is due."""
    folder, maintainer = scene.stack.backups.folder, scene.stack.parts["memory-maintainer"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()
    maintainer.run_now("backup")
    yield
    folder.unlink()
    maintainer.run_now("backup")


@contextmanager
def hung(scene: Scene) -> Iterator[None]:
    """The maintainer hangs, and its last beat is an hour old."""
    maintainer = scene.stack.parts["memory-maintainer"]
    with bent(maintainer, "_mark", maintainer._mark):
        hang_maintainer(scene.stack)
        yield


@contextmanager
def unsynced(scene: Scene) -> Iterator[None]:
    """The vector store takes nothing while something is remembered, which was an hour ago."""
    def refuse(*_: Any) -> None:
        raise StorageError("The disk of the vectors is full; a drill does that.")

    memory = scene.stack.parts["memory-api"]
    with bent(scene.stack.parts["qdrant"], "upsert", refuse):
        memory.remember("When does the ferry leave?", "At noon.")
        with scene.stack.storage.begin() as connection:
            connection.exec_driver_sql(f"UPDATE memories SET created = created - {HOUR}")
        yield
    memory.sync()


@contextmanager
def failed_check(scene: Scene) -> Iterator[None]:
    """The newest report of phase 2 says that a check failed; then there is one that says that it passed."""
    _report(scene, "fail", 1)
    yield
    _report(scene, "pass", 2)


def _report(scene: Scene, state: str, number: int) -> None:
    at, folder = scene.clock(), Path(scene.stack.settings.reports_dir)
    folder.mkdir(parents=True, exist_ok=True)
    said = {"at": at, "checks": [{"check": "P2.3", "phase": 2, "state": state}]}
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"{stamp}-{number}-phase2_health.ipynb").write_text(json.dumps({"metadata": {"suite": said}}), encoding="utf-8")


FIRES = (
    Fire("CheckFailed/warning", "reported", "the newest report said that P2.3 failed", failed_check),
    Fire("MemoryNotSynced/warning", "caused", "the vector store took nothing, and a turn has waited for an hour", unsynced),
    Fire("MaintainerStalled/critical", "caused", "the maintainer hung, and its last heartbeat was an hour old", hung),
    Fire("MaintainerJobFailed/warning", "caused", "the daily backup found a file in the place of its folder", no_folder),
    Fire("BackupNotVerified/warning", "caused", "the newest snapshot on the disk was 27 hours old", aged(27 * HOUR), before=back_up),
    Fire("BackupNotVerified/critical", "caused", "the newest snapshot on the disk was 8 days old", aged(8 * DAY), before=back_up),
    Fire("BackupMissing/warning", "caused", "every snapshot was deleted from the disk", no_backup, before=back_up),
)
