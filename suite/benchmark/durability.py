"""Nothing that a person said is lost: kills at random moments, the same on two databases, and a backup that is restored and altered."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from suite.benchmark import durability_kill as kill
from suite.benchmark import durability_pair as pair
from suite.benchmark import postgres_server
from suite.benchmark.durability_drill import drill
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.errors import RunFailed
from suite.settings import Settings

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
FEWER = 4  # times fewer kills on PostgreSQL, whose server is not what is killed
WRONG = {"lost": "acknowledged turns lost", "returned": "deleted turns that are there again", "altered": "turns that are no acknowledged state",
         "strange": "turns that nobody saved", "words": "differences between rows and search terms",
         "vectors": "differences between rows and vectors after one sync"}


def durability(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], seed: int | None = None) -> list[dict[str, Any]]:
    """All rows: `rounds` kills on SQLite and a quarter of them on PostgreSQL, the comparison of both, and the restore drill.

    What needs PostgreSQL is not measured where there is no server of it to be started; its rows say why. `seed`: of the kills, else a new one.
    """
    seed = random.randrange(1 << 30) if seed is None else seed
    fewer = max(1, rounds // FEWER)
    with Scene(settings, say) as scene:
        place = scene.scratch.resolve()
        return scene.measure([
            (f"{rounds} kills on {SQLITE}, seed {seed}", killed(SQLITE), lambda: kills(SQLITE, rounds, seed, place / "kill", say)),
            (f"{fewer} kills on {POSTGRES}, seed {seed}", killed(POSTGRES), lambda: kills(POSTGRES, fewer, seed, place / "kill-server", say)),
            ("the same on both databases", (SAME,), lambda: same(seed, place / "pair")),
            (f"restore drill on {SQLITE}", drilled(SQLITE), lambda: restored(SQLITE, place / "drill")),
            (f"restore drill on {POSTGRES}", drilled(POSTGRES), lambda: restored(POSTGRES, place / "drill-server")),
        ])


SAME = Limit("answers that differ between SQLite and PostgreSQL", "answers", "==", 0)


def killed(database: str) -> tuple[Limit, ...]:
    """The rows of the kills on a database."""
    return tuple(Limit(f"kill -9 on {database}: {sentence}", "turns", "==", 0) for sentence in WRONG.values())


def drilled(database: str) -> tuple[Limit, ...]:
    """The rows of the restore drill."""
    return (Limit(f"restore drill on {database}: problems of the snapshot", "problems", "==", 0),
            Limit(f"restore drill on {database}: turns that the restored copy lacks", "turns", "==", 0),
            Limit(f"restore drill on {database}: altered files that were not named", "files", "==", 0),
            Limit(f"restore drill on {database}: seconds of the restore (RTO)", "s", "<="))


def kills(database: str, rounds: int, seed: int, folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows of so many kills. Raises RunFailed when hardly anything was going on, so that they say nothing."""
    with address(database) as url:
        found = kill.rounds(rounds, seed, folder, url, say)
    done, busy = sum(one.done for one in found), sum(one.busy for one in found)
    if done < rounds:
        raise RunFailed(f"Only {done} deeds were acknowledged before {rounds} kills, so they say nothing")
    note = f"{rounds} kills, {busy} of them in the middle of a deed, {done} deeds acknowledged, seed {seed}"
    return [limit.row(sum(one.wrong()[name] for one in found), note=note) for name, limit in zip(WRONG, killed(database), strict=True)]


def same(seed: int, folder: Path) -> list[dict[str, Any]]:
    """The row of the comparison."""
    with address(POSTGRES) as url:
        ours, theirs = pair.answers("", folder / SQLITE, seed), pair.answers(url, folder / POSTGRES, seed)
    differ = pair.differences(ours, theirs)
    first = f", the first: {_short(ours, differ[0])} and {_short(theirs, differ[0])}" if differ else ""
    return [SAME.row(len(differ), note=f"{len(ours)} answers, seed {seed}{first}")]


def restored(database: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of the restore drill."""
    began = time.perf_counter()
    with address(database) as url:
        found = drill(folder, url)
    problems, lacking, unnamed, seconds = drilled(database)
    return [problems.row(len(found.problems), note=" ".join(found.problems)[:200]), lacking.row(found.missing, note=f"of {found.turns}"),
            unnamed.row(len(found.unnamed), note=", ".join(found.unnamed[:3]) or f"of {found.altered}"),
            seconds.row(found.seconds, note=f"the whole drill {time.perf_counter() - began:.1f} s")]


@contextlib.contextmanager
def address(database: str) -> Iterator[str]:
    """The URL of an empty database, empty for SQLite; a PostgreSQL server is started for it. Raises RunFailed where there is none to start."""
    if database == SQLITE:
        yield ""
        return
    try:
        with postgres_server.running() as server:
            yield server.fresh()
    except (postgres_server.NoServer, ModuleNotFoundError) as reason:
        raise RunFailed(f"not run: {reason}".rstrip(".")) from reason


def _short(answers: list[Any], place: int) -> str:
    return repr(answers[place:place + 1])[:200]
