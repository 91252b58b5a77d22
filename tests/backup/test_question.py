"""What counts as the same answer: any order of what scores the same, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.access.policy import Policy, load_policy
from suite.backup.question import SEARCHES, STRANGER, chosen, decisions, same, sqlite_rows, word_searches

rankings = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 5), max_size=9).map(
    lambda scores: sorted(([name, float(score)] for name, score in scores.items()), key=lambda hit: (-hit[1], hit[0])))


@given(rankings, st.randoms())
def test_the_order_of_what_scores_the_same_does_not_matter(hits: list[list[Any]], chance: Any) -> None:
    mixed = hits.copy()
    chance.shuffle(mixed)
    assert same(hits, sorted(mixed, key=lambda hit: -hit[1]), 10)


@given(rankings.filter(bool), st.data())
def test_another_id_or_score_or_one_that_is_missing_does_matter(hits: list[list[Any]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(hits) - 1))
    assert not same(hits, [*hits[:place], *hits[place + 1:]], 10)
    assert not same(hits, [[*hit[:1], hit[1] + 0.5] if at == place else hit for at, hit in enumerate(hits)], 10)
    assert not same(hits, [["zz", hit[1]] if at == place else hit for at, hit in enumerate(hits)], 10)


@pytest.mark.parametrize(("then", "now", "verdict"), [
    ([["a", 3.0], ["b", 1.0]], [["a", 3.0], ["c", 1.0]], True),  # full: what scores like the last one may have been left out
    ([["a", 3.0], ["b", 1.0]], [["c", 3.0], ["b", 1.0]], False), ([["a", 3.0], ["b", 1.0]], [["b", 3.0], ["a", 1.0]], False),
    ([["a", 1.0000001], ["b", 1.0]], [["b", 1.0], ["a", 1.0]], True), ([], [], True), ([], [["a", 1.0]], False),
])
def test_two_tops_of_a_full_list(then: list[list[Any]], now: list[list[Any]], verdict: bool) -> None:
    assert same(then, now, 2) is verdict


def test_ten_searches_are_kept_half_and_half_and_one_of_every_collection() -> None:
    words = [{"kind": "words", "n": number} for number in range(10)]
    near = [{"kind": "vector", "collection": f"c{number % 3}", "n": number} for number in range(12)]
    both = chosen(words, near)
    assert len(both) == SEARCHES and sum(search["kind"] == "words" for search in both) == 5
    assert {search["collection"] for search in both if search["kind"] == "vector"} == {"c0", "c1", "c2"}
    assert len(chosen(words, [])) == len(chosen([], near)) == SEARCHES and chosen([], []) == [] and len(chosen(words[:2], near[:1])) == 3
    many = [{"kind": "vector", "collection": f"c{number}"} for number in range(30)]
    assert sum(search["kind"] == "vector" for search in chosen(words, many)) == 30


def test_the_same_queries_are_chosen_each_time_in_turn_from_every_project(opened: Any) -> None:
    storage = opened[0]
    first, again = (word_searches(storage, 0.0) for _ in range(2))
    assert first == again and len(first) == 6
    assert [search["project"] for search in first][:4] == ["default", "tower", "default", "tower"]


def test_decisions_are_those_of_the_actors_that_are_there(storage: Any, opened: Any) -> None:
    policy = load_policy()
    told = decisions(opened[0], policy)
    assert [row["outcome"] for row in told] == ["allow", "deny"] and told[1]["actor"] != STRANGER
    assert decisions(storage, policy) == [{"actor": STRANGER, "tool": min(policy.tools), "outcome": "deny"}]
    assert decisions(storage, Policy({}, {}, {}))[0]["outcome"] == "deny"


def test_the_tables_of_a_search_index_are_not_counted_as_rows(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute('CREATE TABLE "odd ""name" (a)')
        connection.execute('INSERT INTO "odd ""name" VALUES (1), (2)')
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(body)")
        connection.execute("CREATE VIEW seen AS SELECT 1")
        connection.commit()
    assert sqlite_rows(tmp_path / "x.db") == {'odd "name': 2}
