"""Files copied and hashed in one reading, their holes kept; and files made hollow again that lost their holes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.vectors.disk import BLOCK, filled

ZEROS = bytes(BLOCK)


def pieces(handle: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Where the data of a file lies, block by block: offset and bytes; what is in no block is a hole."""
    for start, end in filled(handle, size):
        while start < end:
            block = os.pread(handle, min(BLOCK, end - start), start)
            if not block:
                return  # it became shorter meanwhile; its digest will tell
            yield start, block
            start += len(block)


def hashed(path: Path, target: Path | None = None) -> tuple[int, str]:
    """Size and sha256 of a file as it reads, holes as zeros; with `target` copied there as well, private and hole for hole."""
    digest = sha256()
    with path.open("rb", buffering=0) as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        out = None if target is None else os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for start, block in pieces(file.fileno(), size):
                _zeros(digest, start - at)
                digest.update(block)
                at = start + len(block)
                if out is not None:
                    write_at(out, block, start)
            _zeros(digest, size - at)
            if out is not None:
                os.ftruncate(out, size)
        finally:
            if out is not None:
                os.close(out)
    return size, digest.hexdigest()


def hollow(path: Path) -> None:
    """Write a file anew without its blocks of zeros, when that makes it smaller: where a hole is read through a map, tmpfs fills it."""
    taken, place = path.stat().st_blocks * 512, path.with_name(path.name + ".hollow")
    out = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for start, block in pieces(file.fileno(), size):
                for at in range(0, len(block), 1 << 16):
                    part = block[at:at + (1 << 16)]
                    if part.count(0) != len(part):
                        write_at(out, part, start + at)
            os.ftruncate(out, size)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    finally:
        os.close(out)
    if place.stat().st_blocks * 512 < taken:
        place.rename(path)
    else:
        place.unlink()


def write_at(handle: int, block: bytes, start: int) -> None:
    """Write all of a block at an offset."""
    view = memoryview(block)
    while view:
        done = os.pwrite(handle, view, start)
        view, start = view[done:], start + done


def _zeros(digest: Any, count: int) -> None:
    while count > 0:
        digest.update(ZEROS if count >= len(ZEROS) else ZEROS[:count])
        count -= len(ZEROS)
