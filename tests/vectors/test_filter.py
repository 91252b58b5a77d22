"""Filters mean the same everywhere: random ones over random payloads, with qdrant-client's local mode as the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vector_stores import local_mode, opened

from suite.errors import BadRequest
from suite.testing import MemoryStore
from suite.vectors import shard
from suite.vectors.filter import Empty, Except, Filter, Ids, Match, Null, Range, check_where, meets
from suite.vectors.store import Point

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

TEXTS, WHOLE, BROKEN, TRUTHS = ["a", "b", "한글", "", "1", "A b"], [0, 1, 2, -3, 2**40], [0.5, 1.5, -2.25, 1e12 + 0.5], [True, False]
IDS = [f"p{number}" for number in range(7)]
# each field holds values of one kind: an index of a store knows no others. `price` mixes whole and broken numbers, `any` everything
KINDS = {"text": TEXTS, "whole": WHOLE, "broken": BROKEN, "truth": TRUTHS, "price": WHOLE + BROKEN,
         "any": [*TEXTS, *WHOLE, *BROKEN, *TRUTHS, {"text": "a"}, {}, [1], ["a", None]]}


def field_of(kind: str) -> st.SearchStrategy[Any]:
    one = st.sampled_from(KINDS[kind])
    return one | one | st.none() | st.lists(one | one | st.none(), max_size=3)


flat = st.fixed_dictionaries({}, optional={kind: field_of(kind) for kind in KINDS})
payloads = st.fixed_dictionaries({}, optional={**{kind: field_of(kind) for kind in KINDS}, "deep": flat, "listed": st.lists(flat, max_size=2)})
keys = st.sampled_from([*KINDS, *(f"deep.{kind}" for kind in KINDS), "listed.text", "deep", "missing", "missing.text"])


def one_condition(key: str) -> st.SearchStrategy[Any]:
    kind = key.rpartition(".")[2]
    texts, whole = st.sampled_from(TEXTS), st.sampled_from(WHOLE)
    numbers = st.none() | st.sampled_from([*WHOLE, *BROKEN])
    choices = [st.builds(Match, st.just(key), st.tuples(texts | whole | st.booleans())), st.just(Empty(key)), st.just(Null(key)),
               st.builds(Match, st.just(key), st.lists(texts, max_size=3).map(tuple) | st.lists(whole, max_size=3).map(tuple)),
               st.builds(Range, st.just(key), gt=numbers, gte=numbers, lt=numbers, lte=numbers)]
    if kind in ("text", "whole", "missing"):  # the kinds of which an index holds all values that the condition asks about
        values = st.lists(whole if kind == "whole" else texts, max_size=3).map(tuple)
        choices.append(st.builds(Except, st.just(key), values))
    return st.one_of(choices)


leaf = keys.flatmap(one_condition) | st.builds(Ids, st.lists(st.sampled_from([*IDS, "unknown"]), max_size=4).map(tuple))
filters = st.recursive(leaf, lambda inner: st.builds(Filter, *(st.lists(inner, max_size=2).map(tuple) for _ in range(3))), max_leaves=6)


@pytest.fixture(scope="module", params=["edge", "edge with indexes", "remote", "memory"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A store and the oracle."""
    oracle = local_mode()
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "edge with indexes":
            patched.setattr(shard, "INDEX_FROM", 0)
        if request.param == "memory":
            yield MemoryStore(), oracle
        else:
            with opened(request.param.split()[0], tmp_path_factory.mktemp("filters") / "vectors") as store:
                yield store, oracle
    oracle.close()


def chosen(store: Any, where: Filter) -> set[str]:
    return {point.id for point in store.scroll("f", where, 100)}


def test_a_store_chooses_the_points_that_the_oracle_chooses(two: tuple[Any, Any]) -> None:
    @given(given_payloads=st.lists(payloads, min_size=1, max_size=len(IDS)), asked=st.lists(filters, min_size=1, max_size=4))
    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def compare(given_payloads: list[dict[str, Any]], asked: list[Any]) -> None:
        points = [Point(id, [1.0, 0.5], None, payload) for id, payload in zip(IDS, given_payloads, strict=False)]
        for store in two:
            store.create("f", 2)
            store.upsert("f", points)
        try:
            for condition in asked:
                where = condition if isinstance(condition, Filter) else Filter(must=(condition,))
                found, expected = (chosen(store, where) for store in two)
                assert found == expected, (where, [point.payload for point in points])
                assert found == {point.id for point in points if meets(where, point.id, point.payload)}
                assert two[0].count("f", where) == len(expected)
                assert {hit.id for hit in two[0].query("f", vector=[1.0, 0.0], limit=50, where=where)} == expected
            if where:
                assert [store.delete("f", where=where) for store in two] == [len(expected)] * 2
                assert chosen(two[0], Filter()) == chosen(two[1], Filter())
        finally:
            for store in two:
                store.drop("f")

    compare()


def test_numbers_that_are_not_whole_stay_in_a_range_over_a_field_that_is_also_compared(two: tuple[Any, Any]) -> None:
    store, _ = two
    store.create("f", 2)
    try:
        store.upsert("f", [Point("a", None, None, {"n": 1}), Point("b", None, None, {"n": 1.5}), Point("c", None, None, {"n": 2})])
        assert chosen(store, {"n": 1}) == {"a"}
        assert chosen(store, Filter(must=(Range("n", gt=1),))) == {"b", "c"}
        assert chosen(store, {"n": 2}) == {"c"}
    finally:
        store.drop("f")


@pytest.mark.parametrize(("where", "reason"), [
    (Filter(must=(Match("a b", ("x",)),)), "no payload field"), (Filter(must=(Match("a", (1.5,)),)), "cannot be compared"),
    (Filter(should=(Match("a", ("x", 1)),)), "cannot be compared"), (Filter(must_not=(Match("a", (True, False)),)), "cannot be compared"),
    (Filter(must=(Match("a", (2**63,)),)), "cannot be compared"), (Filter(must=(Match("a", ("\ud800",)),)), "cannot be compared"),
    (Filter(must=(Except("a", (True,)),)), "cannot be compared"), (Filter(must=(Ids((5,)),)), "cannot be compared"),
    (Filter(must=(Range("a", gt=float("nan")),)), "finite"), (Filter(must=(Range("a", lt=True),)), "finite"), (Filter(must=(Range("a", lt="x"),)), "finite"),
    (Filter(must=(Empty(""),)), "no payload field"), (Filter(must=(Match("a", tuple(range(10_001))),)), "more than 10000"),
])
def test_what_no_backend_could_compare_is_refused(where: Filter, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        check_where(where)


def test_filters_inside_one_another_have_an_end() -> None:
    where = Filter(must=(Null("a"),))
    for _ in range(20):
        where = Filter(must=(where,))
    with pytest.raises(BadRequest, match="more than 16 filters"):
        check_where(where)


def test_a_filter_that_leaves_nothing_out_deletes_nothing(two: tuple[Any, Any]) -> None:
    store, _ = two
    store.create("f", 2)
    try:
        store.upsert("f", [Point("a")])
        for where in (Filter(), Filter(must=(Filter(),)), {}):
            with pytest.raises(BadRequest, match="at least one field"):
                store.delete("f", where=where)
        assert store.count("f", Filter()) == 1
    finally:
        store.drop("f")


def test_an_index_that_an_earlier_version_made_is_put_right_for_ranges(tmp_path: Any) -> None:
    import qdrant_edge

    with opened("edge", tmp_path / "vectors") as store:
        store.create("f", 2)
        store.upsert("f", [Point("a", None, None, {"n": 1}), Point("b", None, None, {"n": 1.5})])
        store._shards["f"]._engine.update(qdrant_edge.UpdateOperation.create_field_index("n", qdrant_edge.PayloadSchemaType.Integer))
        store.close()
        store.open()
        assert store.info("f").indexing.fields == {"n": ("ranges", 1)}
        assert chosen(store, Filter(must=(Range("n", gt=0),))) == {"a", "b"}
        assert store.info("f").indexing.fields == {"n": ("integer", 1)} and chosen(store, {"n": 1}) == {"a"}


def test_only_so_many_fields_get_an_index(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "INDEX_FROM", 1)
    monkeypatch.setattr(shard, "MOST_INDEXED", 2)
    with opened("edge", tmp_path / "vectors") as store:
        store.create("f", 2)
        store.upsert("f", [Point("a", None, None, {"x": "v", "y": "v", "z": "v"})])
        assert [store.count("f", {field: "v"}) for field in "xyz"] == [1, 1, 1]
        assert set(store.info("f").indexing.fields) == {"x", "y"}
