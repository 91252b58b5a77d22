"""The 33 checks that every release is judged by, whatever runbooks are installed: a list of its own, so that none can go missing unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from suite.checks.check import Check, now
from suite.checks.criteria import UNIT, Criteria
from suite.checks.result import Result

PHASES = ("phase1_environment", "phase2_health", "phase3_monitoring", "phase4_configuration", "phase5_validation")
CATEGORIES = ("infrastructure", "stability", "security", "monitoring", "function", "performance", "recoverability")
_OF_PHASE = {1: "infrastructure", 2: "stability", 3: "monitoring", 4: "security"}
_ROWS = (
    ("P1.1", "The programs that the stack is made of", 2), ("P1.2", "The processor or card that the models run on", 2),
    ("P1.3", "The ports are free, or are our own stack's", 1), ("P1.4", "The model files are those of the catalogue", 2),
    ("P1.5", "The code is a commit, and nothing else", 2), ("P1.6", "There is room on every disk", 2),
    ("P2.1", "All nine parts started and are ready", 2), ("P2.2", "mcp-server allows, denies and records", 3),
    ("P2.3", "api-gateway answers under every alias", 2), ("P2.4", "rag answers with a citation", 2),
    ("P2.5", "embedding gives 384 numbers of unit length", 2), ("P2.6", "inference-chat runs the profile's model", 2),
    ("P2.7", "inference-code runs the profile's model", 2), ("P2.8", "qdrant writes, finds and deletes", 3),
    ("P2.9", "memory-api keeps, finds and forgets", 3),
    ("P3.1", "All roles of monitoring answer with fresh evidence", 2), ("P3.2", "The dashboard opens to the token alone", 2),
    ("P3.3", "Every panel of the overview shows data", 2), ("P3.4", "Every target is there once and up", 2),
    ("P3.5", "A line of each service is found in the log", 2), ("P3.6", "Rules are looked at, and an alert arrives", 2),
    ("P4.1", "The security settings are those of the stage", 3), ("P4.2", "Another job has built and tested this commit", 2),
    ("P4.3", "The folders of models and data can be used", 2), ("P4.4", "The security recommendations hold", 3),
    ("P5.1", "A document is indexed, found and removed", 2), ("P5.2", "Questions in Korean and English are answered", 2),
    ("P5.3", "The embedder orders texts by their meaning", 2), ("P5.4", "A tool call gives the known bytes", 3),
    ("P5.5", "The user's own route is fast enough", 2), ("P5.6", "The models are on the card, and leave room", 2),
    ("P5.7", "The memory's backup comes back whole", 3), ("P5.8", "Every vector collection's backup comes back whole", 3),
)
IDS = tuple(row[0] for row in _ROWS)
# what a check rests on: where the first does not pass, nobody can trust the second, however it ends
RESTS_ON = {
    "P3.3": ("P3.1",), "P3.6": ("P3.1",), "P5.1": ("P2.5", "P2.8"), "P5.2": ("P2.3", "P2.4"), "P5.3": ("P2.5",), "P5.4": ("P2.2",),
    "P5.5": ("P2.3", "P2.6"), "P5.6": ("P1.2",), "P5.7": ("P2.9",), "P5.8": ("P2.8",), "P2.6": ("P1.4",), "P2.7": ("P1.4",),
}


@dataclass(frozen=True)
class Planned:
    """A check as the release counts it."""

    id: str
    title: str
    phase: int
    category: str
    weight: int


def planned(known: Iterable[Check] = ()) -> list[Planned]:
    """The 33 in order, and after them whatever else the known checks of the phases are; titles and weights are the known ones' where known."""
    by_id = {check.id: check for check in known}
    rows = []
    for name, title, weight in _ROWS:
        check = by_id.pop(name, None)
        rows.append(Planned(name, check.title if check else title, int(name[1]), category(name), check.weight if check else weight))
    return rows + [Planned(check.id, check.title, check.phase, check.category, check.weight) for check in by_id.values()]


def category(name: str) -> str:
    """What one of the 33 counts towards."""
    phase, number = (int(part) for part in name[1:].split("."))
    return _OF_PHASE.get(phase) or ("function" if number <= 4 else "performance" if number <= 6 else "recoverability")


def absent(check: Planned, reason: str, criteria: Criteria | None = None) -> Result:
    """The result of one of them that did not happen, because nothing that performs it was there or came to it."""
    known = criteria is not None and check.id in criteria
    criterion = criteria[check.id].to_dict() if known and criteria is not None else {"op": "==", "limit": 0, "unit": UNIT, "reason": ""}
    moment = now()
    return Result(check.id, check.title, check.phase, check.category, "not-run", {"value": None, "unit": UNIT, "n": 0}, criterion, None,
                  ({"name": "not-run", "reason": reason},), moment, moment)
