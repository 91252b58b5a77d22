"""The ids of points: any text outside, UUIDs in the engine."""

from __future__ import annotations

import uuid

_SPACE = uuid.UUID("6f1c3f0e-5d3f-5d56-9f0b-0a6a1b0c7e11")  # ours, fixed for ever: ids in stored collections depend on it


def point_uuid(id: str) -> str:
    """The UUID that a point has in the engine: itself when the id is one, else a name-based one."""
    try:
        if len(id) == 36:
            return str(uuid.UUID(id))
    except ValueError:
        pass  # 36 characters of another kind
    return str(uuid.uuid5(_SPACE, id))
