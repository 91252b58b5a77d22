"""One collection as one tar file: its meta.json and the engine's files, the holes in them left out as GNU tar does it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from suite.errors import BadRequest, StorageError
from suite.vectors.disk import BLOCK, filled
from suite.vectors.meta import META, SHARD, Meta

MOST_FILES = 100_000
MOST_META = 64 << 10
SPARSE = "GNU.sparse."
# Python before 3.11.4 has no filters; what is no plain file or folder was refused before
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


class Digest:
    """A file that is written to and hashed at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._hash.update(data)
        return self._file.write(data)

    def sha256(self) -> str:
        """The digest of all that was written."""
        return self._hash.hexdigest()


def writing(file: Digest) -> tarfile.TarFile:
    """An archive that is written to a file from its beginning to its end."""
    return tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # type: ignore[call-overload,no-any-return]


def pack(file: Digest, meta: Meta, place: Path) -> None:
    """Write the collection whose engine's files are in `place`."""
    with writing(file) as tar:
        about = json.dumps(replace(meta, shard=SHARD).to_dict()).encode()
        tar.addfile(_entry(META, len(about)), io.BytesIO(about))
        for path in sorted(place.rglob("*")):
            name = f"{SHARD}/{path.relative_to(place).as_posix()}"
            if path.is_dir():
                tar.addfile(_entry(name, 0, folder=True))
            else:
                add(tar, name, path)


def unpack(file: Path, folder: Path) -> Meta:
    """Write an archive's files into a new folder, private, and return what its meta.json says.

    Raises BadRequest when it is no archive of ours; nothing but plain files and folders below `folder` is ever written.
    """
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(file, mode="r:") as tar:
            for count, member in enumerate(tar):
                _check(member, count)
                tar.extract(member, folder, **SAFELY)
                (folder / member.name).chmod(0o700 if member.isdir() else 0o600)
        return Meta.of(json.loads((folder / META).read_text(encoding="utf-8")), "")
    except (tarfile.TarError, ValueError, FileNotFoundError, StorageError, EOFError) as error:
        raise BadRequest(f"This is no snapshot of a collection of ours ({str(error)[:200]}); send one that was made by this port, or unpack a full "
                         "snapshot and send the collections in it one by one.", param="snapshot") from error


def sha256(file: Path) -> str:
    """The digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(member: tarfile.TarInfo, count: int) -> None:
    path = PurePosixPath(member.name)
    ours = member.name == META or (path.parts and path.parts[0] == SHARD)
    if not ours or path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir() or member.issparse()):
        raise ValueError(f"it holds {member.name[:80]!r}")
    if count >= MOST_FILES or (member.name == META and (member.size > MOST_META or not member.isreg())):
        raise ValueError(f"it holds more than {MOST_FILES} files" if count >= MOST_FILES else f"its {META} is no small file")


def _entry(name: str, size: int, folder: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = size, 0o700 if folder else 0o600, tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return entry


def add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file as it is, or in GNU's sparse format 1.0: first where its data lie, then the data; its name stands in an attribute."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        ranges = list(filled(file.fileno(), size))
        file.seek(0)  # looking for the holes has moved it
        if ranges == [(0, size)] or size == 0:
            tar.addfile(_entry(name, size), file)
            return
        ranges.append((size, size))  # ends the file where a hole does
        table = "".join(f"{number}\n" for number in [len(ranges), *(part for start, end in ranges for part in (start, end - start))]).encode()
        table += bytes(-len(table) % tarfile.BLOCKSIZE)
        entry = _entry("GNUSparseFile.0/file", len(table) + sum(end - start for start, end in ranges))
        entry.pax_headers = {SPARSE + "major": "1", SPARSE + "minor": "0", SPARSE + "name": name, SPARSE + "realsize": str(size)}
        tar.addfile(entry, _Pieces(table, file.fileno(), ranges))  # type: ignore[arg-type]


class _Pieces:
    """The table of a sparse file and the parts of it that hold data, read one after another."""

    def __init__(self, table: bytes, handle: int, ranges: list[tuple[int, int]]) -> None:
        self._rest, self._blocks = b"", self._read(table, handle, ranges)

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    @staticmethod
    def _read(table: bytes, handle: int, ranges: list[tuple[int, int]]) -> Iterator[bytes]:
        yield table
        for start, end in ranges:
            while start < end:
                block = os.pread(handle, min(BLOCK, end - start), start)
                if not block:
                    raise StorageError("A file became shorter while it was archived; try again.")
                yield block
                start += len(block)
