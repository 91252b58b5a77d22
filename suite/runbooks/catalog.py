"""Which runbooks there are, and which checks each must perform."""

from __future__ import annotations

from collections.abc import Iterable

from suite.checks import (
    phase1,
    phase2,
    phase2_failover,
    phase3,
    phase4,
    phase5,
    phase5_embedding,
    phase5_golden,
    phase5_indexing,
    phase5_load,
    phase5_speed,
    phase5_tool,
)
from suite.checks.check import Check
from suite.errors import NotFound

PHASE5 = (*phase5_indexing.INDEXING, *phase5_golden.GOLDEN, *phase5_embedding.EMBEDDING, *phase5_tool.TOOL, *phase5_speed.SPEED, *phase5.BACKUP)

RUNBOOKS: dict[str, tuple[Check, ...]] = {
    "phase1_environment": phase1.CHECKS, "phase2_health": phase2.CHECKS, "phase3_monitoring": phase3.CHECKS,
    "phase4_configuration": phase4.CHECKS, "phase5_validation": PHASE5, "backup": phase5.BACKUP, "restore_drill": phase5.BACKUP[::-1],
    "review_security": (*(check for check in phase2.CHECKS if check.id == "P2.2"), *phase4.SECURITY, *phase5_tool.TOOL),
    "release": (),  # shows what the phases have found
}

# Beside the 33: they kill and burden what they check, so that they are run, and drilled, only when they are named.
STRESS: dict[str, tuple[Check, ...]] = {"failover": phase2_failover.FAILOVER, "load": phase5_load.LOAD}
STRESSED = {"serving_isolation": "process"}  # settings of the stack on which they are drilled


def checks_of(name: str) -> tuple[Check, ...]:
    """The checks that the runbook performs, in order. Raises NotFound with the names there are."""
    known = RUNBOOKS | STRESS
    if name not in known:
        raise NotFound(f"No runbook is called {name!r}; there are: {', '.join(known)}.")
    return known[name]


def stressing(asked: Iterable[str]) -> list[Check]:
    """The checks of STRESS whose ids are asked for."""
    wanted = {name.upper() for name in asked}
    return [check for checks in STRESS.values() for check in checks if check.id.upper() in wanted]


def every_id() -> list[str]:
    """The ids of all checks there are, each once."""
    return list(dict.fromkeys(check.id for checks in (RUNBOOKS | STRESS).values() for check in checks))
