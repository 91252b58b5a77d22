"""The folder that snapshots lie in: one process at a time changes it, and what a killed one left half-made is cleared away."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from suite.backup.snapshot import PARTIAL
from suite.errors import StorageError

SCRATCH = ".scratch-"
MARGIN = 64 << 20  # bytes that stay free beside what a step needs: the stack may be writing too
WAIT = 900.0  # seconds until whoever waits for another backup gives up
POLL = 0.1
SYNCS = 8


@contextmanager
def held(folder: Path, wait: float = WAIT) -> Iterator[None]:
    """Be the only one who makes, verifies, restores or deletes snapshots in `folder`, which is made when it is missing.

    The system lets go of it when the process dies. Raises StorageError when another keeps it for `wait` seconds.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"The backups' folder {folder} cannot be used ({error.strerror or error}); make it writable or free space.") from error
    try:
        _take(handle, folder, wait)
        if os.access(folder, os.W_OK):
            clear(folder)
        yield
    finally:
        os.close(handle)


def _take(handle: int, folder: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageError(f"Another process works in {folder} and did not end within {wait:g} s; end it, or try again later.") from None
            time.sleep(POLL)
        except OSError as error:
            raise StorageError(f"The backups' folder {folder} is on a filesystem without locks ({error.strerror}); use another.") from error


def clear(folder: Path) -> list[str]:
    """Remove what killed processes left half-made, and name it; for whoever holds the folder."""
    gone = []
    for path in folder.iterdir():
        if _half_made(path):
            (shutil.rmtree if path.is_dir() and not path.is_symlink() else Path.unlink)(path)
            gone.append(path.name)
    return gone


def left_over(folder: Path) -> list[str]:
    """The names of what a killed process left half-made; none while somebody is at work there, whose it is."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return sorted(path.name for path in folder.iterdir() if _half_made(path))
    except BlockingIOError:
        return []
    finally:
        os.close(handle)


def _half_made(path: Path) -> bool:
    return path.name.endswith(PARTIAL) or path.name.startswith(SCRATCH)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A private folder in `folder`, gone afterwards."""
    place = folder / f"{SCRATCH}{secrets.token_hex(4)}"
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise StorageError unless `needed` bytes and a margin are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise StorageError(f"The disk is full for {what}: {free >> 20} MiB are free at {folder} and {(needed + MARGIN) >> 20} are needed; "
                           "free some space.")


def sync(path: Path) -> None:
    """Have a file or folder on the disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(paths: Iterable[Path]) -> None:
    """The same for many, several at once: the system then writes them together."""
    with ThreadPoolExecutor(SYNCS, "suite-backup-sync") as pool:
        for _ in pool.map(sync, paths):
            pass


def write_whole(path: Path, text: str) -> None:
    """Put a small private file in its place at once: whoever is killed leaves the old one or the new one."""
    partial = path.with_name(path.name + PARTIAL)
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync(path.parent)
