"""The ranking by words: BM25 to the letter while few turns match, and near it when frequent terms are not read to their end."""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from suite.memory import words
from suite.memory.recall import by_words
from suite.memory.words import K1, B, Spreads, marked
from suite.text.terms import terms, weight

RARE = ["zebra", "quartz", "파일", "c++", "휴가", "x_y"]
FREQUENT = ["alpha", "beta", "gamma", "서버"]


def counted(turns):
    return [Counter(terms(f"{question}\n{reply}")) for question, reply in turns]


def bm25(documents, query):
    """What the formula gives: numbers of turns with their scores, best first."""
    mean = sum(document.total() for document in documents) / len(documents)
    found = {}
    for term in dict.fromkeys(terms(query)):
        spread = sum(term in document for document in documents)
        for number, document in enumerate(documents):
            if term in document:
                idf = weight(term) * math.log(1 + (len(documents) - spread + 0.5) / (spread + 0.5))
                part = idf * document[term] * (K1 + 1) / (document[term] + K1 * (1 - B + B * document.total() / mean))
                found[number] = found.get(number, 0.0) + part
    return sorted(found.items(), key=lambda pair: -pair[1])


texts = st.lists(st.sampled_from(RARE + FREQUENT), min_size=1, max_size=6).map(" ".join)


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=25), query=texts)
def test_while_few_turns_match_the_scores_are_bm25s(light, storage, turns, query):
    project = light.create_project(str(uuid.uuid4())).id
    ids = [light.remember(*turn, project=project).id for turn in turns]
    light.sync()
    expected = bm25(counted(turns), query)
    found = by_words(storage, project, query, 100)
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])
    assert {identity for identity, _ in found} == {ids[number] for number, _ in expected}


def conversation(count, seed=1):
    draw = random.Random(seed)
    vocabulary = [f"word{number}" for number in range(3000)]
    worth = [1 / (number + 3) for number in range(len(vocabulary))]
    return [(" ".join(draw.choices(vocabulary, worth, k=8)), " ".join(draw.choices(vocabulary, worth, k=22))) for _ in range(count)]


def test_frequent_terms_that_are_not_read_to_their_end_hardly_change_the_best_ten(light, storage, monkeypatch):
    monkeypatch.setattr(words, "ENOUGH", 20)
    monkeypatch.setattr("suite.memory.recall.KEPT", 60)
    from suite.memory.remember import Draft, insert, prepare

    turns = conversation(2500)
    documents = counted(turns)
    project = light.project()
    made = [prepare(Draft(question, reply, project)) for question, reply in turns]
    for start in range(0, len(made), 500):
        insert(storage, made[start:start + 500])
    place, draw, as_good = {turn.id: number for number, turn in enumerate(made)}, random.Random(2), 0
    for question, reply in draw.sample(turns, 30):
        query = " ".join(draw.sample((question + " " + reply).split(), 5))
        expected = bm25(documents, query)
        found = by_words(storage, project, query, 10)
        assert [value for _, value in found] == pytest.approx([dict(expected)[place[identity]] for identity, _ in found])
        as_good += sum(value >= expected[9][1] - 1e-9 for _, value in found)  # turns may share a score
    assert as_good >= 0.98 * 300


def test_a_condition_that_few_meet_is_looked_for_deeper(light, storage, monkeypatch):
    monkeypatch.setattr("suite.memory.recall.KEPT", 5)
    ids = [light.remember(f"Where is lamp {number}?", "In the hall.", importance=9 if number == 0 else 3).id for number in range(60)]
    assert [row.id for row in light.recall("lamp", how="words", importance_min=9)] == [ids[0]]


def test_text_that_looks_like_a_query_language_is_text(light):
    kept = light.remember("How do I write NEAR(a b) OR \"x\" AND c* in C++?", "Like that: ^terms: {a b} - 'q' 🙂")
    for query in ('"', "*", "NEAR(", "C++", "a AND", "terms:", "OR OR", "^", "{", "x\" OR \"y", "'; DROP TABLE memories; --", "🙂", "-", "NOT x"):
        found = light.recall(query, how="words")
        assert [row.id for row in found] in ([], [kept.id]), query
    for query in ("C++", "NEAR", 'what "x"'):
        assert [row.id for row in light.recall(query, how="words")] == [kept.id], query


def test_terms_that_differ_in_signs_only_stay_apart():
    made = {marked(1, "c"), marked(1, "c++"), marked(1, "c#"), marked(11, "c"), marked(1, "1:c"), marked(1, "2:ab"), marked(12, "ab")}
    assert len(made) == 7 and all(character.isalnum() or ord(character) > 127 for term in made for character in term)


def test_the_spread_of_a_term_is_counted_anew_when_the_project_has_grown():
    spreads, counted = Spreads(), []

    def count():
        counted.append(1)
        return 7

    for turns in (10_000, 10_100, 10_199):
        assert spreads.of("a", turns, count) == 7
    assert len(counted) == 1
    spreads.of("a", 10_400, count)
    spreads.of("b", 100, count)
    spreads.of("b", 100, count)
    assert len(counted) == 4, "small projects are counted each time"


def test_the_counters_of_a_project_follow_every_write(light, storage):
    first = light.remember("Where is the lamp?", "In the hall.")
    light.remember("And the key?", "There too, on the hook.")
    light.edit(first.id, reply="In the cellar, behind the barrels.")
    light.forget(first.id)
    light.remember("Third?", "Yes.", importance=1)
    light.expire(first.created + 10**7)
    with storage.read() as connection:
        turns, length = connection.execute(sa.text("SELECT turns, length FROM memory_projects")).one()
        assert (turns, length) == tuple(connection.execute(sa.text("SELECT COUNT(*), COALESCE(SUM(length), 0) FROM memories")).one())
        assert connection.execute(sa.text("SELECT COUNT(*) FROM memory_words")).scalar() == turns
