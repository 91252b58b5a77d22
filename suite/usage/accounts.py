"""Who used which model, read from the database of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from suite.usage.advise import advise
from suite.usage.ledger import Ledger
from suite.usage.read import last_uses, requests
from suite.usage.summary import keys_of, summed, zone

if TYPE_CHECKING:
    from suite.storage.engine import Storage

PEAK_HOURS = 3


class Accounts:
    """Reads what `ledger` keeps, all of it: what is noted is written first. `loaded` names the servers that hold a model."""

    def __init__(self, ledger: Ledger, loaded: Callable[[], Sequence[str]]) -> None:
        self._ledger, self._loaded = ledger, loaded

    def requests(self, since: float, n: int) -> list[dict[str, Any]]:
        """The newest `n` requests, the oldest of them first. Raises StorageError."""
        return [row.to_dict() for row in requests(self._written(), since, n)]

    def summary(self, since: float, by: Sequence[str]) -> list[dict[str, Any]]:
        """Requests added up by keys. Raises BadRequest for an unknown key, StorageError."""
        return summed(requests(self._written(), since), keys_of(by))

    def advice(self, since: float) -> list[dict[str, Any]]:
        """What they suggest. Raises StorageError."""
        storage = self._written()
        return [one.to_dict() for one in advise(requests(storage, since), time.time(), *last_uses(storage), self._loaded())]

    def _written(self) -> Storage:
        self._ledger.flush()
        return self._ledger.storage


def report(storage: Storage | None, since: float) -> dict[str, Any]:
    """Of the requests since a moment: the time zone, the busiest hours, aliases and models with their success and latency, and what that suggests.

    Without a storage there were none. Raises StorageError.
    """
    now = time.time()
    rows, uses = (requests(storage, since), last_uses(storage)) if storage else ([], (None, {}))
    return {"requests": len(rows), "zone": zone(now), "hours": summed(rows, ["hour"])[:PEAK_HOURS], "aliases": summed(rows, ["alias"]),
            "models": summed([row for row in rows if row.model], ["model"]), "advice": [one.to_dict() for one in advise(rows, now, *uses)]}
