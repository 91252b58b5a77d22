"""How people say from when on: so long ago, or a local time."""

from __future__ import annotations

import re
from datetime import datetime

UNITS = {"m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d{1,6})([mhd])")


def moment(text: str, now: float) -> float:
    """The moment that a text means, in UTC seconds since 1970: 30m, 12h or 7d before `now`, or ISO 8601, local where it has no zone.

    Raises ValueError for any other text.
    """
    found = _AGO.fullmatch(text.strip())
    if found:
        return now - int(found[1]) * UNITS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error
