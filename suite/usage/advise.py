"""What the usage of models suggests to change: few sentences, each with the numbers that it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from suite.usage.record import CANCELLED, FALLBACK, OK, Usage
from suite.usage.summary import local, quantile, summed

LEAST, LEAST_EACH = 50, 20  # requests, in all and of one alias, below which nothing is said
PEAKS = 3  # hours of the day that count as busy
LONG_QUEUE, LATE = 5.0, 10.0  # seconds
SHARE = 0.05  # of requests that may fail, or be answered by a stand-in
UNUSED_DAYS = 30
OWN = {"inference-chat": "chat", "inference-code": "code"}  # the servers of a stack, and what they are called to unload them


@dataclass(frozen=True)
class Advice:
    """One suggestion: `about` is an alias or a server, `sentence` says what to do and why, `numbers` are those it rests on."""

    kind: str
    about: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def advise(rows: Sequence[Usage], now: float, first: float | None = None, uses: Mapping[str, float] | None = None,
           loaded: Sequence[str] | None = None) -> list[Advice]:
    """What these requests suggest; `first` and `uses` are of read.last_uses, `loaded` the servers that hold a model now (None: nobody knows).

    Of fewer than LEAST requests nothing is said but that.
    """
    if len(rows) < LEAST:
        return [Advice("too little", "", f"Nothing can be said of {len(rows)} requests; {LEAST} are needed.", {"requests": len(rows)})]
    found: list[Advice | None] = []
    for alias in sorted({row.alias for row in rows}):
        mine = [row for row in rows if row.alias == alias]
        if len(mine) >= LEAST_EACH:
            found += [_queue(alias, mine), _late(alias, mine), _stand_ins(alias, mine), _failures(alias, mine)]
    found += [_unused(server, now, first, uses or {}) for server in OWN if loaded is None or server in loaded]
    return [advice for advice in found if advice is not None]


def _queue(alias: str, rows: Sequence[Usage]) -> Advice | None:
    """Requests that wait long in one of the busiest hours."""
    busiest = summed([row for row in rows if row.queue_seconds is not None], ["hour"])[:PEAKS]
    waits = [(row["queue_p95"], row["hour"], row["requests"]) for row in busiest if row["requests"] >= LEAST_EACH and row["queue_p95"] is not None]
    seconds, hour, count = max(waits, default=(0.0, 0, 0))
    if seconds <= LONG_QUEUE:
        return None
    return Advice("queue", alias, f"One request in twenty to {alias} waits more than {seconds:.1f} s for its turn between {hour:02d}:00 and "
                  f"{(hour + 1) % 24:02d}:00 ({count} requests); raise LLAMA_SLOTS, take a profile with more slots, or add a server for it.",
                  {"hour": hour, "queue_p95": seconds, "requests": count})


def _late(alias: str, rows: Sequence[Usage]) -> Advice | None:
    """Replies that begin late although they did not wait for their turn."""
    known = [(row.first_seconds, row.queue_seconds or 0.0) for row in rows if row.outcome in (OK, FALLBACK) and row.first_seconds is not None]
    late, waited = quantile([first for first, _ in known], 0.95), quantile([queue for _, queue in known], 0.95)
    if len(known) < LEAST_EACH or late is None or waited is None or late <= LATE or waited > late / 2:
        return None
    return Advice("late", alias, f"One reply in twenty of {alias} begins later than {late:.1f} s, and waits {waited:.1f} s for its turn "
                  f"({len(known)} replies); shorten the prompts, take a smaller model, or put more of its layers on a card.",
                  {"first_p95": late, "queue_p95": waited, "requests": len(known)})


def _stand_ins(alias: str, rows: Sequence[Usage]) -> Advice | None:
    count = sum(row.outcome == FALLBACK for row in rows)
    if count <= SHARE * len(rows):
        return None
    instead = Counter(row.server for row in rows if row.outcome == FALLBACK).most_common(1)[0][0]
    return Advice("fallback", alias, f"{count / len(rows):.0%} of {len(rows)} requests to {alias} were answered by a stand-in, mostly {instead}; "
                  f"look at the server that {alias} is meant for in `suite status` and in the log.",
                  {"share": count / len(rows), "requests": len(rows), "fallbacks": count})


def _failures(alias: str, rows: Sequence[Usage]) -> Advice | None:
    decided = [row.outcome for row in rows if row.outcome != CANCELLED]
    failed = [outcome for outcome in decided if outcome not in (OK, FALLBACK)]
    if len(decided) < LEAST_EACH or len(failed) <= SHARE * len(decided):
        return None
    most, times = Counter(failed).most_common(1)[0]
    return Advice("failures", alias, f"{len(failed) / len(decided):.0%} of {len(decided)} requests to {alias} failed, most often with {most} "
                  f"({times} times); the log says why.",
                  {"share": len(failed) / len(decided), "requests": len(decided), "failed": len(failed), "most": most})


def _unused(server: str, now: float, first: float | None, uses: Mapping[str, float]) -> Advice | None:
    """A server of the stack that nobody asked for so long, where usage is known for so long."""
    longest, used = UNUSED_DAYS * 86_400, uses.get(server)
    if first is None or now - first < longest or (used is not None and now - used < longest):
        return None
    when = f"was last used on {local(used).date().isoformat()}" if used is not None else f"was not used since {local(first).date().isoformat()}"
    days = int((now - (first if used is None else used)) / 86_400)
    return Advice("unused", server, f"{server} {when}, {days} days ago; where a model is loaded, bench.unload_model({OWN[server]!r}) gives its "
                  "memory back, and LLAMA_IDLE_UNLOAD does so by itself.", {"days": days})
