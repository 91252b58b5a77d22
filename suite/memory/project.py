"""Projects: whose memory. One is made on purpose, found by the folder that it belongs to, or is the default; none is ever made by asking."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound
from suite.memory.record import MAX_NAME, checked_text
from suite.memory.table import projects
from suite.memory.words import Corpus

FILE = Path(".ai-memory") / "project.json"  # as the original wrote it
MAX_BYTES = 65_536


def nearest(folder: Path) -> dict[str, str] | None:
    """`id`, `name` and `path` of the project that a folder belongs to: that of the nearest FILE in it or above; None where there is none.

    Raises BadRequest for a file that cannot be read as one.
    """
    for place in (folder, *folder.parents):
        file = place / FILE
        if file.is_file():
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"{file} is no project file ({type(error).__name__}: {error}); mend or remove it, or name a project.",
                         param="project") from error
    checked_text(found["id"], "project id", MAX_NAME)
    checked_text(found["name"], "project name", MAX_NAME, blank=True)
    return found


def create(storage: Any, name: str, identity: str = "", path: str = "") -> str:
    """Make a project and return its id, which is the name unless another is given. Raises BadRequest when the id is taken."""
    checked_text(name, "project name", MAX_NAME)
    identity = checked_text(identity or name, "project id", MAX_NAME)
    if not register(storage, identity, name, checked_text(path, "path", 4096, blank=True)):
        raise BadRequest(f"There is a project {identity!r} already; use it, or choose another name.", param="project")
    return identity


def register(storage: Any, identity: str, name: str = "", path: str = "") -> bool:
    """Note a project that a file or the settings name; false when it is known already."""
    with storage.begin() as connection:
        if connection.execute(sa.select(projects.c.number).where(projects.c.id == identity)).first() is not None:
            return False
        connection.execute(sa.insert(projects).values(id=identity, name=name, path=path, created=time.time()))
    return True


def known(storage: Any, identity: str) -> str:
    """The id of a project that there is; raises NotFound with those that there are."""
    checked_text(identity, "project", MAX_NAME)
    with storage.read() as connection:
        if connection.execute(sa.select(projects.c.number).where(projects.c.id == identity)).first() is not None:
            return identity
        others = list(connection.execute(sa.select(projects.c.id).order_by(projects.c.created).limit(20)).scalars())
    raise NotFound(f"There is no project {identity!r}; there are {', '.join(others) or 'none yet'}. Make one with create_project().", param="project")


def corpus(connection: Any, identity: str) -> Corpus | None:
    """The project as the ranking sees it; None for one that nothing was ever remembered in."""
    row = connection.execute(sa.select(projects.c.number, projects.c.turns, projects.c.length).where(projects.c.id == identity)).first()
    return None if row is None else Corpus(row.number, row.turns, row.length)


def grown(connection: Any, identity: str, turns: int, length: int) -> None:
    """Note in a writer's transaction that a project has so many turns and terms more."""
    connection.execute(sa.update(projects).where(projects.c.id == identity)
                       .values(turns=projects.c.turns + turns, length=projects.c.length + length))


def new_id() -> str:
    """An id for a project that a folder is made into."""
    return str(uuid.uuid4())
