"""The table of approvals: asked for, decided, used once."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from suite.access.approval import SHORT, STATES, Approval, Wish
from suite.access.table import approvals as rows
from suite.errors import BadRequest, NotFound, NotPending, TooMany
from suite.text.secret import masked, masked_text

if TYPE_CHECKING:
    from suite.storage.engine import Storage

SECONDS, MOST = 300.0, 50
MAX_REASON = 1000
MAX_LISTED = 1000


class Approvals:
    """The table of approvals. Every change is one statement that names the state it starts from, so that of two who decide only one does."""

    def __init__(self, storage: Storage, seconds: float = SECONDS, most: int = MOST, clock: Callable[[], float] = time.time) -> None:
        self.storage, self.seconds, self.most, self._clock = storage, seconds, most, clock

    def ask(self, wish: Wish, why: str) -> tuple[Approval, bool]:
        """The pending approval of a call, and whether it is new: who asks again for the same gets the one that is there.

        Raises TooMany when `most` wait already.
        """
        now = self._clock()
        fresh = Approval(str(uuid.uuid4()), wish.actor, wish.tool, wish.digest, masked(dict(wish.arguments)), wish.cwd, masked_text(why), now,
                         now + self.seconds)
        with self.storage.begin() as connection:
            waiting = connection.execute(rows.select().where(_PENDING, rows.c.expires > now)).all()
            for row in waiting:
                if (row.actor, row.tool, row.digest) == (wish.actor, wish.tool, fresh.digest):
                    return _approval(row, now), False
            if len(waiting) >= self.most:
                wait = max(1, round(min(row.expires for row in waiting) - now))
                raise TooMany(f"{len(waiting)} calls wait for an approval already, which is the most (APPROVAL_MAX_PENDING); decide some of them, or "
                              f"try again in {wait} s.", retry_after=wait)
            values = {**fresh.to_dict(), "digest": fresh.digest, "arguments": json.dumps(fresh.arguments, ensure_ascii=False)}
            connection.execute(rows.insert().values(**values))
        return fresh, True

    def take(self, wish: Wish) -> Approval | None:
        """Use up the grant for exactly this call; None when there is none. Whoever else asks for it at the same moment gets none."""
        now = self._clock()
        mine = sa.and_(rows.c.state == "approved", rows.c.expires > now, rows.c.actor == wish.actor, rows.c.tool == wish.tool,
                       rows.c.digest == wish.digest)
        with self.storage.read() as connection:  # nearly always there is none, and whoever only looks must not wait for a writer
            if connection.execute(sa.select(rows.c.id).where(mine).limit(1)).first() is None:
                return None
        with self.storage.begin() as connection:
            row = connection.execute(rows.select().where(mine).order_by(rows.c.expires).limit(1)).first()
            if row is None:
                return None
            taken = connection.execute(rows.update().where(rows.c.id == row.id, rows.c.state == "approved").values(state="used", used=now)).rowcount
        return replace(_approval(row, now), state="used", used=now) if taken == 1 else None

    def decide(self, id: str, state: Literal["approved", "rejected", "cancelled"], by: str, rule: str, reason: str) -> Approval:
        """Move a pending approval on; a grant is good for `seconds` from now. Raises NotFound, or NotPending when it was decided or is over."""
        before = self.get(id)
        if len(reason) > MAX_REASON:
            raise BadRequest(f"The reason has {len(reason)} characters; at most {MAX_REASON} are kept.", param="reason")
        now = self._clock()
        values = {"state": state, "decided": now, "decided_by": by, "rule": rule, "reason": masked_text(reason), "expires": now + self.seconds}
        if state != "approved":
            del values["expires"]
        with self.storage.begin() as connection:
            change = rows.update().where(rows.c.id == before.id, _PENDING, rows.c.expires > now).values(**values)
            if connection.execute(change).rowcount != 1:
                row = connection.execute(rows.select().where(rows.c.id == before.id)).one()
                raise NotPending(f"The approval {before.id[:SHORT]} of {before.tool} is {_approval(row, now).state}; there is nothing to decide.")
            row = connection.execute(rows.select().where(rows.c.id == before.id)).one()
        return _approval(row, now)

    def get(self, id: str) -> Approval:
        """One approval by its id, or the beginning of it where only one begins so; raises NotFound."""
        begins = rows.c.id == id
        if SHORT <= len(id) < 36 and id.isascii() and set(id) <= set("0123456789abcdef-"):
            begins = rows.c.id.like(f"{id}%")
        with self.storage.read() as connection:
            found = connection.execute(rows.select().where(begins).limit(2)).all() if id.isprintable() else []
        if len(found) != 1:
            more = f"{SHORT} or more characters of it must be enough to tell it from others; " if found else ""
            raise NotFound(f"There is no one approval {id[:40]!r}; {more}`suite approvals list` shows them.", param="id")
        return _approval(found[0], self._clock())

    def list(self, state: str = "", actor: str = "", tool: str = "", limit: int = 50, offset: int = 0) -> list[Approval]:
        """Approvals, the newest first; `state`, `actor` and `tool` narrow where they are given. Raises BadRequest for another state."""
        now = self._clock()
        if state and state not in STATES:
            raise BadRequest(f"There is no state {state[:40]!r} of an approval; use one of {', '.join(STATES)}.", param="state")
        if not 1 <= limit <= MAX_LISTED or offset < 0:
            raise BadRequest(f"limit must be from 1 to {MAX_LISTED} and offset from 0 on, not {limit} and {offset}.", param="limit")
        query = rows.select().order_by(rows.c.requested.desc(), rows.c.id).limit(limit).offset(offset)
        over = sa.and_(rows.c.state.in_(("pending", "approved")), rows.c.expires <= now)
        if state == "expired":
            query = query.where(over)
        elif state:
            query = query.where(rows.c.state == state, sa.not_(over))
        for column, value in ((rows.c.actor, actor), (rows.c.tool, tool)):
            if value:
                query = query.where(column == value)
        with self.storage.read() as connection:
            return [_approval(row, now) for row in connection.execute(query)]

    def waiting(self) -> int:
        """How many wait now."""
        with self.storage.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(_PENDING, rows.c.expires > self._clock())).scalar_one())


_PENDING = rows.c.state == "pending"


def _approval(row: Any, now: float) -> Approval:
    state = "expired" if row.state in ("pending", "approved") and row.expires <= now else row.state
    return Approval(row.id, row.actor, row.tool, row.digest, json.loads(row.arguments), row.cwd, row.why, row.requested, row.expires, state,
                    row.decided, row.decided_by, row.rule, row.reason, row.used)
