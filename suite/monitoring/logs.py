"""What `bench.logs` asks: the log of this process, for whoever works in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from suite.errors import BadRequest
from suite.monitoring.log_follow import Following
from suite.monitoring.log_query import Query, frame
from suite.monitoring.log_read import LogReader

if TYPE_CHECKING:
    import pandas as pd


class LogsFace(Protocol):
    """The host's log, or the guest's remote face of it."""

    def read(self, **asked: Any) -> pd.DataFrame: ...

    def follow(self, **asked: Any) -> Following: ...


class Logs:
    """The log that this process writes. `ended` says whether the stack has stopped, which ends every following."""

    def __init__(self, reader: LogReader, ended: Callable[[], bool] = lambda: False) -> None:
        self._reader, self._ended = reader, ended

    def read(self, **asked: Any) -> pd.DataFrame:
        """The newest lines that are asked for (Query.of), the oldest of them first, as a table. Raises BadRequest."""
        return frame(self._reader.newest(Query.of(**asked)))

    def follow(self, **asked: Any) -> Following:
        """Lines that are written from now on, of those that are asked for. Raises BadRequest."""
        query = following(**asked)
        return Following(partial(self._reader.after, query=query), self._reader.end(), self._ended)


def following(**asked: Any) -> Query:
    """The query of somebody who follows; on the host and on a guest with the same sentence where it cannot be."""
    if asked.get("until"):
        raise BadRequest("until goes with lines that were written, not with follow; close the iterator when enough has come.", param="until")
    return Query.of(**{**asked, "since": None})
