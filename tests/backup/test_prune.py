"""Retention: the laws of what stays, on any history, and that deleting leaves no half of a snapshot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.backup.listing import listing
from suite.backup.prune import DAILY, MONTHLY, WEEKLY, Pruned, prune, staying
from suite.backup.snapshot import Entry, write_manifest
from suite.backup.verification import Verification, keep, kept
from suite.errors import StorageError

DAY = 86_400.0
START = datetime(2026, 11, 28, 3, tzinfo=UTC).timestamp()
moments = st.lists(st.floats(min_value=0, max_value=900 * DAY, allow_nan=False), max_size=60)
histories = moments.map(lambda ages: {f"s{number:03d}": START - age for number, age in enumerate(ages)})


@st.composite
def verified(draw: st.DrawFn) -> tuple[dict[str, float], set[str]]:
    created = draw(histories)
    return created, draw(st.sets(st.sampled_from(sorted(created)))) if created else set()


def newest_of(created: dict[str, float], form: str) -> list[str]:
    """The newest of each period, the newest period first."""
    best: dict[str, str] = {}
    for name in sorted(created, key=lambda name: (created[name], name)):
        best[datetime.fromtimestamp(created[name], UTC).strftime(form)] = name
    return [best[period] for period in sorted(best, reverse=True)]


@given(verified())
def test_the_newest_of_the_last_days_weeks_and_months_stay_and_so_does_the_last_verified(history: tuple[dict[str, float], set[str]]) -> None:
    created, good = history
    stays = staying(created, good).keys()
    wanted = {*newest_of(created, "%Y-%m-%d")[:DAILY], *newest_of(created, "%G-%V")[:WEEKLY], *newest_of(created, "%Y-%m")[:MONTHLY]}
    wanted |= {max(good, key=lambda name: (created[name], name))} if good else set()
    assert stays == wanted and len(stays) <= DAILY + WEEKLY + MONTHLY + 1


@given(verified())
def test_pruning_twice_is_pruning_once_and_a_newer_backup_never_brings_an_older_one_in_danger_of_being_the_last(
        history: tuple[dict[str, float], set[str]]) -> None:
    created, good = history
    once = staying(created, good)
    rest = {name: created[name] for name in once}
    assert staying(rest, good & rest.keys()) == once
    if good:
        later = {**rest, "new": START + DAY}
        assert good & staying(later, good & later.keys()).keys(), "a new backup that was not verified yet takes the place of no verified one"


def test_a_year_of_daily_backups_thins_out_to_seven_four_and_twelve() -> None:
    created = {(datetime.fromtimestamp(START, UTC) - timedelta(days=age)).strftime("%Y-%m-%d"): START - age * DAY for age in range(400)}
    stays = sorted(staying(created, set()))
    assert stays[-7:] == [f"2026-11-{day}" for day in range(22, 29)] and {"2026-11-15", "2026-11-08", "2026-10-31", "2026-09-30", "2025-12-31"} <= set(stays)
    assert len(stays) == 7 + 2 + 11  # the newest week and month are those of the newest day, and one Sunday is the oldest of the seven days


def snapshot(folder: Path, name: str, created: float, good: bool = False) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "x").write_bytes(b"x" * 1000)
    write_manifest(place, (Entry("x", 1000, "0" * 64),), {"created": created, "sources": {}, "disk_bytes": 4096})
    if good:
        keep(Verification(str(place), 1, (), 0.5, at=created + 1))
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        snapshot(tmp_path / "backups", f"a{number}", START + number, good=number == 0)
    (tmp_path / "backups" / "broken").mkdir()
    return tmp_path / "backups"


def test_nothing_is_deleted_by_default_and_only_what_is_no_longer_needed_when_asked(folder: Path) -> None:
    before = sorted(os.listdir(folder))
    told = prune(folder)
    assert (told.gone, told.done, sorted(told.kept), told.damaged) == (("a1",), False, ["a0", "a2"], ("broken",))
    assert told.kept["a0"] == "last verified" and told.bytes == 4096 and sorted(os.listdir(folder)) == before
    done = prune(folder, dry_run=False)
    assert done.gone == ("a1",) and sorted(os.listdir(folder)) == [name for name in before if name != "a1"]
    assert prune(folder, dry_run=False).gone == () and kept(folder / "a0")
    assert Pruned.from_dict(json.loads(json.dumps(done.to_dict()))) == done
    assert [row["fate"] for row in done.rows()] == ["kept", "deleted", "kept", "left"] and "a1" in done._repr_html_()
    assert prune(folder / "absent").gone == ()


def test_a_snapshot_that_goes_takes_its_record_along(folder: Path) -> None:
    snapshot(folder, "a3", START + 3, good=True)
    assert prune(folder, dry_run=False).gone == ("a0", "a1", "a2")
    assert sorted(os.listdir(folder)) == ["a3", "a3.verified.json", "broken"]


def test_a_deletion_that_is_refused_is_one_sentence_and_leaves_no_half(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", "somewhere")

    monkeypatch.setattr("suite.backup.prune.shutil.rmtree", refuse)
    with pytest.raises(StorageError, match=r"could not be deleted \(Operation not permitted: somewhere\); mend its mode"):
        prune(folder, dry_run=False)
    monkeypatch.undo()
    assert "a1" not in [row.name for row in listing(folder)]
    prune(folder)
    assert [name for name in os.listdir(folder) if name.startswith("a1")] == [], "whoever works there next clears it away"


def test_the_last_verified_one_is_not_deleted_whatever_the_schedule_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Callable[..., dict[str, str]] = lambda created, good: {}  # noqa: E731 - a schedule gone wrong
    monkeypatch.setattr("suite.backup.prune.staying", nothing)
    with pytest.raises(StorageError, match="a0 is the last verified backup and is not deleted"):
        prune(folder, dry_run=False)
    assert {row.name for row in listing(folder)} >= {"a0", "a1", "a2"}
