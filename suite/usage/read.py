"""Usage as it is kept, read back: single requests, and when each server was last used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from suite.usage.record import Usage
from suite.usage.table import usage as rows

if TYPE_CHECKING:
    from suite.storage.engine import Storage

MOST_ROWS = 500_000  # the newest; those before them are not read
FIELDS = tuple(Usage.__dataclass_fields__)


def requests(storage: Storage, since: float = 0.0, n: int = MOST_ROWS) -> list[Usage]:
    """The newest `n` requests since that moment (UTC seconds), the oldest of them first."""
    asked = sa.select(*(rows.c[name] for name in FIELDS)).where(rows.c.at >= since).order_by(rows.c.at.desc(), rows.c.seq.desc())
    with storage.read() as connection:
        found = connection.execute(asked.limit(min(n, MOST_ROWS))).all()
    return [Usage(*row) for row in reversed(found)]


def last_uses(storage: Storage) -> tuple[float | None, dict[str, float]]:
    """When the first request of all was, and for each server when it last answered one (UTC seconds)."""
    with storage.read() as connection:
        first = connection.execute(sa.select(sa.func.min(rows.c.at))).scalar()
        found = connection.execute(sa.select(rows.c.server, sa.func.max(rows.c.at)).where(rows.c.server != "").group_by(rows.c.server)).all()
    return first, {server: float(at) for server, at in found}
