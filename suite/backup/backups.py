"""The backups of one stack: made, verified by restoring them, listed and thinned out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suite.backup.cipher import read_key
from suite.backup.create import create
from suite.backup.listing import Listed, Standing, listing, newest_verified, standing
from suite.backup.prune import Pruned, prune
from suite.backup.snapshot import Snapshot, Source
from suite.backup.verification import Verification
from suite.backup.verify import verify
from suite.errors import NotFound


class Backups:
    """Snapshots in `folder`; `sources` gives what is backed up, and `storage` where a dump of PostgreSQL may be restored for a moment."""

    def __init__(self, folder: Path, sources: Callable[[], Sequence[Source]], storage: Any = None) -> None:
        self.folder, self.sources, self._storage = folder, sources, storage
        self._turn = threading.Lock()  # threads of this process queue here, other processes at the folder

    def create(self, key_file: str = "") -> Snapshot:
        """Make a snapshot now, encrypted when a key's file is named; it counts once `verify` has restored it."""
        key = read_key(key_file)
        with self._turn:
            return create(self.folder, self.sources(), key)

    def verify(self, path: str = "", key_file: str = "") -> Verification:
        """Restore a snapshot into a scratch folder and compare it: a path, a name of `list`, or the newest when none is given.

        Problems are in the answer, not raised. Raises NotFound for one that is not there, StorageError for one that is no backup.
        """
        key, place = read_key(key_file), self.find(path)
        with self._turn:
            return verify(place, key=key, storage=self._storage)

    def list(self) -> list[Listed]:
        """The snapshots, the newest first."""
        return listing(self.folder)

    def standing(self) -> Standing:
        """How many snapshots there are, how old the newest verified one is (RPO), and how long restoring it took (RTO)."""
        return standing(self.folder)

    def prune(self, dry_run: bool = True) -> Pruned:
        """Say which snapshots are no longer needed: all but 7 daily, 4 weekly, 12 monthly and the last verified one; delete them unless `dry_run`."""
        with self._turn:
            return prune(self.folder, dry_run)

    def find(self, path: str) -> Path:
        """The folder of a snapshot by its path or name, the newest when none is given; NotFound when there is none."""
        if not path:
            rows = [row for row in self.list() if not row.error]
            if not rows:
                raise NotFound(f"There is no backup in {self.folder}; make one first.", param="path")
            return Path(rows[0].path)
        given = Path(path) if Path(path).is_absolute() or (self.folder / path).name != path else self.folder / path
        if not given.is_dir():
            raise NotFound(f"There is no backup {path}; `suite backup list` shows those that there are.", param="path")
        return given

    def daily(self) -> dict[str, Any]:
        """What the maintainer runs each day: make a snapshot, restore it, and say how that went.

        Raises StorageError when it did not come back whole.
        """
        snapshot = self.create()
        found = self.verify(snapshot.path)
        found.check()
        return {"path": snapshot.path, "bytes": snapshot.bytes, "rows": found.rows, "points": found.points, "restore_s": found.seconds}

    def newest(self) -> Listed | None:
        """The youngest verified snapshot."""
        return newest_verified(self.list())
