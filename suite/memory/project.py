"""Projects: whose memory. One is made on purpose, found by the folder that it belongs to, or is the default; none is ever made by asking."""

from __future__ import annotations

import time
import uuid
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound
from suite.memory.record import MAX_NAME, checked_text
from suite.memory.table import projects
from suite.memory.words import Corpus


def create(storage: Any, name: str, identity: str = "", path: str = "") -> str:
    """Make a project and return its id, which is the name unless another is given. Raises BadRequest when the id is taken."""
    checked_text(name, "project name", MAX_NAME)
    identity = checked_text(identity or name, "project id", MAX_NAME)
    if not register(storage, identity, name, checked_text(path, "path", 4096, blank=True)):
        raise BadRequest(f"There is a project {identity!r} already; use it, or choose another name.", param="project")
    return identity


def register(storage: Any, identity: str, name: str = "", path: str = "") -> bool:
    """Note a project that a file or the settings name; false when it is known already."""
    with storage.read() as connection:  # nearly always it is, and whoever only asks must not wait for a writer
        if connection.execute(sa.select(projects.c.number).where(projects.c.id == identity)).first() is not None:
            return False
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
