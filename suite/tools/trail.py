"""What `bench.audit` is: the newest entries of the audit trail as a table, whether the chain is whole, and where it ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, get_args

from suite.access.caller import Caller
from suite.access.decide import decide_act
from suite.access.event import Event, Outcome
from suite.errors import BadRequest, Denied

if TYPE_CHECKING:
    import pandas as pd

    from suite.access.actor import Actors
    from suite.access.audit import Audit, Verification

READ = "audit.read"
COLUMNS = ("seq", "at", "actor", "kind", "subject", "outcome", "reason", "client", "digest")
OUTCOMES: tuple[str, ...] = get_args(Outcome)
MOST = 10_000  # entries in one table


class TrailFace(Protocol):
    """The host's trail, or the guest's remote face of it."""

    def list(self, limit: int = 100, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> pd.DataFrame: ...

    def verify(self) -> Verification: ...

    def head(self) -> tuple[int, str]: ...


class Trail:
    """The audit trail of this process, for whoever works in the kernel: they own the data directory that it lies in."""

    def __init__(self, audit: Audit, actors: Actors) -> None:
        self._audit, self._actors = audit, actors

    def list(self, limit: int = 100, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> pd.DataFrame:
        """The newest `limit` entries, the oldest of them first, one a row; `actor`, `kind`, `subject` and `outcome` narrow where they are given.

        The columns are COLUMNS; `at` is in UTC, to the microsecond, `client` says how the call came. Raises BadRequest for a limit that is not
        from 1 to MOST, and for an outcome that there is not.
        """
        return frame(self.entries(limit, actor, kind, subject, outcome))

    def entries(self, limit: int = 100, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> list[Event]:
        """The same entries as records, with their details. Raises as `list` does."""
        check(limit, outcome, actor=actor, kind=kind, subject=subject)
        return self._audit.find(limit, actor=actor, kind=kind, subject=subject, outcome=outcome)

    def verify(self) -> Verification:
        """Read the whole chain and say where it was edited, shortened or put in another order."""
        return self._audit.verify()

    def head(self) -> tuple[int, str]:
        """Number and digest of the last entry; number 0 when there is none."""
        return self._audit.head()

    def must_read(self, caller: Caller) -> None:
        """Raise Denied unless the caller holds `audit.read`; the kernel's owner can read the file anyway, so nothing is asked of them."""
        if not caller.owner:
            decision = decide_act(self._actors.find(caller.actor), READ, self._actors.policy, asked=caller.actor)
            if not decision.allowed:
                raise Denied(decision.reason, actor=caller.actor)


def check(limit: int, outcome: str, **names: str) -> None:
    """Raise BadRequest for what cannot be asked; on the host and on a guest with the same sentence."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
        raise BadRequest(f"limit must be from 1 to {MOST}, not {limit!r}.", param="limit")
    if outcome and outcome not in OUTCOMES:
        raise BadRequest(f"There is no outcome {outcome[:40]!r} of an entry; use one of {', '.join(OUTCOMES)}.", param="outcome")
    for name, value in names.items():
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):  # no database has such text, and some refuse to look for it
            raise BadRequest(f"{name} {value[:40]!r} holds a character that no entry can hold; leave it out.", param=name)


def frame(entries: Iterable[Event]) -> pd.DataFrame:
    """Entries as a table. An entry that was edited is shown as it is now: a time that is none becomes NaT."""
    import pandas as pd  # here, because most who import this need no table

    rows = list(entries)
    made: dict[str, Any] = {name: pd.Series([getattr(row, name) for row in rows], dtype="object") for name in COLUMNS if name != "client"}
    made["client"] = pd.Series([_client(row.detail) for row in rows], dtype="object")
    made["seq"] = made["seq"].astype("int64")
    moments = pd.to_numeric(made["at"], errors="coerce").astype("float64")
    made["at"] = pd.to_datetime(moments, unit="s", utc=True, errors="coerce").dt.as_unit("us")
    return pd.DataFrame(made, columns=list(COLUMNS))


def _client(detail: Any) -> str:
    return str(detail.get("client") or "") if isinstance(detail, dict) else ""
