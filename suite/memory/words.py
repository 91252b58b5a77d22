"""Which turns of a project have a query's words, best first: BM25, without reading the long lists of frequent words to their end.

The index knows only which turn holds which term (FTS5 on SQLite, GIN on PostgreSQL, each behind the few questions of `Postings`). Rare terms are
read whole. Once enough turns are found that no other one can overtake by its frequent terms alone, or reading on would take too long, those terms are
asked only for the turns found so far, and the most frequent ones not at all. The best of them get their exact BM25 from their own terms, all of them.
Up to KEPT turns that share a term with the query the ranking is BM25's to the letter.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from suite.text.terms import terms, weight

K1, B = 1.2, 0.75
MAX_TERMS = 256  # of a query, the first ones: databases bound the number of values in one statement
ENOUGH = 200  # turns found by rare terms before frequent ones are asked for these turns only
KEPT = 400  # turns whose exact score is computed
READ = 60_000  # turns in which the terms that are read stand together; no more are read once there is enough to go by
CHEAP = 4_000  # turns; a term of fewer is read sooner than it is found out whether that is needed
WHOLE, RARE = 8, 3  # what it costs to read a turn that has a term, and one of a rare term to compare it; to pass over one costs 1
STABLE = 5_000  # turns of a project; from here on how frequent a term is is remembered while the project grows by less than a fiftieth
REMEMBERED = 50_000  # terms


class Postings(Protocol):
    """A word index. Turns are known by their number `seq`, terms are marked by the number of their project (see `marked`)."""

    def add(self, connection: Any, turns: Sequence[tuple[int, Sequence[str]]]) -> None:
        """Store the terms of turns: number and marked terms of each."""

    def remove(self, connection: Any, seqs: Sequence[int]) -> None:
        """Forget the terms of turns."""

    def spread(self, connection: Any, term: str) -> int:
        """In how many turns a term stands."""

    def having(self, connection: Any, any_of: Sequence[str], also: str = "") -> Any:
        """The turns that have one of these terms, and `also` that one, each once: an array of whole numbers."""

    def terms_of(self, connection: Any, seqs: Sequence[int]) -> dict[int, list[str]]:
        """The terms of turns, as they were added."""


@dataclass(frozen=True)
class Corpus:
    """A project as the ranking sees it: its number, how many turns it has, and how many terms they have together."""

    number: int
    turns: int
    length: int


class Spreads:
    """How frequent terms were when they were last counted. For a large project that is good enough until it has grown by a fiftieth."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def of(self, term: str, turns: int, count: Callable[[], int]) -> int:
        """How many turns have a term, in a project of so many."""
        known = self._known.get(term)
        if known is not None and turns >= STABLE and abs(turns - known[1]) * 50 <= turns:
            return known[0]
        found = count()
        self._known[term] = (found, turns)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


@dataclass(frozen=True)
class Term:
    """A term of a query: as the index knows it, in how many turns it stands, and what it is worth where it stands."""

    marked: str
    spread: int
    worth: float


@lru_cache(maxsize=65_536)  # frequent words are in every turn
def marked(number: int, term: str) -> str:
    """A term as the index stores it: with its project, and without any character that an index or its query language gives a meaning."""
    return f"{number}:{term}".translate(_HARMLESS)


_HARMLESS = {code: 0xE000 + code for code in range(128) if not chr(code).isalnum()}  # into a private area, in which no term has characters


def query_terms(connection: Any, postings: Postings, corpus: Corpus, query: str, spreads: Spreads) -> list[Term]:
    """The terms of a query that stand somewhere in the project, the most telling first."""
    found = []
    for term in list(dict.fromkeys(terms(query)))[:MAX_TERMS]:
        name = marked(corpus.number, term)
        spread = spreads.of(name, corpus.turns, lambda name=name: postings.spread(connection, name))  # type: ignore[misc]
        if spread:
            rarity = math.log(1 + (max(corpus.turns, spread) - spread + 0.5) / (spread + 0.5))
            found.append(Term(name, spread, weight(term) * rarity))
    return sorted(found, key=lambda term: (-term.worth, term.marked))


def candidates(connection: Any, postings: Postings, asked: Sequence[Term], most: int, last: int) -> tuple[list[int], list[float], bool]:
    """Up to `most` turns that may be the best, what their terms are worth together, and whether that is every turn that has any of the terms.

    `last` is the greatest number of a turn.
    """
    sums = np.zeros(last + 1, np.float32)  # by the turn's number: a hundred times faster than counting in a dict
    rest, read = sum(term.worth for term in asked), 0
    for term in asked:
        spread = sum(one.spread for one in asked[:read + 1])
        if read and term.spread > CHEAP and _enough(sums, rest, spread > READ, sum(one.worth for one in asked[:read])):
            break
        sums[postings.having(connection, [term.marked])] += term.worth
        rest, read = rest - term.worth, read + 1
    found = np.flatnonzero(sums)
    whole = read == len(asked) and len(found) <= most
    if len(found) > most:
        _complete(connection, postings, asked, read, sums)
        found = _best(found, sums[found], most)
    return found.tolist(), sums[found].tolist(), whole


def _enough(sums: Any, rest: float, dear: bool, most: float) -> bool:
    """Whether ENOUGH turns were found that none without these terms overtakes, or more would be too dear; `most` is what one can be worth."""
    if not dear and most < rest:
        return False
    worth = sums[sums > 0]
    return len(worth) >= ENOUGH and (dear or float(np.partition(worth, -ENOUGH)[-ENOUGH]) >= rest)


def _complete(connection: Any, postings: Postings, asked: Sequence[Term], read: int, sums: Any) -> None:
    """Add what the terms that were not read are worth to the turns found by those that were, as far as that is cheap."""
    rare, held, left = [term.marked for term in asked[:read]], sum(term.spread for term in asked[:read]), READ * WHOLE
    for term in asked[read:]:
        alone, both = WHOLE * term.spread, RARE * held + term.spread
        left -= min(alone, both)
        if left < 0:
            return
        seqs = postings.having(connection, [term.marked]) if alone < both else postings.having(connection, rare, term.marked)
        sums[seqs[sums[seqs] > 0]] += term.worth


def _best(found: Any, worth: Any, most: int) -> Any:
    """The `most` turns of the greatest worth; of those that are worth the same at its end the newest."""
    least = np.partition(worth, -most)[-most]
    above = found[worth > least]
    return np.concatenate([above, found[worth == least][len(above) - most:]])


def score(asked: Sequence[Term], stored: Sequence[str], mean: float) -> float:
    """BM25 of one turn with these stored terms, in a project whose turns have `mean` terms."""
    here = {term.marked for term in asked}.intersection(stored)
    less = penalty(len(stored), mean)
    counts = ((term.worth, stored.count(term.marked)) for term in asked if term.marked in here)
    return sum(worth * count * (K1 + 1) / (count + less) for worth, count in counts)


def penalty(length: int, mean: float) -> float:
    """How much less a term says in a turn of `length` terms."""
    return K1 * (1 - B + B * length / max(mean, 1.0))
