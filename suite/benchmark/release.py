"""What a release check costs: its checks, the engine that executes them, sealing, verifying, and an archive of a thousand releases."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from suite.benchmark import release_run
from suite.benchmark.release_made import make_release
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.errors import RunFailed
from suite.runbooks import archive
from suite.runbooks.diff import compare
from suite.runbooks.history import history
from suite.runbooks.seal import seal
from suite.runbooks.sign import SigningKey, load_key, make_key
from suite.runbooks.verify import verify
from suite.settings import Settings

Outcome = TypeVar("Outcome")
MANY, FEW = 1000, 50
SECONDS = 2.0
SEAL = Limit("sealing a release of 33 checks", "s", "<=", SECONDS)
VERIFY = Limit("verifying it, every state computed again", "s", "<=", SECONDS)
LIST = Limit("listing the archive", "s", "<=", SECONDS)
CHAIN = Limit("verifying its chain", "s", "<=", SECONDS)
DIFF = Limit("comparing two of its releases", "s", "<=", SECONDS)
PAST = Limit("how each check stood over all of them", "s", "<=")
NEXT = Limit("sealing one release more into it", "s", "<=", SECONDS)


def release(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """All rows. Medians of `rounds`; `quick` takes an archive of 50 releases instead of 1,000, and the rows say so."""
    number = FEW if quick else MANY
    with Scene(settings, say) as scene:
        place = scene.scratch.resolve()
        return scene.measure([
            ("all checks from cold", (release_run.WHOLE, release_run.SLOWEST), lambda: release_run.whole(settings, 1 if quick else rounds)),
            ("the engine", (release_run.ENGINE, release_run.EXECUTED), lambda: release_run.engine(scene, rounds, say)),
            ("one release", (SEAL, VERIFY), lambda: one(place / "one", rounds)),
            (f"an archive of {number:,} releases", (LIST, CHAIN, DIFF, PAST, NEXT), lambda: many(place / "many", rounds, number, say)),
        ])


def one(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """The rows of sealing and verifying one release, each time into an archive that has one more. Raises RunFailed when one is not verified."""
    key = _key(folder)
    sealing, verifying, files = [], [], 0
    for number in range(rounds):
        made = make_release(folder / "reports", folder / "runbooks", f"20261129T0100{number:02d}Z-R{number}", f"R{number}")
        began = time.perf_counter()
        sealed = seal(made.directory, folder / "reports", key, runbooks=made.runbooks)
        sealing.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = verify(sealed.path, key.public, sealed.head)
        verifying.append(time.perf_counter() - began)
        if not found.ok:
            raise RunFailed(f"the release that was just sealed is not verified: {found.doubts[0]}")
        files = len(archive.files(sealed.path)[0])
    return [SEAL.row(statistics.median(sealing), note=f"{files} files"), VERIFY.row(statistics.median(verifying), note=f"{files} files")]


def many(folder: Path, rounds: int, number: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows of an archive of so many sealed releases. Raises RunFailed when its chain does not hold."""
    key, reports = _key(folder), folder / "reports"
    pattern = make_release(folder / "pattern", folder / "runbooks").directory
    for page in pattern.glob("*.html"):  # what is not read here need not be written a thousand times
        page.unlink()
    shutil.rmtree(pattern / "evidence")
    for count in range(number):
        if count and count % 250 == 0:
            say(f"{count:,} releases are sealed")
        _next(pattern, reports, count, key, folder / "runbooks")
    taken: dict[Limit, list[float]] = {limit: [] for limit in (LIST, CHAIN, DIFF, PAST, NEXT)}
    for count in range(rounds):
        rows = _timed(taken[LIST], lambda: archive.releases(reports))
        found = _timed(taken[CHAIN], lambda head=rows[-1].head: verify(reports, key.public, head))
        _timed(taken[DIFF], lambda pair=(rows[0], rows[-1]): compare(reports, str(pair[0].path), str(pair[1].path)))
        _timed(taken[PAST], lambda: history(reports))
        if not found.ok or len(rows) != number + count:
            raise RunFailed(f"the archive does not hold: {(*found.doubts, f'{len(rows)} releases are listed')[0]}")
        taken[NEXT].append(_next(pattern, reports, number + count, key, folder / "runbooks"))
    return [limit.row(statistics.median(seconds), note=f"{number:,} releases") for limit, seconds in taken.items()]


def _timed(seconds: list[float], act: Callable[[], Outcome]) -> Outcome:
    began = time.perf_counter()
    found = act()
    seconds.append(time.perf_counter() - began)
    return found


def _key(folder: Path) -> SigningKey:
    folder.mkdir(parents=True)
    make_key(folder / "key.pem")
    return load_key(folder / "key.pem")


def _next(pattern: Path, reports: Path, number: int, key: SigningKey, runbooks: Path) -> float:
    """Seal a copy of the pattern as one more release; the seconds that sealing took."""
    made = reports / f".20261129T{number:06d}Z-R{number}{archive.PARTIAL}"
    shutil.copytree(pattern, made)
    began = time.perf_counter()
    seal(made, reports, key, runbooks=runbooks)
    return time.perf_counter() - began
