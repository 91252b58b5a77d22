"""The file by which a folder, and all below it, belongs to a project. Nothing here needs a database: a guest looks for its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from suite.errors import BadRequest
from suite.memory.record import MAX_NAME, checked_text

FILE = Path(".ai-memory") / "project.json"  # as the original wrote it
MAX_BYTES = 65_536


def named(path: Any) -> Path:
    """The folder that a caller names, made absolute in the caller's directory; raises BadRequest when it is no path, or nothing is there."""
    text = checked_text(os.fspath(path) if isinstance(path, os.PathLike) else path, "path", 4096)
    try:
        folder = Path(text).expanduser().absolute()
    except RuntimeError:  # the home of a user who does not exist
        folder = Path(text).absolute()
    if not os.path.isdir(folder):
        raise BadRequest(f"The folder {folder} does not exist; make it first, or leave the path out.", param="path")
    return folder


def nearest(folder: Path) -> dict[str, str] | None:
    """`id`, `name` and `path` of the project that a folder belongs to: that of the nearest FILE in it or above; None where there is none.

    Raises BadRequest for a file that cannot be read as one.
    """
    for place in (folder, *folder.parents):
        file = place / FILE
        try:
            there = file.is_file()
        except OSError:  # a folder that this user may not look into, or a name that no file can have
            there = False
        if there:
            return _read(file, place)
    return None


def here() -> dict[str, str] | None:
    """The project that the current directory belongs to."""
    try:
        return nearest(Path.cwd())
    except FileNotFoundError:  # the directory was removed under the process
        return None


def write(folder: Path, identity: str, name: str) -> Path:
    """Write the file that makes a folder the project's, and give its path; raises BadRequest where it cannot be written or one is there already."""
    file = folder / FILE
    if file.exists():
        raise BadRequest(f"{folder} belongs to a project already ({file}); use that one, or remove the file.", param="path")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"project_id": identity, "project_name": name, "project_path": str(folder), "created_at": stamp, "updated_at": stamp}
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"{file} cannot be written ({error.strerror}); make the folder writable or leave the path out.", param="path") from error
    return file


def _read(file: Path, place: Path) -> dict[str, str]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        body = json.loads(file.read_text(encoding="utf-8"))
        found = {"id": str(body["project_id"]), "name": str(body.get("project_name") or ""), "path": str(place)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{file} is no project file ({type(error).__name__}: {error}); mend or remove it, or name a project.",
                         param="project") from error
    checked_text(found["id"], "project id", MAX_NAME)
    checked_text(found["name"], "project name", MAX_NAME, blank=True)
    return found
