"""One suite for every backend: whatever the store, the answers are those of qdrant-client's local mode."""

import math
from dataclasses import replace

import pytest
from clusters import SIZE, clustered
from vector_stores import KINDS, SERVER

from suite.errors import BadRequest, NotFound, NotReady
from suite.vectors.filter import Filter, Range
from suite.vectors.store import CollectionInfo, Point

pytestmark = [pytest.mark.filterwarnings(f"ignore:{of_the_oracle}") for of_the_oracle in ("Payload indexes have no effect", "Local mode performs exact")]

POINTS = clustered(160)
FILTERS = [None, {"document": "doc-2.md"}, {"cluster": 3}, {"even": True}, {"even": False, "cluster": 3}, {"tags": "t1"}, {"한글": "값"},
           {"deep.kind": "odd"}, {"document": "doc-2.md", "tags": "t0"}, {"document": "missing"}, {"cluster": "3"}, {"nowhere": 1}]


@pytest.fixture
def pair(empty_pair):
    """The store under test and the oracle, with the same points in the collection `c`."""
    for each in empty_pair:
        each.create("c", SIZE)
        each.upsert("c", POINTS)
    return empty_pair


def same(found, expected):
    """The same points with the same scores; points of one score may change places."""
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
    assert {hit.id: hit.payload for hit in found} == {hit.id: hit.payload for hit in expected}


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_the_nearest_vectors_are_the_same(shared_pair, where):
    for query in clustered(4, seed=11):
        found, expected = (each.query("c", vector=query.vector, limit=7, where=where) for each in shared_pair)
        same(found, expected)


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_the_best_words_are_the_same(shared_pair, where):
    for query in clustered(4, seed=12):
        found, expected = (each.query("c", sparse=query.sparse, limit=7, where=where) for each in shared_pair)
        same(found, expected)


@pytest.mark.parametrize("k", [2, 60])
@pytest.mark.parametrize("where", [None, {"even": True}, {"document": "doc-1.md"}], ids=str)
def test_fused_rankings_are_the_same(shared_pair, where, k):
    for query in clustered(4, seed=13):
        found, expected = (each.query("c", vector=query.vector, sparse=query.sparse, limit=5, where=where, fusion_k=k) for each in shared_pair)
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
        least = expected[-1].score  # the places of equal scores are anybody's, the last may be cut off in two ways; edge counts in 32 bits
        assert {hit.id for hit in found if hit.score > least + 1e-6} == {hit.id for hit in expected if hit.score > least + 1e-6}


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_counts_are_the_same(shared_pair, where):
    store, oracle = shared_pair
    assert store.count("c", where) == oracle.count("c", where)


@pytest.mark.parametrize("where", [row for row in FILTERS if row], ids=str)
def test_deleting_by_field_deletes_the_same_points(pair, where):
    store, oracle = pair
    assert store.delete("c", where=where) == oracle.delete("c", where=where)
    assert {point.id for point in store.scroll("c", limit=500)} == {point.id for point in oracle.scroll("c", limit=500)}


def test_deleting_by_id_counts_those_that_were_there(pair):
    for each in pair:
        assert each.delete("c", [POINTS[0].id, POINTS[0].id, POINTS[1].id, "unknown"]) == 2
        assert each.delete("c", []) == 0
        assert each.count("c") == len(POINTS) - 2


@pytest.mark.parametrize("effort", [0, 64, 10_000])
def test_an_effort_changes_nothing_where_all_points_are_searched(shared_pair, effort):
    for query in clustered(3, seed=14):
        found, expected = (each.query("c", vector=query.vector, limit=7, where={"even": True}, effort=effort) for each in shared_pair)
        same(found, expected)
        found, expected = (each.query("c", vector=query.vector, sparse=query.sparse, limit=3, effort=effort) for each in shared_pair)
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)


@pytest.mark.parametrize("which", [{"where": {"cluster": 3}}, {"where": Filter(must_not=(Range("cluster", lt=6),))},
                                   {"ids": [POINTS[0].id, POINTS[0].id, POINTS[7].id, "unknown"]}, {"ids": []}], ids=str)
def test_altering_replaces_the_same_points(pair, which):
    def change(point):
        return replace(point, id="ignored", sparse={1: 2.0}, payload={**point.payload, "even": None, "seen": True})

    def state(each):
        return {point.id: ([round(value, 4) for value in point.vector], {term: round(weight, 4) for term, weight in point.sparse.items()}, point.payload)
                for point in each.scroll("c", limit=500)}

    counts = [each.alter("c", change, **which) for each in pair]
    assert counts[0] == counts[1] == pair[0].count("c", {"seen": True}) == pair[1].count("c", {"seen": True})
    assert state(pair[0]) == state(pair[1]) and len(state(pair[0])) == len(POINTS)


def test_a_change_that_cannot_be_stored_is_refused(pair):
    for each in pair:
        with pytest.raises(BadRequest, match="has 1 numbers"):
            each.alter("c", lambda point: replace(point, vector=[1.0]), [POINTS[0].id])
        assert len(each.get("c", [POINTS[0].id])[0].vector) == SIZE


def test_points_come_back_as_they_were_in_the_order_asked_for(shared_pair):
    for each in shared_pair:
        found = each.get("c", [POINTS[5].id, "unknown", POINTS[2].id])
        assert [point.id for point in found] == [POINTS[5].id, POINTS[2].id]
        for point, given in zip(found, (POINTS[5], POINTS[2]), strict=True):
            length = math.hypot(*given.vector)
            assert point.vector == pytest.approx([value / length for value in given.vector], abs=1e-6)
            assert point.payload == given.payload
            assert dict(point.sparse) == pytest.approx(dict(given.sparse), abs=1e-6)


@pytest.mark.parametrize("where", [None, {"cluster": 3}], ids=str)
def test_pages_hold_every_point_once(shared_pair, where):
    for each in shared_pair:
        pages, last = [], None
        while page := each.scroll("c", where, limit=7, offset=last):
            pages.append([point.id for point in page])
            last = page[-1].id
        seen = [id for page in pages for id in page]
        assert len(seen) == len(set(seen)) == each.count("c", where)
        assert all(len(page) == 7 for page in pages[:-1])


def test_writing_again_replaces_vector_words_and_payload(pair):
    for each in pair:
        each.upsert("c", [Point(POINTS[0].id, [1.0] + [0.0] * (SIZE - 1), None, {"new": 1})])
        (point,) = each.get("c", [POINTS[0].id])
        assert (point.sparse, point.payload, each.count("c")) == (None, {"new": 1}, len(POINTS))
        assert point.vector == pytest.approx([1.0] + [0.0] * (SIZE - 1))


def test_the_last_of_two_points_with_one_id_wins(pair):
    for each in pair:
        each.upsert("c", [Point("twice", None, {1: 1.0}, {"n": 1}), Point("twice", None, {1: 1.0}, {"n": 2})])
        assert [point.payload for point in each.get("c", ["twice"])] == [{"n": 2}]


def test_a_point_may_have_words_only_or_a_vector_only_or_neither(pair):
    for each in pair:
        each.upsert("c", [Point("words", None, {900: 1.0}, {}), Point("vector", POINTS[0].vector, None, {}), Point("bare", None, None, {"a": 1})])
        assert [hit.id for hit in each.query("c", sparse={900: 1.0})] == ["words"]
        assert {"vector", POINTS[0].id} == {hit.id for hit in each.query("c", vector=POINTS[0].vector, limit=2)}
        assert [(point.id, point.vector, point.sparse) for point in each.get("c", ["bare"])] == [("bare", None, None)]


def test_ids_of_any_kind_are_kept(pair):
    ids = ["5", "00000000-0000-4000-8000-000000000001", "A0000000-0000-4000-8000-00000000000B", "한글 아이디", "a/b?c#d", "x" * 512]
    for each in pair:
        each.upsert("c", [Point(id, None, None, {"mine": "yes"}) for id in ids])
        assert [point.id for point in each.get("c", ids)] == ids
        assert {point.id for point in each.scroll("c", {"mine": "yes"})} == set(ids)


def test_words_that_no_point_has_find_nothing(shared_pair):
    for each in shared_pair:
        assert each.query("c", sparse={4_000_000_000: 1.0}) == [] and each.query("c", sparse={}) == []


def test_a_question_without_words_is_answered_by_its_vector(shared_pair):
    found, expected = (each.query("c", vector=POINTS[0].vector, sparse={}, limit=3) for each in shared_pair)
    same(found, expected)


def test_collections_are_listed_with_size_distance_and_points(pair):
    for each in pair:
        each.create("a-second_one", 8, "Dot")
        assert each.collections() == [CollectionInfo("a-second_one", 8, "Dot", 0), CollectionInfo("c", SIZE, "Cosine", len(POINTS))]
        each.drop("a-second_one")
        each.drop("a-second_one")
        assert [info.name for info in each.collections()] == ["c"]


def test_creating_again_keeps_the_points_and_another_size_is_refused(pair):
    for each in pair:
        each.create("c", SIZE)
        assert each.count("c") == len(POINTS)
        with pytest.raises(BadRequest, match=f"holds Cosine vectors of {SIZE}, not Cosine of 8"):
            each.create("c", 8)
        with pytest.raises(BadRequest, match=f"not Dot of {SIZE}"):
            each.create("c", SIZE, "Dot")


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan"])
def test_other_distances_rank_the_same(empty_pair, distance):
    for each in empty_pair:
        each.create("d", SIZE, distance)
        each.upsert("d", POINTS)
    found, expected = (each.query("d", vector=POINTS[3].vector, limit=6) for each in empty_pair)
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("use", [
    lambda s: s.count("none"), lambda s: s.info("none"), lambda s: s.query("none", sparse={1: 1.0}), lambda s: s.scroll("none"),
    lambda s: s.upsert("none", [Point("a", [1.0])]), lambda s: s.delete("none", ["a"]), lambda s: s.get("none", ["a"])])
def test_an_unknown_collection_is_not_found(store, use):
    with pytest.raises(NotFound, match="There is no collection none"):
        use(store)


@pytest.mark.parametrize("name", ["", "A", "a b", "../up", "a/b", "x" * 65, "한글", ".hidden"])
def test_a_name_that_could_be_a_path_is_refused(store, name):
    for use in (lambda: store.create(name, 4), lambda: store.drop(name), lambda: store.count(name)):
        with pytest.raises(BadRequest, match="is no collection name"):
            use()


@pytest.mark.parametrize(("use", "reason"), [
    (lambda s: s.upsert("c", [Point("a", [1.0] * 31)]), "has 31 numbers but the collection holds vectors of 32"),
    (lambda s: s.upsert("c", [Point("a", [math.nan] * SIZE)]), "not finite"),
    (lambda s: s.upsert("c", [Point("a", [math.inf] + [0.0] * 31)]), "not finite"),
    (lambda s: s.upsert("c", [Point("a", [0.0] * SIZE)]), "all zeros"),
    (lambda s: s.upsert("c", [Point("a", None, {-1: 1.0})]), "term numbers"),
    (lambda s: s.upsert("c", [Point("a", None, {1: math.nan})]), "weights are finite"),
    (lambda s: s.upsert("c", [Point("", None, None)]), "is no point id"),
    (lambda s: s.upsert("c", [Point("a", None, None, {"_id": "b"})]), "keeps for itself"),
    (lambda s: s.query("c", vector=[1.0]), "has 1 numbers"),
    (lambda s: s.query("c"), "needs a vector, sparse weights, or both"),
    (lambda s: s.query("c", sparse={1: 1.0}, limit=0), "limit of 0"),
    (lambda s: s.query("c", sparse={1: 1.0}, where={"a": 1.5}), "cannot be compared"),
    (lambda s: s.query("c", sparse={1: 1.0}, where={"a": None}), "cannot be compared"),
    (lambda s: s.query("c", sparse={1: 1.0}, where={"a b": "x"}), "no payload field"),
    (lambda s: s.delete("c"), "needs either ids or a `where`"),
    (lambda s: s.delete("c", where={}), "needs either ids or a `where`"),
    (lambda s: s.delete("c", ["a"], {"a": 1}), "needs either ids or a `where`"),
    (lambda s: s.alter("c", lambda point: point), "alter\\(\\) needs either ids or a `where`"),
    (lambda s: s.alter("c", lambda point: point, where=Filter()), "needs either ids or a `where`"),
    (lambda s: s.query("c", sparse={1: 1.0}, effort=-1), "effort of -1"),
    (lambda s: s.query("c", sparse={1: 1.0}, effort=1.5), "effort of 1.5"),
    (lambda s: s.create("d", 0), "vector size of 0"),
    (lambda s: s.create("d", 4, "Hamming"), "'Hamming' is no distance"),
])
def test_what_cannot_be_used_is_refused_and_changes_nothing(store, use, reason):
    store.create("c", SIZE)
    store.upsert("c", POINTS[:3])
    with pytest.raises(BadRequest, match=reason):
        use(store)
    assert store.count("c") == 3 and [info.name for info in store.collections()] == ["c"]


def test_one_bad_point_keeps_the_whole_list_out(store):
    store.create("c", SIZE)
    with pytest.raises(BadRequest):
        store.upsert("c", [*POINTS[:5], Point("bad", [1.0])])
    assert store.count("c") == 0


def test_ready_and_deep_are_good_and_leave_nothing_behind(store):
    assert store.live().ok and store.ready().ok
    state = store.deep()
    assert state.ok, state.reasons
    assert state.facts == {"written": 2, "found": 1, "deleted": 1} and store.collections() == []


def test_a_closed_store_is_not_ready(store):
    store.create("c", SIZE)
    store.close()
    store.close()
    assert not store.ready().ok and not store.deep().ok
    with pytest.raises(NotReady, match="was closed"):
        store.count("c")


def test_a_server_answers_the_same():
    if not SERVER:
        pytest.skip("not run: QDRANT_URL is not set")
    assert "server" in KINDS  # all of the above ran against it too


def test_a_copy_is_made_while_the_store_is_open(store, tmp_path):
    store.create("c", SIZE)
    store.upsert("c", POINTS)
    store.copy_to(tmp_path / "copy")
    assert any((tmp_path / "copy").iterdir()) and store.count("c") == len(POINTS)
