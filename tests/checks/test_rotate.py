"""Drills that rotate: one of each phase, chosen by the commit alone, and each comes round."""

from __future__ import annotations

import hashlib

import pytest

from suite.checks.rotate import rotating
from suite.errors import BadRequest
from suite.runbooks.catalog import RUNBOOKS

CHECKS = [check for checks in RUNBOOKS.values() for check in checks]
COMMITS = [hashlib.sha1(str(number).encode()).hexdigest() for number in range(400)]


def ids(commit: str) -> list[str]:
    return [check.id for check in rotating(CHECKS, commit)]


def test_each_commit_is_given_one_of_each_phase_and_always_the_same() -> None:
    phases = sorted({check.phase for check in CHECKS})
    for commit in COMMITS[:20]:
        assert [check.phase for check in rotating(CHECKS, commit)] == phases
        assert ids(commit) == ids(commit) == [check.id for check in rotating(CHECKS[::-1], commit)]  # whatever order they are listed in
    assert ids(COMMITS[0]) == ids(COMMITS[0] + "-dirty")


def test_every_check_comes_round_and_phases_do_not_move_in_step() -> None:
    given = [ids(commit) for commit in COMMITS]
    assert {name for row in given for name in row} == {check.id for check in CHECKS}
    assert len({(row[0], row[1]) for row in given}) > 30  # of the pairs that the first two phases can make


def test_without_a_commit_nothing_is_chosen() -> None:
    with pytest.raises(BadRequest, match="--commit"):
        rotating(CHECKS, "")
