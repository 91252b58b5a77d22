"""How fast memory is at sizes up to a million turns, how good it is on a question set, and how long its backup takes while people write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from suite.benchmark.figures import percentile
from suite.benchmark.memory_backup import LIMITS as BACKUP_LIMITS
from suite.benchmark.memory_backup import backup
from suite.benchmark.memory_bank import Bank, Plain
from suite.benchmark.memory_quality import LIMITS as QUALITY_LIMITS
from suite.benchmark.memory_quality import quality
from suite.benchmark.memory_texts import LANGUAGES
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.settings import Settings

HELD = 1_000_000  # turns: the limits are those of this size
SHARES = (50, 95)
AFTER = "word search right after a save"  # which makes the turn's search terms, that the save did not wait for
MOST = {"save": 10.0, "word search": 50.0, "hybrid search": 100.0, AFTER: None}  # ms, p95
HOW = {"word search": "words", "hybrid search": "hybrid"}
PEER = "FTS5's bm25() with OR"
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Load:
    """How much is done: `sizes` in turns, `real` of them with the embedder's own vectors; per round and language so many saves and questions.

    `compared` questions are asked of the peer, once, because it takes seconds for each at the greatest size.
    """

    sizes: tuple[int, ...] = (1_000, 100_000, HELD)
    real: int = 10_000
    asked: int = 100
    compared: int = 20


QUICK = Load(sizes=(1_000, 20_000), real=1_000, asked=40, compared=10)


def memory(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], load: Load | None = None) -> list[dict[str, Any]]:
    """All rows. At each size everything is asked `rounds` times anew; the median of the percentiles counts. `load` stands in for the usual one."""
    load = load or (QUICK if quick else Load())
    with Scene(settings, say) as scene:
        rows = scene.measure([("quality", QUALITY_LIMITS, lambda: quality(scene))])
        with Bank(scene.scratch.resolve() / "bank", settings, load.real, say) as bank:
            plain = Plain(bank)
            for size in load.sizes:
                rows += scene.measure([(f"{size:,} turns", limits(size), partial(at_size, bank, plain, size, load, rounds))])
            rows += scene.measure([(f"backup of {bank.size:,} turns", BACKUP_LIMITS, lambda: backup(bank, held=bank.size >= HELD))])
    return rows


def timed(what: str, of: str, size: int, share: int) -> Limit:
    """The row of a percentile; held to its limit at the size that the limit is for."""
    name = f"{what}, {LANGUAGES[of]}, {size:,} turns: p{share}"
    return Limit(name, "ms", "<=", MOST[what] if share == 95 and size >= HELD else None, PEER if what == "word search" and share == 95 else None)


def theirs(of: str, size: int) -> Limit:
    """The row of the peer's word search."""
    return Limit(f"{PEER}, the same terms, {LANGUAGES[of]}, {size:,} turns: p95", "ms", "<=")


def disk(what: str, size: int) -> Limit:
    """The row of a size on disk."""
    return Limit(f"{what} on disk, {size:,} turns", "MB", "<=")


def limits(size: int) -> tuple[Limit, ...]:
    """The rows to be at a size."""
    times = tuple(timed(what, of, size, share) for what in MOST for of in LANGUAGES for share in SHARES)
    return (*times, *(theirs(of, size) for of in LANGUAGES), disk("database", size), disk("vectors", size))


def at_size(bank: Bank, plain: Plain, size: int, load: Load, rounds: int) -> list[dict[str, Any]]:
    """Fill the bank to a size, wait until its vectors are indexed, and measure."""
    rate = bank.grow(size)
    plain.fill()
    waited = bank.settle()
    note = f"filled at {rate:,.0f} a second, index waited for {waited:.0f} s more"
    marks = {(what, of): [_marks(bank, what, of, load.asked) for _ in range(rounds)] for what in MOST for of in LANGUAGES}
    peers = {of: _ms(plain.asks(bank.questions(of, load.compared)), 95) for of in LANGUAGES}
    rows = []
    for (what, of), every in marks.items():
        for share in SHARES:
            value = median(_ms(each, share) for each in every)
            ratio = value / peers[of] if what == "word search" and share == 95 else None
            rows.append(timed(what, of, size, share).row(value, ratio, f"{rounds} x {load.asked}"))
    rows += [theirs(of, size).row(value, note=f"1 x {load.compared}") for of, value in peers.items()]
    taken = dict(zip(("database", "vectors"), bank.disk(), strict=True))
    return rows + [disk(what, size).row(amount / MEGABYTE, note=note if what == "database" else "") for what, amount in taken.items()]


def _marks(bank: Bank, what: str, of: str, count: int) -> list[float]:
    if what == "save":
        marks = bank.saves(of, count)
        bank.memory.sync()  # what is still written beside the saving is not to be measured with what follows
        return marks
    if what == AFTER:
        return [mark for question in bank.questions(of, count) if bank.saves(of, 1) for mark in bank.recalls([question], "words")]
    return bank.recalls(bank.questions(of, count), HOW[what])


def _ms(marks: list[float], share: int) -> float:
    return 1000 * percentile(marks, share / 100)
