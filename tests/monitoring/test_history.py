"""Samples on disk: nothing that was taken is lost, changed or kept too long."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from disks import mounted
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import StorageError
from suite.monitoring.history import DAY, FILE, FINE_SECONDS, HOUR, THIN, History
from suite.monitoring.recent import Recent
from suite.monitoring.rule import Matcher
from suite.monitoring.sample import Sample

NOON = 1_700_000_000.0 - 1_700_000_000 % DAY + 12 * HOUR


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name, tuple(sorted(labels.items())), value)


def kept(store: History | Recent, name: str = "a", begin: float = 0, end: float = 1e12) -> list[tuple[dict, list[float], list[float]]]:
    return [(dict(one.labels), one.times.tolist(), one.values.tolist()) for one in store.select(name, (), begin, end)]


def test_what_was_written_is_read_again_also_after_the_file_was_closed(tmp_path: Path) -> None:
    history = History(tmp_path)
    for at, value in ((NOON, 1.5), (NOON + 15.25, -2.0), (NOON + 2 * HOUR, 3.0)):
        history.append(at, [sample("a", value, job="x"), sample("b", 2 * value)])
    for _ in range(2):
        assert kept(history) == [({"job": "x"}, [NOON, NOON + 15.25, NOON + 2 * HOUR], [1.5, -2.0, 3.0])]
        assert kept(history, begin=NOON + 1, end=NOON + 15.25) == [({"job": "x"}, [NOON + 15.25], [-2.0])]
        assert kept(history, "b") == [({}, [NOON, NOON + 15.25, NOON + 2 * HOUR], [3.0, -4.0, 6.0])] and kept(history, "c") == []
        assert history.names() == ["a", "b"]
        history.close()
        history = History(tmp_path)
    assert stat.S_IMODE(history.file.stat().st_mode) == 0o600
    history.close()


def test_series_are_chosen_by_their_labels(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append(NOON, [sample("a", number, job=job) for number, job in enumerate(("x", "y", "xy"))])
    found = history.select("a", (Matcher("job", "=~", "x.*"), Matcher("job", "!=", "x")), 0, 1e12)
    assert [one.labels for one in found] == [{"job": "xy"}]
    history.close()


MOMENTS = st.lists(st.tuples(st.floats(0, 6 * HOUR).map(lambda at: round(at, 3)), st.dictionaries(
    st.sampled_from("abc"), st.floats(allow_nan=False) | st.just(float("nan")), max_size=3)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(MOMENTS, st.booleans())
def test_nothing_is_lost_or_changed_whatever_the_clock_does(tmp_path_factory: pytest.TempPathFactory, moments: list, reopened: bool) -> None:
    folder = tmp_path_factory.mktemp("history")
    history = History(folder)
    told: dict[str, list[tuple[float, float]]] = {}
    for at, values in moments:
        history.append(NOON + at, [sample(name, value) for name, value in values.items()])
        for name, value in values.items():
            told.setdefault(name, []).append((NOON + at, value))
    if reopened:
        history.close()
        history = History(folder)
    for name, written in told.items():
        ((_, times, values),) = kept(history, name)
        expected = sorted(written, key=lambda pair: pair[0])
        np.testing.assert_allclose(times, [at for at, _ in expected], atol=0.001)
        assert sorted(map(repr, values)) == sorted(repr(value) for _, value in expected)
    history.close()


def test_after_two_days_one_sample_of_five_minutes_is_left_and_after_thirty_none(tmp_path: Path) -> None:
    history, begin, step = History(tmp_path, days=5), NOON - 6 * HOUR, 60
    total = 7 * DAY // step
    for number in range(total):
        history.append(begin + number * step, [sample("a", number)])
    history.append(begin + 7 * DAY, [sample("b", 1)])  # a new hour: the last one is packed
    ((_, times, values),) = kept(history)
    end = begin + 7 * DAY
    assert times[0] >= end - 5 * DAY - DAY  # whole days go
    assert times[0] <= end - 5 * DAY, "nothing goes too early"
    fine = [at for at in times if at >= end - FINE_SECONDS + DAY]
    assert np.diff(fine).max() == step  # the newest are all there
    thin = [(at, value) for at, value in zip(times, values, strict=True) if at < end - FINE_SECONDS - DAY]
    assert thin and {round(b - a) for (a, _), (b, _) in pairwise(thin)} == {THIN}
    assert all(value % 5 == 4 and at == begin + value * step for at, value in thin)  # the last of each five minutes, unchanged
    history.close()


def test_it_stays_below_its_size_and_says_what_it_gave_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history, chance = History(tmp_path, most_bytes=400_000), np.random.default_rng(7)
    with caplog.at_level(logging.WARNING):
        for number in range(4 * 24):
            for minute in range(0, 60, 2):
                history.append(NOON + number * HOUR + 60 * minute, [sample("a", float(value), n=str(n)) for n, value in enumerate(chance.random(40))])
    assert "a day of it was deleted" in caplog.text
    newest = max(times[-1] for _, times, _ in kept(history))
    assert newest == NOON + 95 * HOUR + 60 * 58  # never the newest
    assert history.bytes < 400_000 + 2_500_000  # what was not packed yet, and the journal, come on top
    history.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 400, b"SQLite format 3\0" + os.urandom(9000)])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(damage)
    history = History(tmp_path)
    history.append(NOON, [sample("a", 1)])
    assert kept(history) == [({}, [NOON], [1.0])]
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == damage and "was damaged" in caplog.text
    history.close()


def test_damage_met_while_writing_does_not_end_monitoring(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(50):
        history.append(NOON + number, [sample(f"m{number}-{n}", n) for n in range(40)])
    history.close()
    history = History(tmp_path)
    with history.file.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(history.file.stat().st_size - 4096))
    for number in range(3):
        history.append(NOON + 2 * HOUR + number, [sample("after", number)])
    assert kept(history, "after")[0][2][-1] == 2.0 and list(tmp_path.glob("*.damaged-*"))
    history.close()


def test_a_full_disk_is_counted_said_once_and_forgiven(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        history, number = History(disk / "history"), 0
        while not history.lost:
            history.append(NOON + number, [sample("a", float(value), n=str(n)) for n, value in enumerate(np.random.default_rng(number).random(500))])
            number += 1
        history.append(NOON + number, [sample("a", 1.0, n="0")] * 1)
        assert caplog.text.count("takes nothing now") == 1
        assert len(kept(history)[0][1]) >= number - 1  # all that was taken is there
        history.close()


def test_where_it_cannot_be_made_there_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"history .*cannot be opened"):
        History(tmp_path / "file")


WRITER = """
import sys
from itertools import pairwise
from pathlib import Path
from suite.monitoring.history import History
from suite.monitoring.sample import Sample
history, number = History(Path(sys.argv[1])), 0
while True:
    history.append(1_700_000_000.0 + 400 * number, [Sample("a", (), float(number))])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("after", [1, 25, 60])
def test_a_kill_loses_nothing_that_was_taken(tmp_path: Path, after: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(after):
            told = int(writer.stdout.readline())
        writer.kill()
        told = max([told, *map(int, writer.stdout.read().split())])
    history = History(tmp_path)
    ((_, _, values),) = kept(history)
    assert values[:told + 1] == [float(number) for number in range(told + 1)] and len(values) <= told + 2
    with sqlite3.connect(history.file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    history.close()


def test_recent_samples_are_kept_for_a_while_and_a_clock_that_goes_back_is_followed() -> None:
    recent = Recent(seconds=60)
    for number in range(200):
        recent.append(NOON + number, [sample("a", number, job="x"), sample("b", 1)])
    ((labels, times, values),) = kept(recent)
    assert labels == {"job": "x"} and times[0] == NOON + 139 and values[-1] == 199 and len(times) == 61
    recent.append(NOON + 150, [sample("a", 0, job="x")])
    ((_, times, _),) = kept(recent)
    assert times == [NOON + at for at in range(139, 151)] and np.all(np.diff(times) > 0)
    recent.append(NOON + 500, [sample("b", 1)])
    assert kept(recent) == [] and recent.names() == ["b"]


def test_more_series_than_there_may_be_are_refused_and_counted() -> None:
    recent = Recent(most=3)
    recent.append(NOON, [sample("a", 1, n=str(n)) for n in range(5)])
    assert len(kept(recent)) == 3 and recent.refused == 2
