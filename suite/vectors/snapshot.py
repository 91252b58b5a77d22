"""Snapshots of the embedded store: archives of one collection or of all, and collections made from such archives."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotFound, StorageError
from suite.vectors.apart import Apart
from suite.vectors.archive import Digest, add, pack, sha256, unpack, writing
from suite.vectors.deep import PREFIX
from suite.vectors.disk import ROOM, require_room, used
from suite.vectors.meta import SHARD
from suite.vectors.shard import Shard
from suite.vectors.store import check_name

SNAPSHOTS, RECOVERING = ".snapshots", ".recovering-"
SUFFIX, CHECKSUM, UNFINISHED = ".snapshot", ".checksum", ".part"
STEP = 4 << 20  # bytes received between two looks at the room on the disk
ALL = ""  # instead of a collection's name: all of them
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}\.snapshot")


@dataclass(frozen=True)
class Snapshot:
    """An archive that is kept: its file name, the bytes it takes, when it was made (UTC), and its SHA-256."""

    name: str
    bytes: int
    made: datetime
    sha256: str


class Snapshots:
    """The archives of a store, in a folder of their own; those of a collection outlive it.

    `shard` and `shards` give open collections; `adopt` makes the files in a folder the collection of that name. An archive is written under
    another name first, so that whoever is killed leaves no half of one.
    """

    def __init__(self, folder: Path, shard: Callable[[str], Shard], shards: Callable[[], list[Shard]], adopt: Callable[[str, Path], None]) -> None:
        self.folder, self._store = folder / SNAPSHOTS, folder
        self._shard, self._shards, self._adopt = shard, shards, adopt

    def create(self, name: str) -> Snapshot:
        """Archive a collection as it is now. Its writers wait for that, its readers do not. StorageError when there is no room."""
        shard = self._shard(name)
        with self._new(name) as (file, target):
            require_room(target.parent, name, ROOM + used(shard.place))
            self._pack(shard, file)
        return self._described(target)

    def create_full(self) -> Snapshot:
        """Archive every collection into one file, as archives in an archive."""
        shards = [shard for shard in self._shards() if not shard.name.startswith(PREFIX)]
        with self._new(ALL) as (file, target):
            require_room(target.parent, "of all", ROOM + 2 * sum(used(shard.place) for shard in shards))
            with writing(file) as tar:
                for shard in shards:
                    part = target.with_name(f"{target.name}.{shard.name}{UNFINISHED}")
                    with _private(part) as piece:
                        self._pack(shard, Digest(piece))
                    add(tar, f"{shard.name}{SUFFIX}", part)
                    part.unlink()
        return self._described(target)

    def kept(self, name: str) -> list[Snapshot]:
        """The archives of a collection, or of ALL, the oldest first. NotFound for a collection that neither is nor has any."""
        folder = self._of(name)
        found = [self._described(path) for path in sorted(folder.glob("*" + SUFFIX))] if folder.is_dir() else []
        if not found and name != ALL:
            self._shard(name)
        return found

    def path(self, name: str, snapshot: str) -> Path:
        """The file of an archive; NotFound when there is none of that name."""
        path = self._of(name) / snapshot
        if not _FILE.fullmatch(snapshot) or not path.is_file():
            raise NotFound(f"There is no snapshot {snapshot[:200]} of {name or 'all collections'}; list those that there are.")
        return path

    def delete(self, name: str, snapshot: str) -> None:
        """Remove an archive."""
        path = self.path(name, snapshot)
        path.unlink()
        path.with_name(path.name + CHECKSUM).unlink(missing_ok=True)

    def recover(self, name: str, file: Path, checksum: str = "") -> None:
        """Make the collection what an archive holds: a new one, or one that is there and has the same shape.

        `checksum` is the SHA-256 that the file must have, where it is given or was kept with it. What the archive holds is opened by a child
        process first. Raises BadRequest for a file that is no archive, another one or damaged, StorageError when there is no room.
        """
        check_name(name)
        beside = file.with_name(file.name + CHECKSUM)
        expected = checksum or (beside.read_text(encoding="ascii") if beside.is_file() else "")
        if expected and sha256(file) != expected.lower():
            raise BadRequest(f"The snapshot {file.name} has not the checksum {expected[:80]}; send it again, or take another one.", param="checksum")
        require_room(self._store, name, ROOM + file.stat().st_size)
        folder = self._store / f"{RECOVERING}{uuid.uuid4().hex[:12]}"
        try:
            with _disk(folder):
                meta = replace(unpack(file, folder), name=name, shard=SHARD)
                meta.write(folder)
                try:
                    Apart().run("open", folder / SHARD)
                except StorageError as error:
                    raise BadRequest(f"The engine cannot open what the snapshot {file.name} holds ({str(error)[:300]}); take another one.",
                                     param="snapshot") from error
                self._adopt(name, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def receiving(self) -> Iterator[tuple[Callable[[bytes], None], Path]]:
        """Where an archive goes that is being sent: what writes the next bytes of it, and the private file, which is gone afterwards.

        Writing raises StorageError while there is still the room that the open collections need.
        """
        self._made(self.folder)
        path, since = self.folder / f"received-{uuid.uuid4().hex}{UNFINISHED}", 0
        try:
            with _disk(self.folder), _private(path) as file:
                def write(data: bytes) -> None:
                    nonlocal since
                    if since == 0 or since > STEP:
                        require_room(self.folder, "to be recovered", ROOM + STEP)
                        since = 0
                    since += file.write(data)
                    file.flush()

                yield write, path
        finally:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self.folder.rglob("*" + UNFINISHED):
            path.unlink(missing_ok=True)

    def _of(self, name: str) -> Path:
        return self.folder if name == ALL else self.folder / check_name(name)

    def _made(self, folder: Path) -> Path:
        with _disk(folder):
            for place in (self.folder, folder):
                place.mkdir(mode=0o700, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[tuple[Digest, Path]]:
        """A file for a new archive that takes its name, with its checksum beside it, when all went well."""
        folder = self._made(self._of(name))
        target = folder / f"{name or 'full-snapshot'}-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S-%f}{SUFFIX}"
        unfinished = target.with_name(target.name + UNFINISHED)
        try:
            with _disk(folder):
                with _private(unfinished) as file:
                    digest = Digest(file)
                    yield digest, target
                    file.flush()
                    os.fsync(file.fileno())
                with _private(target.with_name(target.name + CHECKSUM)) as beside:
                    beside.write(digest.sha256().encode("ascii"))
                unfinished.rename(target)
        finally:
            for left in folder.glob(target.name + "*" + UNFINISHED):
                left.unlink(missing_ok=True)

    def _pack(self, shard: Shard, file: Digest) -> None:
        with shard.still():
            pack(file, shard.meta, shard.place)

    @staticmethod
    def _described(path: Path) -> Snapshot:
        beside, seen = path.with_name(path.name + CHECKSUM), path.stat()
        digest = beside.read_text(encoding="ascii") if beside.is_file() else ""
        return Snapshot(path.name, seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC), digest)


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the disk refuses is told with its reason."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its mode and the free space"
        raise StorageError(f"The snapshot in {folder} cannot be written or read ({error.strerror or error}); {advice}, then try again.") from error
