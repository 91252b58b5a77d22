"""Who may ask for something: actors, each with one role."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.access.policy import Policy, load_policy
from suite.access.table import actors as rows
from suite.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from suite.storage.engine import Storage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}")


@dataclass(frozen=True)
class Actor:
    """Somebody who calls tools. `created` is in UTC seconds since 1970."""

    name: str
    role: str
    active: bool = True
    created: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"name": self.name, "role": self.role, "active": self.active, "created": self.created}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Actor:
        """The actor that `to_dict` described."""
        return cls(data["name"], data["role"], bool(data["active"]), float(data["created"]))


class Actors:
    """The table of actors. The policy is the packaged one unless another is given; nothing is cached, a change holds from the next call on."""

    def __init__(self, storage: Storage, policy: Policy | None = None) -> None:
        self.storage, self.policy = storage, policy or load_policy()

    def seed(self) -> int:
        """Write the policy's actors into an empty table; returns how many were written."""
        with self.storage.begin() as connection:
            if connection.execute(rows.select().limit(1)).first() is not None:
                return 0
            now = time.time()
            fresh = [{"name": name, "role": role, "active": True, "created": now} for name, role in self.policy.actors.items()]
            if fresh:
                connection.execute(rows.insert(), fresh)
        return len(fresh)

    def find(self, name: str) -> Actor | None:
        """The actor of that name; None when there is none."""
        if not _NAME.fullmatch(name):
            return None
        found = self.storage.quick.rows("SELECT name, role, active, created FROM actors WHERE name = ?", (name,))
        return Actor(found[0][0], found[0][1], bool(found[0][2]), found[0][3]) if found else None

    def list(self) -> list[Actor]:
        """All actors by name."""
        with self.storage.read() as connection:
            found = connection.execute(rows.select()).all()
        return sorted((Actor(row.name, row.role, bool(row.active), row.created) for row in found), key=lambda actor: actor.name)

    def add(self, name: str, role: str) -> Actor:
        """Write a new actor; raises BadRequest for a bad name, an unknown role or a name that is taken."""
        if not _NAME.fullmatch(name):
            raise BadRequest(f"Actor name {name[:80]!r} cannot be used; take 1 to 80 letters, digits and . _ @ - beginning with a letter or digit.")
        self._known_role(role)
        actor = Actor(name, role, True, time.time())
        with self.storage.begin() as connection:
            if connection.execute(rows.select().where(rows.c.name == name)).first() is not None:
                raise BadRequest(f"Actor {name!r} exists already; choose another name or change the role.")
            connection.execute(rows.insert().values(**actor.to_dict()))
        return actor

    def change(self, name: str, *, role: str | None = None, active: bool | None = None) -> Actor:
        """Give an actor another role, or switch it off or on; raises NotFound, or BadRequest for an unknown role."""
        if role is not None:
            self._known_role(role)
        values = {key: value for key, value in (("role", role), ("active", active)) if value is not None}
        with self.storage.begin() as connection:
            if values:
                connection.execute(rows.update().where(rows.c.name == name).values(**values))
            row = connection.execute(rows.select().where(rows.c.name == name)).first()
        if row is None:
            raise NotFound(f"There is no actor {name[:80]!r}; known are {', '.join(actor.name for actor in self.list())}.")
        return Actor(row.name, row.role, bool(row.active), row.created)

    def _known_role(self, role: str) -> None:
        if role not in self.policy.roles:
            raise BadRequest(f"There is no role {role[:80]!r}; known are {', '.join(self.policy.roles)}.")
