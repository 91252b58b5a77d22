"""The embedded vector store: one shard of Qdrant's own core per collection, in a folder of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite.errors import BadRequest, NotFound, NotReady, StorageError, SuiteError
from suite.monitoring.probe import State, bad, good, guarded
from suite.vectors.apart import release_freed
from suite.vectors.deep import PREFIX, write_find_delete
from suite.vectors.disk import ROOM_TO_OPEN, require_room
from suite.vectors.meta import META, read_meta
from suite.vectors.optimize import AFTER, Optimizer, Runs
from suite.vectors.shard import Shard
from suite.vectors.snapshot import SNAPSHOTS, Snapshots
from suite.vectors.store import OURS, CollectionInfo, Naming, Point, Scored, Where, check_name, check_same, check_shape

LOCK, OWNER = "store.lock", "store.pid"
DROPPED, REPLACED = ".dropped-", ".replaced-"


class EdgeStore:
    """The part `qdrant`, embedded: `folder/<collection>/` holds meta.json and the shard; one process at a time."""

    name = "qdrant"

    def __init__(self, folder: Path, optimize_after: int = AFTER) -> None:
        self.folder = folder
        self._optimize_after = optimize_after
        self._shards: dict[str, Shard] = {}
        self._broken: dict[str, str] = {}
        self._why_not = "The vector store was not started; call start()."
        self._opened = False
        self._changing = threading.RLock()  # guards the table of collections, never held during a search or a write of points
        self._lock = FileLock(folder / LOCK, mode=0o600, thread_local=False)
        self._optimizer: Optimizer | None = None
        self.snapshots = Snapshots(folder, self._shard, self._all, self._adopt)

    def start(self) -> None:
        """Open the store; a failure is remembered for `ready`, never raised."""
        try:
            self.open()
        except SuiteError as error:
            self._why_not = error.message

    def open(self) -> None:
        """Open every collection; StorageError when another process has the store or the folder cannot be used.

        A damaged collection is left as it is and named by `ready`; the others work.
        """
        with self._changing:
            if self._opened:
                return
            self._take()
            try:
                self._open_all()
            except (StorageError, OSError) as error:
                self._release()
                raise _unusable(self.folder, error) if isinstance(error, OSError) else error from error
            self._opened = True
            self._optimizer = Optimizer(self._present, self._optimize_after)

    def close(self) -> None:
        """Write all to disk and release the folder; safe to call twice."""
        with self._changing:
            was_open, self._opened, self._why_not = self._opened, False, "The vector store was closed; call start()."
        if was_open:
            if self._optimizer is not None:
                self._optimizer.stop()
            self._release()

    def live(self) -> State:
        """Is the part there?"""
        return good()

    def ready(self) -> State:
        """Is the store open and every collection whole?"""
        if not self._opened:
            return bad(self._why_not)
        return bad(*self._broken.values()) if self._broken else good(collections=len(self._shards), backend="edge")

    def deep(self) -> State:
        """Is a point written, found and deleted?"""
        return guarded(lambda: write_find_delete(self))

    def create(self, name: str, size: int, distance: str = "Cosine", naming: Naming = OURS) -> None:
        """Create a collection, if it is not there; one that is there with another size, distance or naming is a BadRequest."""
        check_name(name)
        check_shape(size, distance)
        with self._changing:
            self._usable()
            if name in self._broken:
                raise StorageError(self._broken[name])
            found = self._shards.get(name)
            if found is not None:
                check_same(found.info(), size, distance, naming)
                return
            self._shards[name] = self._make(name, size, distance, naming)

    def drop(self, name: str) -> None:
        """Delete a collection with all points; nothing happens when there is none. Its snapshots stay."""
        check_name(name)
        with self._changing:
            self._usable()
            shard = self._shards.pop(name, None)
            self._broken.pop(name, None)
            self._shut(shard)
            if (self.folder / name).exists():
                gone = self.folder / f"{DROPPED}{name}"  # renamed first: what a kill leaves half-deleted is no collection any more
                shutil.rmtree(gone, ignore_errors=True)
                (self.folder / name).rename(gone)
                shutil.rmtree(gone, ignore_errors=True)

    def collections(self) -> list[CollectionInfo]:
        """All collections by name; those of a deep probe are not shown."""
        with self._changing:
            self._usable()
            shards = list(self._shards.values())
        found = []
        for shard in shards:
            if shard.name.startswith(PREFIX):
                continue  # a deep probe in another thread is nobody's collection
            with contextlib.suppress(NotReady):  # dropped in this moment
                found.append(shard.info())
        return sorted(found, key=lambda info: info.name)

    def info(self, name: str) -> CollectionInfo:
        """The collection's size, distance and number of points."""
        return self._shard(name).info()

    def upsert(self, name: str, points: Iterable[Point]) -> None:
        """Write points, replacing those with the same id; when it returns, a killed process loses none of them."""
        shard = self._shard(name)
        shard.upsert(points)
        if shard.optimizing:  # a child holds the collection once more, and whoever writes leaves much behind that is free already
            release_freed()
        self._note(shard)

    def get(self, name: str, ids: Sequence[str]) -> list[Point]:
        """The points with these ids, in that order; unknown ids are left out."""
        return self._shard(name).get(ids)

    def delete(self, name: str, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Delete by ids or by `where` (exactly one of them), and return how many points there were."""
        shard = self._shard(name)
        deleted = shard.delete(ids, where)
        self._note(shard)
        return deleted

    def alter(self, name: str, change: Callable[[Point], Point], ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Replace each of these points by `change` of it, and return how many there were; see `Store.alter`."""
        shard = self._shard(name)
        altered = shard.alter(change, ids, where)
        self._note(shard)
        return altered

    def count(self, name: str, where: Where | None = None) -> int:
        """The exact number of points."""
        return self._shard(name).count(where)

    def query(self, name: str, *, vector: Sequence[float] | None = None, sparse: Mapping[int, float] | None = None, limit: int = 10,
              where: Where | None = None, fusion_k: int = 60, effort: int | None = None) -> list[Scored]:
        """The nearest points, best first; see `Store.query`."""
        return self._shard(name).query(vector, sparse, limit, where, fusion_k, effort)

    def scroll(self, name: str, where: Where | None = None, limit: int = 100, offset: str | None = None) -> list[Point]:
        """Points in a fixed order; `offset` is the id of the last point of the page before."""
        return self._shard(name).scroll(where, limit, offset)

    def flush(self) -> None:
        """Write everything to disk now, so that a power failure loses nothing either."""
        for shard in self._all():
            with self._unless_dropped(shard):
                shard.flush()

    def copy_to(self, folder: Path) -> None:
        """Copy all collections into `folder` (made when missing, else empty); each is consistent, its writers wait for its copy alone."""
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadRequest(f"{folder} is not empty; copy the vectors into a new folder.", param="folder")
        shards = self._all()
        if self._broken:
            raise StorageError(f"The vectors were not copied, because a copy would lack a collection: {next(iter(self._broken.values()))}")
        for shard in shards:
            if not shard.name.startswith(PREFIX):
                with self._unless_dropped(shard):
                    shard.copy(folder / shard.name)
                if self._shards.get(shard.name) is not shard:
                    shutil.rmtree(folder / shard.name, ignore_errors=True)  # dropped meanwhile: half a copy is none

    def stats(self) -> dict[str, dict[str, Any]]:
        """Numbers for metrics, by collection: points, what its index holds and lacks, and the runs that brought it up to date since the start."""
        runs, rows = self._optimizer.stats() if self._optimizer is not None else {}, {}
        for info in self.collections():
            rows[info.name] = {"points": info.points, "indexed_vectors": info.indexing.indexed, "unoptimized_points": info.indexing.waiting,
                               "optimizing": int(info.indexing.optimizing), **runs.get(info.name, vars(Runs()))}
        return rows

    def _present(self) -> list[Shard]:
        """The open collections, none of a closed store."""
        return list(self._shards.values())

    def _all(self) -> list[Shard]:
        with self._changing:
            self._usable()
            return list(self._shards.values())

    @contextlib.contextmanager
    def _unless_dropped(self, shard: Shard) -> Iterator[None]:
        """What fails because another thread drops the collection in this moment is no failure: there is nothing left to do for it."""
        try:
            yield
        except (NotReady, FileNotFoundError):
            self._usable()
            if self._shards.get(shard.name) is shard:
                raise

    def _usable(self) -> None:
        if not self._opened:
            raise NotReady(self._why_not, part=self.name, retry_after=5)

    def _shard(self, name: str) -> Shard:
        self._usable()
        check_name(name)
        if name in self._broken:
            raise StorageError(self._broken[name])
        shard = self._shards.get(name)
        if shard is None:
            raise NotFound(f"There is no collection {name}; create it first, or pick one of: {', '.join(sorted(self._shards)) or 'none yet'}.")
        return shard

    def _take(self) -> None:
        """Make the folder ours alone."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire(timeout=0)
            (self.folder / OWNER).touch(mode=0o600)
            (self.folder / OWNER).write_text(str(os.getpid()), encoding="ascii")
        except Timeout:
            owner = (self.folder / OWNER).read_text(encoding="ascii") if (self.folder / OWNER).exists() else "unknown"
            raise StorageError(f"The vector store in {self.folder} is in use by the process {owner}; end it, connect to it as a guest, "
                               "or set another DATA_DIR.") from None
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def _release(self) -> None:
        """Close what is open and let the folder go."""
        with self._changing:
            shards, self._shards, self._broken = list(self._shards.values()), {}, {}
        try:
            for shard in shards:
                shard.close()
        finally:
            self._lock.release()

    def _open_all(self) -> None:
        """Open every collection's folder, after what killed processes left is cleared away."""
        for aside in self.folder.glob(REPLACED + "*"):
            name = aside.name.removeprefix(REPLACED)
            if not (self.folder / name / META).exists():  # killed between the two renames of _adopt
                shutil.rmtree(self.folder / name, ignore_errors=True)
                aside.rename(self.folder / name)
        self.snapshots.clear()
        for path in sorted(self.folder.iterdir()):
            if path.is_dir() and path.name != SNAPSHOTS:
                require_room(self.folder, path.name, ROOM_TO_OPEN)
                self._open_one(path)

    def _open_one(self, path: Path) -> None:
        """Open one collection's folder, or clear away what a killed `create`, `drop` or recovery left."""
        if path.name.startswith((".", PREFIX)) or not (path / META).exists():
            shutil.rmtree(path, ignore_errors=True)
            return
        try:
            self._shards[path.name] = Shard.load(path)
        except (SuiteError, OSError, ValueError, KeyError, TypeError) as error:
            self._broken[path.name] = (f"The collection {path.name} in {path} cannot be opened ({str(error)[:200]}); "
                                       "restore it from a backup, or drop it and index again.")

    def _make(self, name: str, size: int, distance: str, naming: Naming) -> Shard:
        place = self.folder / name
        try:
            shutil.rmtree(place, ignore_errors=True)
            return Shard.create(place, size, distance, naming)
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, OSError):
                raise _unusable(place, error) from error
            raise

    def _shut(self, shard: Shard | None) -> None:
        """Close a collection that goes."""
        if shard is not None:
            shard.close()
            if self._optimizer is not None:
                self._optimizer.forget(shard)

    def _adopt(self, name: str, folder: Path) -> None:
        """Make what is in a folder the collection of this name, instead of one of the same shape; whoever is killed leaves one of both."""
        meta, target, aside = read_meta(folder), self.folder / name, self.folder / f"{REPLACED}{name}"
        with self._changing:
            self._usable()
            found = self._shards.get(name)
            if found is not None:
                check_same(found.info(), meta.size, meta.distance, meta.naming)
                self._shut(self._shards.pop(name))
            shutil.rmtree(aside, ignore_errors=True)
            try:
                if target.exists():
                    target.rename(aside)
                folder.rename(target)
                self._shards[name] = Shard.load(target)
            except (SuiteError, OSError):
                if aside.exists():
                    shutil.rmtree(target, ignore_errors=True)
                    aside.rename(target)
                    self._open_one(target)
                raise
            self._broken.pop(name, None)
            shutil.rmtree(aside, ignore_errors=True)

    def _note(self, shard: Shard) -> None:
        if self._optimizer is not None:
            self._optimizer.note(shard)


def _unusable(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"The vector store's folder {folder} cannot be used ({error.strerror or error}); check its mode and the free space, "
                        "or set DATA_DIR.")
