"""The disk under the embedded store: is there room for the next write, and copies that keep the holes of its files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from suite.errors import StorageError

ROOM = 32 << 20  # bytes that must be free before the engine makes or fills files
ROOM_TO_DELETE = 4 << 20
ROOM_TO_OPEN = 40 << 20  # a collection's log is read through its map: on tmpfs that alone fills the 32 MiB of holes in it
BLOCK = 1 << 20


def require_room(place: Path, name: str, room: int = ROOM) -> None:
    """Raise StorageError unless `room` bytes are free where `place` is.

    The engine fills memory maps of sparse files: a page that finds no room any more is no error but SIGBUS, which ends the whole process. So
    every write is begun with more room than it can take.
    """
    free = shutil.disk_usage(place).free
    if free < room:
        raise StorageError(f"The disk is full ({free >> 20} MiB free, {room >> 20} needed) where the collection {name} is kept; "
                           "free some space, then try again.")


def has_room(place: Path, room: int = ROOM) -> bool:
    """Whether `room` bytes are free where `place` is."""
    return shutil.disk_usage(place).free >= room


def used(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of the engine's into a new one, private, hole for hole: 30 MB of zeros per file would fill the backups."""
    target.mkdir(parents=True, mode=0o700)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(mode=0o700)
        else:
            _copy(path, place)


def _copy(source: Path, target: Path) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb", buffering=0) as old, os.fdopen(handle, "wb", buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        for start, end in filled(old.fileno(), size):
            while start < end:
                block = os.pread(old.fileno(), min(BLOCK, end - start), start)
                if not block:
                    break
                start += os.pwrite(new.fileno(), block, start)
        new.truncate(size)


def filled(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that hold data; all of it where the system cannot say."""
    end = 0
    while end < size:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except (OSError, AttributeError) as error:
            if getattr(error, "errno", None) != errno.ENXIO:  # that one: only a hole is left
                yield end, size
            return
        yield start, end
