"""Which drills a commit is given: one per phase, so that all of them come round without each commit paying for all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from suite.checks.check import Check
from suite.errors import BadRequest


def rotating(checks: Iterable[Check], commit: str) -> list[Check]:
    """One check of each phase, chosen by the commit alone: the same commit is always given the same, and nobody can pick.

    Raises BadRequest without a commit.
    """
    if not commit:
        raise BadRequest("Drills rotate with the commit, and there is none; run this in a git checkout, or name one with --commit.")
    phases: dict[int, list[Check]] = {}
    for check in sorted({check.id: check for check in checks}.values(), key=lambda check: check.id):
        phases.setdefault(check.phase, []).append(check)
    clean = commit.removesuffix("-dirty")
    return [there[_number(f"{clean} {phase}") % len(there)] for phase, there in sorted(phases.items())]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
