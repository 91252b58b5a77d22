"""A snapshot's files brought into a scratch folder as they are to be restored, each compared with the manifest as it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from suite.backup import cipher
from suite.backup.cipher import Key
from suite.backup.copy import hashed
from suite.backup.create import PRIVATE, THREADS
from suite.backup.snapshot import MANIFEST, PARTIAL, SEAL, Entry, Snapshot, seal_problems
from suite.errors import StorageError
from suite.storage.migrate import HERE


def refuse_newer(snapshot: Snapshot) -> None:
    """Raise StorageError for a snapshot whose database schema this version does not know."""
    known = _schemas()
    schema = snapshot.manifest.get("schema")
    if schema is not None and schema not in known:
        raise StorageError(f"The backup {snapshot.path} has a database of schema {schema}, which this version does not know (its newest is "
                           f"{max(known)}); use the version that wrote it.")


def newest_schema() -> str:
    """The schema that this version brings every database to."""
    return max(_schemas())


def _schemas() -> set[str]:
    return {path.name.split("_")[0] for path in (HERE / "versions").glob("[0-9]*_*.py")}


def shape_problems(snapshot: Snapshot) -> list[str]:
    """What can be said without reading a file: names that lead elsewhere, files that are missing, extra, links or of another size."""
    folder = Path(snapshot.path)
    problems = [f"{folder.name} was never finished."] if folder.name.endswith(PARTIAL) else []
    problems += seal_problems(folder)
    listed: set[str] = set()
    for entry in snapshot.files:
        if entry.path in listed:
            problems.append(f"{entry.path} is listed twice.")
        listed.add(entry.path)
        problems += _problems_of(entry, folder)
    if not listed:
        problems.append("It holds no files.")
    for found in sorted(folder.rglob("*")):
        name = found.relative_to(folder).as_posix()
        if (found.is_symlink() or not found.is_dir()) and name not in listed and name not in (MANIFEST, SEAL):
            problems.append(f"{name} is not in the manifest.")
    return problems


def _problems_of(entry: Entry, folder: Path) -> list[str]:
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != entry.path:
        return [f"{entry.path} points outside of the backup."]
    file = folder / entry.path
    above = next((part for part in file.relative_to(folder).parents if (folder / part).is_symlink()), None)
    if above is not None:
        return [f"{above.as_posix()} is a link, so {entry.path} lies outside of the backup."]
    if file.is_symlink() or (file.exists() and not file.is_file()):
        return [f"{entry.path} is not an ordinary file."]
    if not file.exists():
        return [f"{entry.path} is missing."]
    size = file.stat().st_size
    return [] if size == entry.bytes else [f"{entry.path} has {size} bytes instead of {entry.bytes}."]


def bring(snapshot: Snapshot, place: Path, key: Key | None) -> list[str]:
    """Copy (or decrypt) every file into `place`, and name each whose bytes are not those of the manifest; for a shape without problems."""
    folder, identity = Path(snapshot.path), str(snapshot.manifest.get("id", ""))
    paths = [(entry, PurePosixPath(entry.path.removesuffix(cipher.SUFFIX) if key is not None else entry.path)) for entry in snapshot.files]
    for parent in sorted({parent for _, path in paths for parent in path.parents}):
        (place / parent).mkdir(exist_ok=True, mode=0o700)

    def one(pair: tuple[Entry, PurePosixPath]) -> str:
        entry, path = pair
        try:
            if key is None:
                size, digest = hashed(folder / entry.path, place / path)
            else:
                size, digest = cipher.unseal(folder / entry.path, place / path, key, f"{identity}/{path}")
        except cipher.Altered as error:
            return f"{entry.path} cannot be decrypted: {error}."
        except OSError as error:
            if error.filename in (None, str(place / path)):
                raise
            return f"{entry.path} cannot be read ({error.strerror})."
        return "" if (size, digest) == (entry.bytes, entry.sha256) else f"{entry.path} has other content."

    with ThreadPoolExecutor(THREADS, "suite-backup-stage") as pool:
        return [problem for problem in pool.map(one, paths) if problem]


def expected(snapshot: Snapshot, place: Path) -> Mapping[str, Any]:
    """What the restored data must answer: the manifest's entries, in an encrypted snapshot those that were encrypted with it.

    Raises ValueError when an encrypted snapshot's own account is missing or another's.
    """
    if not snapshot.encrypted:
        return snapshot.manifest
    try:
        private = json.loads((place / PRIVATE).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{PRIVATE} cannot be read ({error.strerror})") from error
    for name in ("id", "tables", "collections"):
        if private.get(name) != snapshot.manifest.get(name):
            raise ValueError(f"the manifest's {name} are not those that were encrypted")
    return {**snapshot.manifest, **private}
