"""Port 6333 as Qdrant's own client and plain HTTP see it."""

import uuid

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from suite.http import serve
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point

NEAR, MIDDLE, FAR = [1.0, 0.1, 0.0, 0.0], [0.7, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.2]
SHAPE = {"vectors": {"size": 4, "distance": "Cosine"}}


@pytest.fixture
def store(tmp_path):
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    yield store
    store.close()


@pytest.fixture
def url(store):
    api = app(store)
    add_problems(api)
    sock, servers = serve.bind("127.0.0.1", 0, "qdrant"), serve.HttpServers()
    servers.start({"qdrant": (sock, api)})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()


@pytest.fixture
def client(url):
    client = QdrantClient(url=url, prefer_grpc=False, check_compatibility=False)
    yield client
    client.close()


@pytest.fixture
def plain(url):
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def filled(client):
    """The collection `c` with three points, written by Qdrant's client."""
    client.create_collection("c", vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)},
                             sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)})
    rows = [(1, NEAR, [1, 2], "a"), (2, MIDDLE, [2, 3], "b"), (3, FAR, [3, 4], "a")]
    client.upsert("c", [models.PointStruct(id=id, vector={"dense": vector, "words": models.SparseVector(indices=words, values=[1.0, 1.0])},
                                           payload={"kind": kind, "n": id}) for id, vector, words, kind in rows])
    return client


def test_the_client_lists_creates_and_deletes_collections(filled):
    assert [row.name for row in filled.get_collections().collections] == ["c"]
    assert filled.collection_exists("c") and not filled.collection_exists("d")
    info = filled.get_collection("c")
    assert info.points_count == 3 and info.config.params.vectors["dense"].size == 4
    assert filled.delete_collection("c") and filled.get_collections().collections == []


def test_creating_a_collection_that_exists_is_a_conflict(filled):
    with pytest.raises(UnexpectedResponse) as caught:
        filled.create_collection("c", vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)})
    assert caught.value.status_code == 409


def test_a_dense_query_finds_the_nearest_with_its_payload(filled):
    hits = filled.query_points("c", query=NEAR, using="dense", limit=2, with_payload=True).points
    assert [hit.id for hit in hits] == [1, 2] and hits[0].payload == {"kind": "a", "n": 1} and hits[0].score == pytest.approx(1, abs=1e-5)


def test_a_sparse_query_finds_by_words(filled):
    hits = filled.query_points("c", query=models.SparseVector(indices=[4], values=[1.0]), using="words").points
    assert [hit.id for hit in hits] == [3]


def test_two_prefetches_are_fused_by_rank(filled):
    prefetch = [models.Prefetch(query=NEAR, using="dense", limit=3),
                models.Prefetch(query=models.SparseVector(indices=[2, 3], values=[1.0, 1.0]), using="words", limit=3)]
    for query, k in ((models.FusionQuery(fusion=models.Fusion.RRF), 2), (models.RrfQuery(rrf=models.Rrf(k=60)), 60)):
        hits = filled.query_points("c", query=query, prefetch=prefetch, limit=3).points
        assert hits[0].id in (1, 2) and hits[0].score == pytest.approx(1 / k + 1 / (k + 1), abs=1e-4)


def test_a_filter_limits_search_count_scroll_and_deletion(filled):
    only_a = models.Filter(must=[models.FieldCondition(key="kind", match=models.MatchValue(value="a"))])
    assert [hit.id for hit in filled.query_points("c", query=MIDDLE, using="dense", query_filter=only_a).points] == [1, 3]
    assert filled.count("c", count_filter=only_a).count == 2
    assert {record.id for record in filled.scroll("c", scroll_filter=only_a)[0]} == {1, 3}
    filled.delete("c", only_a)
    assert [record.id for record in filled.scroll("c")[0]] == [2]


def test_points_are_retrieved_by_number_and_by_uuid(filled):
    id = str(uuid.uuid4())
    filled.upsert("c", models.Batch(ids=[id], vectors={"dense": [FAR]}, payloads=[{"n": 9}]))
    found = {record.id: record for record in filled.retrieve("c", [1, id, 77], with_vectors=True)}
    assert set(found) == {1, id} and found[id].payload == {"n": 9}
    assert found[1].vector["words"].indices == [1, 2] and len(found[id].vector["dense"]) == 4


def test_deleting_by_id_keeps_the_others(filled):
    filled.delete("c", [1, 77])
    assert filled.count("c").count == 2


def test_scrolling_page_by_page_gives_every_point_once(filled):
    filled.upsert("c", [models.PointStruct(id=number, vector={"dense": NEAR}, payload={}) for number in range(10, 30)])
    seen, offset = [], None
    while True:
        page, offset = filled.scroll("c", limit=5, offset=offset)
        seen += [record.id for record in page]
        if offset is None:
            break
    assert seen == [1, 2, 3, *range(10, 30)]


def test_an_unnamed_vector_is_the_dense_one(plain):
    assert plain.put("/collections/u", json=SHAPE).json()["result"] is True
    plain.put("/collections/u/points", json={"points": [{"id": 1, "vector": NEAR, "payload": {"probe": "x"}}, {"id": 2, "vector": FAR}]})
    hits = plain.post("/collections/u/points/query", json={"query": NEAR, "limit": 1, "with_payload": True}).json()["result"]["points"]
    assert [(hit["id"], hit["payload"]) for hit in hits] == [(1, {"probe": "x"})]


def test_points_written_inside_are_shown_as_a_server_would_hold_them(plain, store):
    store.create("c", 4)
    store.upsert("c", [Point("문서/1", NEAR, None, {"n": 1})])
    (record,) = plain.post("/collections/c/points/scroll", json={}).json()["result"]["points"]
    assert record["payload"] == {"n": 1, "_id": "문서/1"} and uuid.UUID(record["id"])
    (same,) = plain.post("/collections/c/points", json={"ids": [record["id"]]}).json()["result"]
    assert same == record


@pytest.mark.parametrize(("method", "path", "body", "status", "reason"), [
    ("GET", "/collections/none", None, 404, "no collection none"),
    ("GET", "/collections/c/points/5", None, 404, "no point 5"),
    ("PUT", "/collections/UP", SHAPE, 400, "no collection name"),
    ("PUT", "/collections/d", {"vectors": {"other": {"size": 4}}}, 400, "one dense vector"),
    ("PUT", "/collections/d", {"vectors": {"size": 0}}, 400, "vector size of 0"),
    ("PUT", "/collections/c/points", {}, 400, "`points` must be a list"),
    ("PUT", "/collections/c/points", {"points": [{"id": "x", "vector": NEAR}]}, 400, "no point id"),
    ("PUT", "/collections/c/points", {"points": [{"id": -1, "vector": NEAR}]}, 400, "no point id"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1.0]}]}, 400, "has 1 numbers"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": "text"}]}, 400, "list of numbers"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": {"x": NEAR}}]}, 400, "no vector named x"),
    ("PUT", "/collections/c/points", {"batch": {"ids": [1, 2], "vectors": [NEAR]}}, 400, "columns of other lengths"),
    ("POST", "/collections/c/points/query", {"query": "text"}, 400, "not supported"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "limit": 0.5}, 400, "limit of 0.5"),
    ("POST", "/collections/c/points/query", {"query": {"fusion": "dbsf"}, "prefetch": [{"query": NEAR}]}, 400, "rank fusion"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "filter": {"should": [{"key": "a", "match": {"value": 1}}]}}, 400, "Only `must`"),
    ("POST", "/collections/c/points/count", {"filter": {"must": [{"key": "a", "range": {"gt": 1}}]}}, 400, "not supported"),
    ("POST", "/collections/c/points/delete", {}, 400, "needs either ids or a `where`"),
    ("POST", "/collections/c/points/query", [], 422, "dictionary"),
])
def test_a_request_that_cannot_be_served_says_why(plain, store, method, path, body, status, reason):
    store.create("c", 4)
    answer = plain.request(method, path, json=body)
    assert answer.status_code == status and reason in answer.json()["error"]["message"]


def test_the_root_names_a_version_and_the_probes_follow_the_store(plain, store):
    assert plain.get("/").json()["version"].count(".") == 2
    assert plain.get("/healthz").status_code == plain.get("/livez").status_code == plain.get("/readyz").status_code == 200
    store.close()
    answer = plain.get("/readyz")
    assert answer.status_code == 503 and answer.headers["Retry-After"] and "was closed" in answer.json()["reasons"][0]
    assert plain.get("/healthz").status_code == 200 and plain.get("/collections").status_code == 503
