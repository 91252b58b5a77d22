"""API keys: an actor's proof of who they are on port 8020. Only a key's sha256 is kept; its text is shown once."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.access.actor import Actors
from suite.access.table import actors as people
from suite.access.table import keys as rows
from suite.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from suite.storage.engine import Storage

PREFIX = "suite_"  # by which a key is recognised, also by what masks secrets
BITS = 256
_SHAPE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
# of an actor who is active, all in one look
_BY_DIGEST = (f"SELECT k.id, k.actor, k.label, k.created, k.expires, k.revoked FROM {rows.name} k JOIN {people.name} a ON a.name = k.actor "
              "WHERE k.digest = ? AND a.active")
MAX_LABEL = 80
MAX_DAYS = 3650


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key, which is not the key itself. Times are UTC seconds since 1970; `expires` and `revoked` may be None."""

    id: str
    actor: str
    label: str
    created: float
    expires: float | None = None
    revoked: float | None = None

    def usable(self, now: float) -> bool:
        """Whether it opens anything at that time."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"id": self.id, "actor": self.actor, "label": self.label, "created": self.created, "expires": self.expires, "revoked": self.revoked}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ApiKey:
        """The key that `to_dict` described."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


class ApiKeys:
    """The table of keys. Nothing is cached: a key that was revoked opens nothing from that moment on."""

    def __init__(self, storage: Storage, actors: Actors) -> None:
        self.storage, self.actors = storage, actors

    def create(self, actor: str, label: str = "", days: float | None = None) -> tuple[ApiKey, str]:
        """A new key of a known, active actor, and its text, which nobody can ask for again; `days` None: it does not expire.

        Raises NotFound for an unknown actor, BadRequest for one who is switched off, a long label or days that are none.
        """
        known = self.actors.find(actor)
        if known is None:
            raise NotFound(f"There is no actor {actor[:80]!r}; known are {', '.join(row.name for row in self.actors.list())}.", param="actor")
        if not known.active:
            raise BadRequest(f"Actor {actor!r} is switched off and gets no key; switch the actor on first.", param="actor")
        if len(label) > MAX_LABEL or not label.isprintable():
            raise BadRequest(f"The label of a key has at most {MAX_LABEL} printable characters.", param="label")
        if days is not None and not 0 < days <= MAX_DAYS:
            raise BadRequest(f"A key may last up to {MAX_DAYS} days, not {days!r}; leave it out for one that does not expire.", param="days")
        text, now = PREFIX + secrets.token_urlsafe(BITS // 8), time.time()
        key = ApiKey(secrets.token_hex(4), actor, label, now, None if days is None else now + days * 86_400)
        with self.storage.begin() as connection:
            connection.execute(rows.insert().values(**key.to_dict(), digest=_digest(text)))
        return key, text

    def find(self, text: str) -> ApiKey | None:
        """The usable key with this text whose actor is active; None for anything else."""
        if not _SHAPE.fullmatch(text):
            return None
        found = self.storage.quick.rows(_BY_DIGEST, (_digest(text),))  # by its digest: how long the look-up takes tells nothing of the text
        key = ApiKey(*found[0]) if found else None
        return key if key is not None and key.usable(time.time()) else None

    def list(self) -> list[ApiKey]:
        """All keys, also those that open nothing any longer, oldest first."""
        with self.storage.read() as connection:
            return [_key(row) for row in connection.execute(rows.select().order_by(rows.c.created, rows.c.id))]

    def revoke(self, id: str) -> ApiKey:
        """Let a key open nothing from now on; one that was revoked before stays as it was. Raises NotFound."""
        with self.storage.begin() as connection:
            connection.execute(rows.update().where(rows.c.id == id, rows.c.revoked.is_(None)).values(revoked=time.time()))
            row = connection.execute(rows.select().where(rows.c.id == id)).first()
        if row is None:
            raise NotFound(f"There is no key {id[:40]!r}; `suite keys list` shows them.", param="id")
        return _key(row)


def _digest(text: str) -> str:
    # 256 random bits cannot be guessed from their digest, so it needs neither salt nor a slow function
    return hashlib.sha256(text.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(row.id, row.actor, row.label, row.created, row.expires, row.revoked)
