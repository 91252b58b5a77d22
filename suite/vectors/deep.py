"""The deep probe of any store: a point is written, found and deleted in a collection of its own."""

from __future__ import annotations

import uuid

from suite.monitoring.probe import State, bad, good
from suite.vectors.store import Point, Store

PREFIX = "suite-deep-probe-"
NEAR, FAR = [1.0, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 1.0]


def write_find_delete(store: Store) -> State:
    """Write two points, find one by vector and by word, delete it, and leave nothing behind; the facts name the step that was reached."""
    name = PREFIX + uuid.uuid4().hex[:12]
    try:
        store.create(name, len(NEAR))
        store.upsert(name, [Point("near", NEAR, {1: 1.0}, {"probe": "yes"}), Point("far", FAR, {2: 1.0}, {"probe": "no"})])
        by_vector = [hit.id for hit in store.query(name, vector=NEAR, limit=1)]
        by_word = [hit.id for hit in store.query(name, sparse={1: 1.0}, limit=2)]
        if by_vector != ["near"] or by_word != ["near"]:
            return bad(f"A point was written but the search found {by_vector} by vector and {by_word} by word, expected ['near'] twice; "
                       "rebuild the store from a backup.", found_by_vector=by_vector, found_by_word=by_word)
        deleted = store.delete(name, where={"probe": "yes"})
        if deleted != 1 or store.get(name, ["near"]) or store.count(name) != 1:
            return bad(f"A point was deleted ({deleted}) but {store.count(name)} of 2 are still there, expected 1.", deleted=deleted)
    finally:
        store.drop(name)
    return good(written=2, found=1, deleted=1)
