"""Writing into the archive so that it is whole before and after every step, whatever ends the process or fills the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from suite.errors import StorageError

LOCK = ".ledger.lock"
WAIT = 120.0  # seconds until whoever waits for another seal gives up; one takes about a second
FRESH = ".new"  # what a file is called until it is whole


@contextlib.contextmanager
def held(reports: Path, wait: float = WAIT) -> Iterator[None]:
    """Be the only one who changes the archive `reports`, which is made when it is missing; the system lets go when the process dies.

    Raises StorageError when another keeps it for `wait` seconds, or when it cannot be written.
    """
    import filelock

    try:
        reports.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = filelock.FileLock(reports / LOCK, mode=0o600, thread_local=False)
        lock.acquire(timeout=wait)
    except filelock.Timeout:
        raise StorageError(f"Another process seals into {reports} and did not end within {wait:g} s; end it, or try again later.") from None
    except OSError as error:
        raise unwritable(reports, error) from error
    try:
        yield
    finally:
        lock.release()


def read_plain(path: Path) -> bytes:
    """What a plain file holds; a link is not followed, and nobody waits for a pipe. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        return file.read()


def write_whole(path: Path, data: bytes) -> None:
    """Write a private file in one step: readers see the old one, or the new one, which is on the disk by then. Raises OSError."""
    fresh = path.with_name(f".{path.name}{FRESH}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    os.replace(fresh, path)


def write_all(handle: int, data: bytes) -> None:
    """Write all of it: one call may take only a part. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view):]


def sync(path: Path) -> None:
    """Have a file's or a folder's content on the disk before this returns. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(place: Path, error: OSError) -> StorageError:
    """What the system said while the archive was written, as one sentence with the next step."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"The disk of {place} is full, and nothing of this step was kept; free some space, then seal again.")
    return StorageError(f"The archive {place} cannot be written ({error.strerror or error}); mend its mode, or name another folder with --reports.")


def now() -> float:
    """UTC seconds since 1970, to the millisecond: what the ledger and a statement are dated with."""
    return round(time.time(), 3)
