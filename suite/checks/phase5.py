"""Phase 5, the part about backups: one counts only once it was restored, so each of these checks makes one and has it restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from suite.checks import fault_backup as fault
from suite.checks.check import Check, Observation
from suite.checks.target import Target
from suite.checks.trace import MARK, marker
from suite.errors import UpstreamError

SECONDS = 1800.0  # a backup of a million turns takes a minute, a slow disk ten times that


def memory_backup(target: Target, seen: Observation) -> None:
    """P5.7: a snapshot made on the running stack holds every living turn, and comes back with the same rows, searches and decisions."""
    if _foreign(target, seen):
        return
    before = _turns(target)
    with _conversation(target):
        snapshot = _made(target, seen)
        during = _turns(target)
    if not snapshot:
        return
    tables = snapshot.get("tables") or {}
    living = min(before + 1, during)  # somebody may forget, or remember, while the snapshot is made
    seen.values["turns_missing"] = max(0, living - tables.get("memories", 0))
    found = _restored(target, seen, snapshot)
    words = [search for search in snapshot.get("searches") or [] if search["kind"] == "words"]
    seen.values |= {
        "rows_different": abs(sum(tables.values()) - found.get("rows", 0)), "word_searches": len(words),
        "searches_lost": len(snapshot.get("searches") or []) - found.get("searches", 0), "decisions": found.get("decisions"),
    }
    seen.note("decided", decisions=snapshot.get("decisions"))
    seen.note("rows", tables=tables, restored=found.get("rows"), turns_alive=living)


def vector_backup(target: Target, seen: Observation) -> None:
    """P5.8: a snapshot holds every collection with all its points, and each of them comes back, is found in as before, and leaves nothing behind."""
    if _foreign(target, seen):
        return
    with _conversation(target):  # so that there is a collection with a point in it
        before = _points(target)
        snapshot = _made(target, seen)
        after = _points(target)
    if not snapshot:
        return
    kept, known = snapshot.get("collections") or {}, before.keys() & after.keys()
    seen.values |= {"collections": len(known), "collections_missing": len(known - kept.keys()),
                    "points_missing": sum(max(0, min(before[name], after[name]) - kept.get(name, 0)) for name in known)}
    at_first = _points(target)
    found = _restored(target, seen, snapshot)
    near = [search for search in snapshot.get("searches") or [] if search["kind"] == "vector"]
    seen.values |= {
        "collections_different": abs(len(kept) - found.get("collections", 0)), "points_different": abs(sum(kept.values()) - found.get("points", 0)),
        "vector_searches": len(near), "searches_lost": len(snapshot.get("searches") or []) - found.get("searches", 0),
    }
    seen.values["left_behind"] = len(_points(target).keys() - at_first.keys() - before.keys()) + len(_standing(target).get("left_over") or [])
    seen.note("points", collections=kept, restored=found.get("points"))


def _foreign(target: Target, seen: Observation) -> bool:
    if target.parts() is None:
        seen.not_applicable = "this stack has no backups that could be asked for (its gateway is of another make); back it up by its own means"
        return True
    return False


def _made(target: Target, seen: Observation) -> dict[str, Any]:
    """A snapshot of the stack as it runs; nothing when it was refused, with the reason in the evidence."""
    try:
        snapshot: dict[str, Any] = target.json("POST", "api-gateway", "/v1/backups", json={}, timeout=SECONDS)
    except UpstreamError as error:
        seen.values["made"] = False
        seen.note("refused", reason=str(error))
        return {}
    seen.values["made"] = True
    seen.note("snapshot", snapshot=snapshot.get("name"), bytes=snapshot.get("bytes"), files=len(snapshot.get("files") or []),
              made_in_s=snapshot.get("seconds"), schema=snapshot.get("schema"), asked=snapshot.get("asked"),
              left_out=[row["what"] for row in snapshot.get("left_out") or []])
    return snapshot


def _restored(target: Target, seen: Observation, snapshot: dict[str, Any]) -> dict[str, Any]:
    """What came back when the snapshot was restored into a scratch folder, and what follows for RPO and RTO."""
    try:
        found: dict[str, Any] = target.json("POST", "api-gateway", "/v1/backups/verify", json={"path": snapshot["name"]}, timeout=SECONDS)
    except UpstreamError as error:
        seen.note("refused", reason=str(error))
        found = {}
    seen.values["problems"] = len(found["problems"]) if "problems" in found else None
    if found.get("problems"):
        seen.note("refused", reason=" ".join(found["problems"])[:600])
    now = _standing(target)
    newest = now.get("newest_verified") == snapshot["name"]
    seen.values |= {"rpo": now.get("rpo_s") if newest else None, "rto": now.get("rto_s") if newest else None}
    seen.note("standing", rpo_s=now.get("rpo_s"), rto_s=now.get("rto_s"), snapshots=now.get("snapshots"), verified=now.get("verified"),
              newest_verified=now.get("newest_verified"))
    return found


def _standing(target: Target) -> dict[str, Any]:
    return target.json("GET", "api-gateway", "/v1/backups").get("standing") or {}


def _turns(target: Target) -> int:
    """How many turns are alive, in all projects."""
    return sum(row["memories"] for row in target.json("GET", "memory-api", "/v1/memory/projects")["projects"])


def _points(target: Target) -> dict[str, int]:
    """The points of every vector collection; one that is dropped in this moment is left out."""
    found = {}
    for row in target.json("GET", "qdrant", "/collections")["result"]["collections"]:
        answer = target.call("GET", "qdrant", f"/collections/{row['name']}")
        if answer.status_code == 404:
            continue
        found[row["name"]] = answer.json()["result"]["points_count"]
    return found


@contextmanager
def _conversation(target: Target) -> Iterator[None]:
    """A turn of this check's own, gone afterwards; of the least importance, so that it soon expires wherever the snapshot is restored."""
    word = f"{MARK}{marker()}"
    body = {"user_query": f"Where does the {word} conversation of this check go?", "ai_response": f"The {word} conversation is deleted again.",
            "model_used": "release check", "importance": 1}
    identity = target.json("POST", "memory-api", "/v1/memory/conversations", json=body)["conversation_id"]
    try:
        target.json("POST", "memory-api", "/v1/memory/sync", json={}, timeout=SECONDS)  # saving does not wait for the vector, this check does
        yield
    finally:
        target.call("DELETE", "memory-api", f"/v1/memory/conversations/{identity}")


BACKUP = (
    Check("P5.7", "The memory's backup comes back whole", 5, "recoverability", 3, fault.ALTERED_DATABASE, memory_backup,
          (fault.STALE_DATABASE, fault.IDLE_VERIFICATION)),
    Check("P5.8", "Every vector collection's backup comes back whole", 5, "recoverability", 3, fault.ALTERED_VECTORS, vector_backup,
          (fault.MISSING_COLLECTION, fault.MISSING_POINTS)),
)
