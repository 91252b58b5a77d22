"""Writes a bundle whole or not at all, and over nothing that is not its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from suite.errors import BadRequest, StorageError

LIST = ".suite-bundle.json"  # the names of a bundle's files and their digests, by which it knows its own


def write_bundle(folder: Path, files: Mapping[str, str], force: bool = False) -> Path | None:
    """Put the files (by their names in it) into `folder`, readable by their owner alone, in the place of a bundle that was there before.

    What else is there is left alone: raises BadRequest that names a file of it. With `force` the whole folder is moved aside instead, and where to is
    returned. Raises StorageError when it cannot be written; then all is as it was.
    """
    strange = foreign(folder)
    if strange and not force:
        raise BadRequest(f"{strange} is not as `suite monitoring export` wrote it; name another folder, or use --force, which moves {folder} aside.",
                         param="folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.partial-"))
        try:
            _fill(made, files)
            return _swap(made, folder, keep=bool(strange))
        finally:
            shutil.rmtree(made, ignore_errors=True)  # it is gone when all went well
    except OSError as error:
        raise StorageError(f"The bundle {folder} cannot be written ({error.strerror or error}); free space, or name another folder.") from error


def foreign(folder: Path) -> Path | None:
    """Something in the folder that an export did not write, or that was changed since; None when there is nothing else, or no folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return folder
    try:
        own = json.loads((folder / LIST).read_text(encoding="utf-8"))
        own = own if isinstance(own, dict) else {}
    except (OSError, ValueError):
        own = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != LIST and (path.is_symlink() or not path.is_dir()) and (path.is_symlink() or own.get(name) != _digest(path)):
            return path
    return None


def _fill(made: Path, files: Mapping[str, str]) -> None:
    own = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    for name, text in {**files, LIST: json.dumps(own, indent=2) + "\n"}.items():
        for parent in reversed((made / name).relative_to(made).parents):
            (made / parent).mkdir(mode=0o700, exist_ok=True)
        with open(os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _swap(made: Path, folder: Path, keep: bool) -> Path | None:
    if not os.path.lexists(folder):
        os.rename(made, folder)
        return None
    number = next(n for n in range(1, 10_000) if not os.path.lexists(folder.with_name(f"{folder.name}.before-{n}")))
    aside = folder.with_name(f"{folder.name}.before-{number}")
    os.rename(folder, aside)
    try:
        os.rename(made, folder)
    except OSError:
        os.rename(aside, folder)
        raise
    if keep:
        return aside
    shutil.rmtree(aside)
    return None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
