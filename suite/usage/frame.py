"""Who used which model, as tables: what a bench asks of the accounts, here and, over HTTP, in another process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from suite.errors import BadRequest
from suite.usage.advise import Advice
from suite.usage.record import Usage
from suite.usage.summary import COLUMNS, keys_of

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 100_000
REQUEST = tuple(Usage.__dataclass_fields__)


class AccountsFace(Protocol):
    """The accounts of the host, or a guest's remote face of them; moments are UTC seconds."""

    def requests(self, since: float, n: int) -> list[dict[str, Any]]: ...

    def summary(self, since: float, by: Sequence[str]) -> list[dict[str, Any]]: ...

    def advice(self, since: float) -> list[dict[str, Any]]: ...


def frame(face: AccountsFace, since: float, by: str | Sequence[str], n: int) -> pd.DataFrame:
    """The newest `n` single requests (without `by`), or requests added up, as a table; times are UTC. Raises BadRequest."""
    import pandas as pd

    names = keys_of(by)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_ROWS:
        raise BadRequest(f"n is {str(n)[:80]} but must be a whole number from 1 to {MOST_ROWS}.", param="n")
    if names:
        return pd.DataFrame(face.summary(since, names), columns=[*names, *COLUMNS])
    found = pd.DataFrame(face.requests(since, n), columns=list(REQUEST))
    found["at"] = pd.to_datetime(found["at"].astype(float), unit="s", utc=True)
    return found.astype(dict.fromkeys(("queue_seconds", "first_seconds"), "float64"))


def advice_frame(face: AccountsFace, since: float) -> pd.DataFrame:
    """The advice as a table: kind, about, sentence, numbers."""
    import pandas as pd

    return pd.DataFrame(face.advice(since), columns=list(Advice.__dataclass_fields__))
