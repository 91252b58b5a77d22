"""The folder of a release that is being made, and the record of what is finished in it, so that a run that was broken off can go on."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock

from suite.errors import BadRequest, NotFound, StorageError
from suite.runbooks import archive, disk
from suite.runbooks.ending import FINISHED

FILE = "journal.json"
SAME = ("release", "stage", "parameters", "phases", "commit", "dirty_diff_sha256", "packages_sha256", "criteria_sha256", "settings_sha256")
MOST_SECONDS = 86400.0  # older evidence passes no gate, so there is nothing to go on with
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class Journal:
    """One release's folder `reports/.<stamp>-<release>.partial`, held by this process alone; `runs` are the phases that have ended so far."""

    def __init__(self, directory: Path, lock: filelock.BaseFileLock, record: dict[str, Any]) -> None:
        self.directory, self._lock, self._record = directory, lock, record

    @property
    def began(self) -> float:
        """When the release was begun (UTC seconds), which a run that is resumed does not change."""
        return float(self._record["began"])

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The runs that have ended, by runbook."""
        return self._record["runs"]

    def note(self, run: Mapping[str, Any]) -> None:
        """Keep how a phase ended. Raises StorageError."""
        self._record["runs"][str(run["runbook"])] = dict(run)
        self._write()

    def _write(self) -> None:
        try:
            disk.write_whole(self.directory / FILE, json.dumps(self._record, indent=1, ensure_ascii=False).encode())
        except OSError as error:
            raise disk.unwritable(self.directory, error) from error

    def clear(self) -> None:
        """Take the record out of the folder, which is about to be sealed."""
        (self.directory / FILE).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder; the system does so when the process dies."""
        lock = Path(self._lock.lock_file)
        self._lock.release()
        if not self.directory.exists():
            lock.unlink(missing_ok=True)


def begin(reports: Path, configuration: Mapping[str, Any]) -> Journal:
    """Make the folder of a new release; `configuration` has release, stage, parameters, and the digests that a later run must find again.

    Raises BadRequest for a name that is no folder's, StorageError when the folder cannot be made.
    """
    release = str(configuration["release"])
    if not _NAME.fullmatch(release):
        raise BadRequest(f"The release is called {release!r}, but a name has 1 to 64 letters, digits and . _ + - and begins with a letter or digit.")
    moment = datetime.now(UTC)
    try:
        reports.mkdir(parents=True, exist_ok=True, mode=0o700)
        for seconds in range(1000):  # two of one second, or a clock that was set back: the name only has to be free
            stamp = (moment + timedelta(seconds=seconds)).strftime("%Y%m%dT%H%M%SZ")
            name = f"{stamp}-{release}"
            directory = reports / f".{name}{archive.PARTIAL}"
            if (reports / name).exists() or directory.exists():
                continue
            lock = _lock(directory)
            if lock is None:
                continue
            try:
                directory.mkdir(mode=0o700)
            except FileExistsError:
                lock.release()
                continue
            journal = Journal(directory, lock, {"schema": 1, "began": time.time(), **configuration, "runs": {}})
            journal._write()
            return journal
    except OSError as error:
        raise disk.unwritable(reports, error) from error
    raise StorageError(f"{reports} holds a thousand releases called {release} of this quarter of an hour; try again later.")


def resume(reports: Path, which: str, configuration: Mapping[str, Any], now: float) -> Journal:
    """Take up a release that was broken off: the newest of this name for `last`, else by its folder's name or path.

    Raises NotFound when there is none, BadRequest when it was made with something else, is too old, or another process is at it.
    """
    directory = _find(reports, which, str(configuration["release"]))
    lock = _lock(directory)
    if lock is None:
        raise BadRequest(f"Another process is at {directory.name}; wait until it has ended, then resume.")
    try:
        record = json.loads((directory / FILE).read_bytes())
        wrong = _wrong(record, configuration, now)
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = f"its {FILE} cannot be read ({type(error).__name__}: {str(error)[:100]})"
    if wrong:
        lock.release()
        raise BadRequest(f"{directory.name} cannot be resumed: {wrong}. Begin a new release, without --resume.")
    for runbook, run in list(record["runs"].items()):
        if run.get("state") != FINISHED or not (directory / str(run.get("path"))).is_file():
            del record["runs"][runbook]
    kept = {str(run["path"]) for run in record["runs"].values()}
    for path in directory.iterdir():  # what came after the last finished phase is made again
        if path.name != FILE and path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return Journal(directory, lock, record)


def _find(reports: Path, which: str, release: str) -> Path:
    there = [path for path in archive.unfinished(reports) if (path / FILE).is_file()]
    if which == "last":
        there = [path for path in there if path.name.removesuffix(archive.PARTIAL).endswith(f"Z-{release}")]
    else:
        there = [path for path in there if which in (path.name, path.name[1:].removesuffix(archive.PARTIAL), str(path))]
    if not there:
        raise NotFound(f"No release that was broken off answers to {which!r} for {release} in {reports}; begin a new one, without --resume.")
    return there[-1]


def _wrong(record: Mapping[str, Any], configuration: Mapping[str, Any], now: float) -> str:
    different = [name for name in SAME if record.get(name) != configuration.get(name)]
    if different:
        return "it was begun with another " + ", ".join(name.removesuffix("_sha256").replace("_", " ") for name in different)
    began = float(record["began"])
    if began > now + 5:
        return "it was begun in the future: the clock was set back"
    if now - began > MOST_SECONDS:
        return "it was begun more than a day ago"
    return "" if isinstance(record["runs"], dict) else "its record of runs is no table"


def _lock(directory: Path) -> filelock.BaseFileLock | None:
    lock = filelock.FileLock(directory.with_suffix(".lock"), mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None
    return lock
