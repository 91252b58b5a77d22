"""A stock QdrantClient against port 6333 with the embedded store behind it; where it can, Qdrant's own local mode says what is right."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from suite.http import serve
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.vectors.edge import EdgeStore

pytestmark = [pytest.mark.filterwarnings(f"ignore:{of_the_oracle}") for of_the_oracle in ("Payload indexes have no effect", "Local mode performs exact")]

TOKEN = "a-token-of-this-test"
SIZE = 8
COLOURS = ["red", "green", "blue"]
UUIDS = [str(uuid.UUID(int=number, version=4)) for number in (7, 2**127, 2**100)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    yield store
    store.close()


@contextmanager
def served(store: EdgeStore) -> Iterator[str]:
    """The guarded port, as a stack serves it."""
    api = app(store)
    add_problems(api)
    sock, servers = serve.bind("127.0.0.1", 0, "qdrant"), serve.HttpServers()
    servers.start({"qdrant": (sock, Guard(api, "qdrant", TOKEN.__eq__, "127.0.0.1", lambda *seen: None))})
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        servers.stop()


@pytest.fixture
def url(store: EdgeStore) -> Iterator[str]:
    with served(store) as url:
        yield url


@contextmanager
def opened(url: str) -> Iterator[QdrantClient]:
    """A client as anybody makes one; the key goes as a header, because the client warns of a key over plain HTTP."""
    before = set(threading.enumerate())
    client = QdrantClient(url=url, headers={"api-key": TOKEN})
    for thread in set(threading.enumerate()) - before:
        if "_check_compatibility" in thread.name:
            thread.join(20)  # its warning would be an error here
    yield client
    client.close()


@pytest.fixture
def client(url: str) -> Iterator[QdrantClient]:
    with opened(url) as client:
        yield client


@pytest.fixture
def oracle() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def points(n: int = 60) -> list[models.PointStruct]:
    """Points with whole numbers as ids, clustered vectors, words, and payloads of several kinds."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(5, SIZE))
    made = []
    for number in range(n):
        vector = centres[number % 5] + rng.normal(size=SIZE) * 0.2
        words = models.SparseVector(indices=[number % 5, 10 + number % 7, 40 + number], values=[1.0 + number / 97, 1.5 + number % 3 + number / 89, 0.5])
        payload: dict[str, Any] = {"colour": COLOURS[number % 3], "n": number, "price": number / 4, "even": number % 2 == 0,
                                   "tags": [f"t{number % 4}", "all"], "place": {"city": f"c{number % 2}", "zip": number}}
        if number % 10 < 2:
            payload["note"] = "x" if number % 10 else None
        made.append(models.PointStruct(id=number, vector={"dense": vector.tolist(), "words": words}, payload=payload))
    return made


POINTS = points()
QUERY = (np.array(POINTS[3].vector["dense"]) + 0.05).tolist()
WORDS = models.SparseVector(indices=[3, 12], values=[1.0, 2.0])


def make(client: QdrantClient, name: str = "c") -> QdrantClient:
    client.create_collection(name, vectors_config={"dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)},
                             sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)})
    return client


@pytest.fixture
def both(client: QdrantClient, oracle: QdrantClient) -> tuple[QdrantClient, QdrantClient]:
    """The port and the oracle with the same points in the collection `c`."""
    for each in (client, oracle):
        make(each).upsert("c", POINTS, wait=True)
    return client, oracle


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QdrantClient, QdrantClient]]:
    """The same for tests that change nothing."""
    store, oracle = EdgeStore(tmp_path_factory.mktemp("unchanged") / "vectors"), QdrantClient(":memory:")
    store.open()
    with served(store) as url, opened(url) as client:
        for each in (client, oracle):
            make(each).upsert("c", POINTS, wait=True)
        yield client, oracle
    oracle.close()
    store.close()


def plain(answer: Any) -> Any:
    """An answer as JSON, numbers rounded to what 32 bits hold, so that two can be compared."""
    if isinstance(answer, list | tuple):
        return [plain(each) for each in answer]
    if isinstance(answer, dict):
        return {key: plain(each) for key, each in answer.items()}
    if hasattr(answer, "model_dump"):
        return plain(answer.model_dump(mode="json"))
    return round(answer, 4) if isinstance(answer, float) else answer


def field(key: str, **asked: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **asked)


FILTERS = {
    "value": models.Filter(must=[field("colour", match=models.MatchValue(value="red"))]),
    "one condition without a list": models.Filter(must=field("n", match=models.MatchValue(value=7))),
    "true": models.Filter(must=[field("even", match=models.MatchValue(value=True))]),
    "any": models.Filter(must=[field("colour", match=models.MatchAny(any=["red", "blue"])), field("n", match=models.MatchAny(any=[1, 2, 3]))]),
    "except": models.Filter(must=[field("colour", match=models.MatchExcept(**{"except": ["red"]}))]),
    "in a list": models.Filter(must=[field("tags", match=models.MatchValue(value="t2"))]),
    "in an object": models.Filter(must=[field("place.city", match=models.MatchValue(value="c1"))]),
    "range": models.Filter(must=[field("price", range=models.Range(gt=2, lte=5.25))]),
    "range of whole numbers": models.Filter(must=[field("n", range=models.Range(gte=10, lt=20))]),
    "should": models.Filter(should=[field("n", match=models.MatchValue(value=1)), field("colour", match=models.MatchValue(value="blue"))]),
    "must not": models.Filter(must_not=[field("colour", match=models.MatchValue(value="red")), models.HasIdCondition(has_id=[1, 2])]),
    "has id": models.Filter(must=[models.HasIdCondition(has_id=[5, 6, 1000])]),
    "is empty": models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="note"))]),
    "is null": models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="note"))]),
    "is not null": models.Filter(must=[field("note", is_null=False)]),
    "inside one another": models.Filter(must=[models.Filter(should=[field("n", range=models.Range(lt=5)), field("n", range=models.Range(gt=50))]),
                                              field("even", match=models.MatchValue(value=False))]),
}


@pytest.mark.parametrize("condition", FILTERS.values(), ids=FILTERS)
def test_filters_choose_what_qdrant_chooses(both: Any, condition: models.Filter) -> None:
    ours, theirs = ({"count": each.count("c", count_filter=condition, exact=True).count,
                     "scroll": plain(each.scroll("c", scroll_filter=condition, limit=100)[0]),
                     "dense": plain(each.query_points("c", query=QUERY, using="dense", query_filter=condition, limit=7).points),
                     "sparse": plain(each.query_points("c", query=WORDS, using="words", query_filter=condition, limit=3).points)} for each in both)
    assert ours == theirs and 0 < ours["count"] < 60
    for each in both:
        each.delete("c", condition)
    assert plain(both[0].scroll("c", limit=100)) == plain(both[1].scroll("c", limit=100))


QUERIES: dict[str, dict[str, Any]] = {
    "dense": {"query": QUERY, "using": "dense"},
    "numpy": {"query": np.array(QUERY, dtype=np.float32), "using": "dense"},
    "sparse": {"query": WORDS, "using": "words", "limit": 5},
    "the second page": {"query": QUERY, "using": "dense", "limit": 4, "offset": 4},
    "above a score": {"query": QUERY, "using": "dense", "score_threshold": 0.9},
    "an exact search": {"query": QUERY, "using": "dense", "search_params": models.SearchParams(exact=True)},
    "with an effort": {"query": QUERY, "using": "dense", "search_params": models.SearchParams(hnsw_ef=64, exact=False)},
    "near a point": {"query": 4, "using": "dense", "limit": 5},
    "near a point's words": {"query": 4, "using": "words", "limit": 3},
    "nearest, spelled out": {"query": models.NearestQuery(nearest=QUERY), "using": "dense"},
    "without payload": {"query": QUERY, "using": "dense", "with_payload": False},
    "some of the payload": {"query": QUERY, "using": "dense", "with_payload": ["colour", "place.city", "missing"]},
    "included": {"query": QUERY, "using": "dense", "with_payload": models.PayloadSelectorInclude(include=["n", "place"])},
    "excluded": {"query": QUERY, "using": "dense", "with_payload": models.PayloadSelectorExclude(exclude=["tags", "place.zip"])},
    "with vectors": {"query": QUERY, "using": "dense", "with_vectors": True, "limit": 3},
    "with one vector": {"query": QUERY, "using": "dense", "with_vectors": ["words"], "limit": 3},
    "all, without a query": {"limit": 5, "offset": 2, "query_filter": FILTERS["value"]},
    "ranks fused": {"prefetch": [models.Prefetch(query=QUERY, using="dense", limit=7), models.Prefetch(query=WORDS, using="words", limit=5)],
                    "query": models.FusionQuery(fusion=models.Fusion.RRF), "limit": 20},
    "ranks fused with a constant and weights": {"prefetch": [models.Prefetch(query=QUERY, using="dense", limit=9), models.Prefetch(query=WORDS, using="words", limit=4)],
                                                "query": models.RrfQuery(rrf=models.Rrf(k=30, weights=[3.0, 1.0])), "limit": 4},
    "ranks fused under filters": {"prefetch": [models.Prefetch(query=QUERY, using="dense", limit=7, filter=FILTERS["true"]),
                                               models.Prefetch(query=WORDS, using="words", limit=5, score_threshold=0.1)],
                                  "query": models.FusionQuery(fusion=models.Fusion.RRF), "limit": 20, "query_filter": FILTERS["range"]},
    "words found, ordered by the vector": {"prefetch": models.Prefetch(query=WORDS, using="words", limit=9), "query": QUERY, "using": "dense", "limit": 5},
    "a fusion inside": {"prefetch": models.Prefetch(prefetch=[models.Prefetch(query=QUERY, using="dense", limit=20)], query=WORDS, using="words", limit=10),
                        "query": QUERY, "using": "dense", "limit": 3},
}


@pytest.mark.parametrize("asked", QUERIES.values(), ids=QUERIES)
def test_queries_find_what_qdrant_finds(unchanged: Any, asked: dict[str, Any]) -> None:
    ours, theirs = (plain(each.query_points("c", **asked).points) for each in unchanged)
    if "prefetch" in asked:  # ranks can add up to the same score, and then the order is anybody's
        ours, theirs = (sorted(answer, key=lambda hit: (-hit["score"], hit["id"])) for answer in (ours, theirs))
    assert ours == theirs and ours


def test_several_queries_in_one_call(unchanged: Any) -> None:
    requests = [models.QueryRequest(query=QUERY, using="dense", limit=3, with_payload=True), models.QueryRequest(query=WORDS, using="words", limit=2)]
    ours, theirs = (plain(each.query_batch_points("c", requests)) for each in unchanged)
    assert ours == theirs and [len(answer["points"]) for answer in ours] == [3, 2]


@pytest.mark.parametrize("group_by", ["colour", "n", "place.city", "tags"])
def test_groups_are_those_of_qdrant(unchanged: Any, group_by: str) -> None:
    ours, theirs = (plain(each.query_points_groups("c", group_by, query=QUERY, using="dense", limit=3, group_size=2)) for each in unchanged)
    assert ours == theirs and ours["groups"]


@pytest.mark.parametrize("distance", [models.Distance.DOT, models.Distance.EUCLID, models.Distance.MANHATTAN])
def test_other_distances_are_thresholds_the_other_way_round(client: QdrantClient, oracle: QdrantClient, distance: models.Distance) -> None:
    answers = []
    for each in (client, oracle):
        each.create_collection("d", vectors_config=models.VectorParams(size=SIZE, distance=distance))
        each.upsert("d", [models.PointStruct(id=point.id, vector=point.vector["dense"]) for point in POINTS[:20]])
        scores = [point.score for point in each.query_points("d", query=QUERY, limit=20).points]
        answers.append([point.id for point in each.query_points("d", query=QUERY, limit=20, score_threshold=(scores[9] + scores[10]) / 2).points])
    assert answers[0] == answers[1] and len(answers[0]) == 10


@pytest.mark.parametrize(("vectors", "sparse"), [
    (models.VectorParams(size=SIZE, distance=models.Distance.COSINE), None),
    ({"text": models.VectorParams(size=SIZE, distance=models.Distance.DOT, on_disk=True)}, {"terms": models.SparseVectorParams()}),
    (models.VectorParams(size=SIZE, distance=models.Distance.COSINE), {"terms": models.SparseVectorParams(modifier=models.Modifier.IDF)})])
def test_collections_keep_the_names_of_their_vectors(client: QdrantClient, oracle: QdrantClient, store: EdgeStore, vectors: Any, sparse: Any) -> None:
    dense = next(iter(vectors)) if isinstance(vectors, dict) else ""
    answers = []
    for each in (client, oracle):
        assert each.create_collection("named", vectors_config=vectors, sparse_vectors_config=sparse)
        rows = [models.PointStruct(id=point.id, vector=point.vector["dense"] if sparse is None else
                                   {dense: point.vector["dense"], "terms": point.vector["words"]}) for point in POINTS[:9]]
        each.upsert("named", rows)
        params = each.get_collection("named").config.params
        found = [plain(each.query_points("named", query=QUERY, using=dense or None, limit=4, with_vectors=True)), plain(each.retrieve("named", [2], with_vectors=True))]
        if sparse is not None:
            found.append(plain(each.query_points("named", query=WORDS, using="terms", limit=2)))
            found.append(plain(each.query_points("named", query=2, using="terms", limit=2, with_vectors=["terms"])))
        answers.append((plain(params.vectors if dense == "" else {name: (each.size, each.distance) for name, each in params.vectors.items()})
                        if dense else (params.vectors.size, params.vectors.distance), plain({k: v.modifier for k, v in (params.sparse_vectors or {}).items()}), found))
    assert answers[0] == answers[1]
    store.close()
    store.open()
    assert plain(client.retrieve("named", [2], with_vectors=True)) == answers[0][2][1]


def test_collections_are_created_listed_described_and_deleted(client: QdrantClient) -> None:
    assert client.get_collections().collections == [] and not client.collection_exists("c")
    make(client).upsert("c", POINTS)
    assert [row.name for row in client.get_collections().collections] == ["c"] and client.collection_exists("c")
    info = client.get_collection("c")
    assert (info.status, info.optimizer_status, info.points_count) == (models.CollectionStatus.GREEN, models.OptimizersStatusOneOf.OK, 60)
    with pytest.raises(UnexpectedResponse, match="already exists"):
        make(client)
    client.delete_collection("c")
    make(client)
    assert client.count("c").count == 0
    assert client.get_aliases().aliases == [] and client.get_collection_aliases("c").aliases == []
    assert client.delete_collection("c") and not client.delete_collection("c") and client.get_collections().collections == []


def test_the_state_of_the_index_is_told(client: QdrantClient, store: EdgeStore) -> None:
    client.create_collection("c", vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.COSINE))
    client.upsert("c", [models.PointStruct(id=point.id, vector=point.vector["dense"]) for point in POINTS])
    assert client.get_collection("c").indexed_vectors_count == 0  # so few are searched exactly
    shard = store._shards["c"]
    shard.optimizing, shard.trouble = True, "The disk is full."
    info = client.get_collection("c")
    assert info.status == models.CollectionStatus.YELLOW and info.optimizer_status.error == "The disk is full."
    shard.optimizing = False
    assert client.get_collection("c").status == models.CollectionStatus.GREEN


def test_recreating_a_collection_empties_it(client: QdrantClient) -> None:
    make(client).upsert("c", POINTS)
    with pytest.deprecated_call():
        assert client.recreate_collection("c", vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
    assert client.count("c").count == 0 and client.get_collection("c").config.params.vectors.size == 3


def test_an_index_that_is_asked_for_is_the_stores_affair(client: QdrantClient, store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.vectors.shard.INDEX_FROM", 10)
    make(client).upsert("c", POINTS)
    assert client.create_payload_index("c", "colour", models.PayloadSchemaType.KEYWORD).status == models.UpdateStatus.COMPLETED
    assert client.count("c", count_filter=FILTERS["value"]).count == 20
    schema = client.get_collection("c").payload_schema
    assert {name: (info.data_type, info.points) for name, info in schema.items()} == {"colour": (models.PayloadSchemaType.KEYWORD, 60)}


def test_points_are_written_in_rows_and_columns_and_by_uploads(client: QdrantClient, oracle: QdrantClient) -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(130, SIZE)).astype(np.float32)
    pages = []
    for each in (client, oracle):
        each.create_collection("c", vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.DOT))
        each.upsert("c", models.Batch(ids=[UUIDS[0], 900], vectors=table[:2].tolist(), payloads=[{"a": 1}, {"a": 2}]))
        each.upsert("c", [models.PointStruct(id=901, vector=table[2].tolist())])
        each.upload_collection("c", table, payload=[{"n": number} for number in range(130)], ids=list(range(130)))
        each.upload_points("c", [models.PointStruct(id=200 + number, vector=table[number].tolist(), payload={"up": number}) for number in range(70)],
                           batch_size=16, wait=True)
        pages.append(plain(each.scroll("c", limit=500, with_vectors=True)))
    assert pages[0] == pages[1] and len(pages[0][0]) == 203


def test_several_processes_upload_at_once(client: QdrantClient) -> None:
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upload_points("c", [models.PointStruct(id=number, vector=[1.0, number]) for number in range(200)], batch_size=20, parallel=2, wait=True)
    assert client.count("c").count == 200


def test_retrieving_gives_what_is_there(unchanged: Any) -> None:
    ours, theirs = (plain(sorted(each.retrieve("c", [3, 1, 999, 2], with_vectors=True), key=lambda record: record.id)) for each in unchanged)
    assert ours == theirs and [record["id"] for record in ours] == [1, 2, 3]
    ours, theirs = (plain(each.retrieve("c", [1], with_payload=["n"])) for each in unchanged)
    assert ours == theirs and ours[0]["payload"] == {"n": 1}


def test_pages_come_in_qdrants_order_numbers_before_uuids(client: QdrantClient, oracle: QdrantClient) -> None:
    ids = [5, 2**64 - 1, 0, 70, *UUIDS]
    orders = []
    for each in (client, oracle):
        make(each).upsert("c", [models.PointStruct(id=id, vector={}, payload={"odd": number % 2 == 1}) for number, id in enumerate(ids)])
        seen: list[Any] = []
        offset = None
        while True:
            page, offset = each.scroll("c", limit=2, offset=offset)
            seen.append([record.id for record in page])
            if offset is None:
                break
        orders.append((seen, [record.id for record in each.scroll("c", limit=3, scroll_filter=models.Filter(must=[field("odd", match=models.MatchValue(value=True))]))[0]]))
    assert orders[0] == orders[1] and [id for page in orders[0][0] for id in page] == [0, 5, 70, 2**64 - 1, *sorted(UUIDS)]


def test_a_page_that_ends_with_the_last_point_is_the_last(unchanged: Any) -> None:
    assert [each.scroll("c", limit=60)[1] for each in unchanged] == [None, None]
    assert [each.scroll("c", limit=59)[1] for each in unchanged] == [59, 59]


def test_points_are_deleted_by_id(both: Any) -> None:
    for each in both:
        each.delete("c", [1, 2, 999])
        each.delete("c", models.PointIdsList(points=[3]))
    assert plain(both[0].scroll("c", limit=100)) == plain(both[1].scroll("c", limit=100))


CHANGES = {
    "set by ids": lambda c: c.set_payload("c", {"new": {"a": 1}, "colour": "pink", "n": None}, points=[1, 2]),
    "set by filter": lambda c: c.set_payload("c", {"even": False}, points=FILTERS["true"]),
    "set inside": lambda c: c.set_payload("c", {"zip": 0, "street": "s"}, points=[1, 2, 3], key="place"),
    "set inside what is not there": lambda c: c.set_payload("c", {"zip": 0}, points=[1], key="other.place"),
    "overwrite": lambda c: c.overwrite_payload("c", {"only": [1, 2]}, points=models.Filter(must=[models.HasIdCondition(has_id=[7, 8])])),
    "delete fields": lambda c: c.delete_payload("c", keys=["colour", "place.zip", "missing.field"], points=[5, 6]),
    "clear": lambda c: c.clear_payload("c", points_selector=FILTERS["value"]),
    "vectors": lambda c: c.update_vectors("c", [models.PointVectors(id=4, vector={"dense": QUERY}), models.PointVectors(id=5, vector={"words": WORDS})]),
    "no vectors": lambda c: c.delete_vectors("c", vectors=["words"], points=[4, 5, 6]),
    "several": lambda c: c.batch_update_points("c", [
        models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=700, vector={"dense": QUERY}, payload={"n": 700})])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"seen": True}, points=[700, 1])),
        models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["n"], points=[700])),
        models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"x": 1}, points=[2])),
        models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[3])),
        models.DeleteOperation(delete=models.PointIdsList(points=[9]))]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_leave_what_qdrant_leaves(both: Any, change: Any) -> None:
    before = plain(both[0].scroll("c", limit=100, with_vectors=True))
    for each in both:
        change(each)
    ours, theirs = (plain(each.scroll("c", limit=100, with_vectors=True)) for each in both)
    assert ours == theirs != before
    assert [each.count("c", count_filter=FILTERS["true"]).count for each in both] == [both[1].count("c", count_filter=FILTERS["true"]).count] * 2


def test_a_change_of_a_point_that_is_not_there_is_told_after_the_others_are_made(client: QdrantClient) -> None:
    make(client).upsert("c", POINTS)
    for change in (lambda: client.set_payload("c", {"a": 1}, points=[1, 12345]),
                   lambda: client.update_vectors("c", [models.PointVectors(id=12345, vector={"dense": QUERY})])):
        with pytest.raises(UnexpectedResponse, match="no point 12345") as caught:
            change()
        assert caught.value.status_code == 404
    assert client.retrieve("c", [1])[0].payload["a"] == 1


def test_migrating_to_and_from_local_mode_keeps_everything(both: Any) -> None:
    client, oracle = both
    client.migrate(oracle, ["c"], recreate_on_collision=True)
    oracle.migrate(client, ["c"], recreate_on_collision=True)
    assert plain(client.scroll("c", limit=100, with_vectors=True)) == plain(oracle.scroll("c", limit=100, with_vectors=True))
    assert client.count("c").count == 60


def test_the_key_opens_the_port_and_another_does_not(url: str) -> None:
    with pytest.warns(UserWarning, match="insecure connection"):
        client = QdrantClient(url=url, api_key=TOKEN, check_compatibility=False)
    assert client.get_collections().collections == []
    client.close()
    stranger = QdrantClient(url=url, headers={"api-key": "wrong"}, check_compatibility=False)
    with pytest.raises(UnexpectedResponse) as caught:
        stranger.get_collections()
    assert caught.value.status_code == 401
    stranger.close()


def test_the_version_is_one_that_the_client_accepts(client: QdrantClient) -> None:
    assert client.info().version.count(".") == 2  # the fixture waited for the client's own check, whose warning is an error


REFUSED = {
    "another fusion": (lambda c: c.query_points("c", prefetch=models.Prefetch(query=QUERY, using="dense"), query=models.FusionQuery(fusion=models.Fusion.DBSF)), "rank fusion"),
    "a fusion of nothing": (lambda c: c.query_points("c", query=models.FusionQuery(fusion=models.Fusion.RRF)), "needs prefetches"),
    "prefetches without a query": (lambda c: c.query_points("c", prefetch=models.Prefetch(query=QUERY, using="dense")), "query that joins them"),
    "recommending": (lambda c: c.query_points("c", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[1])), using="dense"), "is not supported"),
    "an order": (lambda c: c.query_points("c", query=models.OrderByQuery(order_by="n")), "is not supported"),
    "an order of a scroll": (lambda c: c.scroll("c", order_by="n"), "`order_by`"),
    "a lookup": (lambda c: c.query_points("c", query=1, using="dense", lookup_from=models.LookupLocation(collection="d")), "`lookup_from`"),
    "a shard": (lambda c: c.count("c", shard_key_selector="a"), "`shard_key`"),
    "text": (lambda c: c.count("c", count_filter=models.Filter(must=[field("colour", match=models.MatchText(text="red"))])), "is not supported"),
    "a time": (lambda c: c.count("c", count_filter=models.Filter(must=[field("n", range=models.DatetimeRange(gt="2024-01-01T00:00:00Z"))])), "is not supported"),
    "a place": (lambda c: c.count("c", count_filter=models.Filter(must=[field("n", geo_radius=models.GeoRadius(center=models.GeoPoint(lon=1, lat=1), radius=1))])), "is not supported"),
    "nested": (lambda c: c.count("c", count_filter=models.Filter(must=[models.NestedCondition(nested=models.Nested(key="place", filter=models.Filter()))])), "is not supported"),
    "a least number": (lambda c: c.count("c", count_filter=models.Filter(min_should=models.MinShould(conditions=[field("n", is_null=True)], min_count=1))), "is not supported"),
    "a vector of that name": (lambda c: c.query_points("c", query=QUERY, using="other"), "no vector named 'other'"),
    "no such point": (lambda c: c.query_points("c", query=98765, using="dense"), "no point 98765"),
    "insert only": (lambda c: c.upsert("c", POINTS[:1], update_mode=models.UpdateMode.INSERT_ONLY), "`update_mode`"),
    "a condition for writing": (lambda c: c.upsert("c", POINTS[:1], update_filter=FILTERS["value"]), "`update_filter`"),
    "an index of texts": (lambda c: c.create_payload_index("c", "colour", models.PayloadSchemaType.TEXT), "index of the kind"),
    "removing an index": (lambda c: c.delete_payload_index("c", "colour"), "cannot be removed"),
    "a facet": (lambda c: c.facet("c", "colour"), "no route of this port"),
    "another configuration": (lambda c: c.update_collection("c", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1)), "no route of this port"),
    "two vectors": (lambda c: c.create_collection("e", vectors_config={name: models.VectorParams(size=2, distance=models.Distance.DOT) for name in "ab"}), "one dense vector"),
    "vectors of vectors": (lambda c: c.create_collection("e", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM))), "`multivector_config`"),
    "smaller numbers": (lambda c: c.create_collection("e", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT, datatype=models.Datatype.UINT8)), "always 'float32'"),
    "another index": (lambda c: c.create_collection("e", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT), hnsw_config=models.HnswConfigDiff(m=64)), "`hnsw_config.m` is always 16"),
    "several shards": (lambda c: c.create_collection("e", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT), shard_number=3), "`shard_number` is always 1"),
    "quantization": (lambda c: c.create_collection("e", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT), quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig())), "`quantization_config`"),
    "a name that is a path": (lambda c: c.create_collection("A b", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)), "no collection name"),
    "everything": (lambda c: c.delete("c", models.FilterSelector(filter=models.Filter())), "at least one field"),
    "an unknown collection": (lambda c: c.count("none"), "no collection none"),
}


@pytest.mark.parametrize(("use", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_says_so_where_qdrant_says_it(unchanged: Any, use: Any, reason: str) -> None:
    client = unchanged[0]
    with pytest.raises(UnexpectedResponse) as caught:
        use(client)
    told = httpx.Response(caught.value.status_code, content=caught.value.content).json()
    assert caught.value.status_code in (400, 404, 405) and reason in told["status"]["error"] == told["error"]["message"]
    assert client.count("c").count == 60 and [row.name for row in client.get_collections().collections] == ["c"]


def test_snapshots_are_made_listed_downloaded_recovered_and_deleted(client: QdrantClient, url: str, store: EdgeStore) -> None:
    make(client).upsert("c", POINTS)
    made = client.create_snapshot("c")
    assert client.list_snapshots("c") == [made] and made.name.startswith("c-") and made.size > 0
    content = httpx.get(f"{url}/collections/c/snapshots/{made.name}", headers={"api-key": TOKEN}, trust_env=False).content
    assert len(content) == made.size and hashlib.sha256(content).hexdigest() == made.checksum
    before = plain(client.scroll("c", limit=100, with_vectors=True))
    client.delete("c", list(range(30)))
    client.set_payload("c", {"n": -1}, points=[40])
    for location in (f"{url}/collections/c/snapshots/{made.name}", f"file://{store.snapshots.folder}/c/{made.name}"):
        assert client.recover_snapshot("c", location) and plain(client.scroll("c", limit=100, with_vectors=True)) == before
        client.delete("c", [1])
    assert client.http.snapshots_api.recover_from_uploaded_snapshot("copy", snapshot=content, checksum=made.checksum, wait=True).result
    assert plain(client.scroll("copy", limit=100, with_vectors=True)) == before and client.count("c").count == 59
    client.upsert("copy", [models.PointStruct(id=5000, vector={"dense": QUERY})])
    assert client.query_points("copy", query=QUERY, using="dense", limit=1).points[0].id == 5000
    assert client.delete_snapshot("c", made.name) and client.list_snapshots("c") == []


def test_snapshots_of_everything_hold_those_of_each_collection(client: QdrantClient, url: str, tmp_path: Path) -> None:
    import tarfile

    make(client).upsert("c", POINTS)
    make(client, "d")
    made = client.create_full_snapshot()
    assert client.list_full_snapshots() == [made]
    content = httpx.get(f"{url}/snapshots/{made.name}", headers={"api-key": TOKEN}, trust_env=False).content
    assert hashlib.sha256(content).hexdigest() == made.checksum
    (tmp_path / "full.tar").write_bytes(content)
    with tarfile.open(tmp_path / "full.tar") as tar:
        assert tar.getnames() == ["c.snapshot", "d.snapshot"]
        tar.extractall(tmp_path, filter="data")
    with (tmp_path / "c.snapshot").open("rb") as file:
        client.http.snapshots_api.recover_from_uploaded_snapshot("again", snapshot=file)
    assert client.count("again").count == 60
    with pytest.raises(UnexpectedResponse, match="unpack a full snapshot"):
        client.http.snapshots_api.recover_from_uploaded_snapshot("no", snapshot=content)
    assert client.delete_full_snapshot(made.name) and client.list_full_snapshots() == []


def test_recovering_refuses_what_is_no_snapshot_of_ours(client: QdrantClient, url: str, tmp_path: Path) -> None:
    make(client).upsert("c", POINTS)
    made = client.create_snapshot("c")
    client.create_collection("other", vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
    at = f"{url}/collections/c/snapshots/{made.name}"
    (tmp_path / "secret.snapshot").write_text("secret")
    cases: list[tuple[Any, str]] = [
        (lambda: client.recover_snapshot("other", at), "holds Dot vectors of 3, not Cosine of 8"),
        (lambda: client.recover_snapshot("c", at, checksum="0" * 64), "has not the checksum"),
        (lambda: client.recover_snapshot("c", "http://example.org/collections/c/snapshots/x.snapshot"), "no snapshot of this port"),
        (lambda: client.recover_snapshot("c", f"file://{tmp_path}/secret.snapshot"), "no snapshot of this port"),
        (lambda: client.recover_snapshot("c", at.replace(made.name, "missing.snapshot")), "no snapshot missing.snapshot"),
        (lambda: client.http.snapshots_api.recover_from_uploaded_snapshot("new", snapshot=b"no archive"), "no snapshot of a collection of ours"),
        (lambda: client.delete_snapshot("c", "..lock"), "no snapshot ..lock"),
        (lambda: client.create_snapshot("none"), "no collection none"),
    ]
    for use, reason in cases:
        with pytest.raises(UnexpectedResponse, match=reason.replace("..", r"\.\.")):
            use()
    assert client.count("c").count == 60 and client.count("other").count == 0 and not client.collection_exists("new")
    assert sorted(path.name for path in store_files(client, tmp_path)) == ["c", "other"]


def store_files(client: QdrantClient, tmp_path: Path) -> list[Path]:
    """The folders of the store, besides that of the snapshots."""
    return [path for path in (tmp_path / "vectors").iterdir() if path.is_dir() and path.name != ".snapshots"]


def test_a_closed_store_refuses_writes_with_a_reason(client: QdrantClient, store: EdgeStore) -> None:
    make(client).upsert("c", POINTS[:5])
    store.close()
    for use in (lambda: client.upsert("c", POINTS), lambda: client.delete("c", [1]), lambda: client.set_payload("c", {"a": 1}, points=[1]),
                lambda: make(client, "d"), lambda: client.delete_collection("c"), lambda: client.create_snapshot("c"), lambda: client.count("c"),
                lambda: client.get_collections(), lambda: client.query_points("c", query=QUERY, using="dense")):
        with pytest.raises(UnexpectedResponse, match="vector store was closed") as caught:
            use()
        assert caught.value.status_code == 503
    store.open()
    assert client.count("c").count == 5
