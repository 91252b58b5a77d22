"""Port 6333 as Qdrant's own client and plain HTTP see it."""

import json
import uuid

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from test_fuzz_routes import WRONG, places, replaced

from suite.http import serve
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.testing import MemoryStore
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point

NEAR, MIDDLE, FAR = [1.0, 0.1, 0.0, 0.0], [0.7, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.2]
FILTER = {"must": [{"key": "a", "match": {"value": 1}}]}
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
    ("PUT", "/collections/d", {"vectors": {"one": {"size": 4}, "two": {"size": 4}}}, 400, "one dense vector"),
    ("PUT", "/collections/d", {"sparse_vectors": {"words": {}}}, 400, "one dense vector"),
    ("PUT", "/collections/d", {"vectors": {"size": 4}, "sparse_vectors": {"": {}}}, 400, "one dense vector"),
    ("PUT", "/collections/d", {"vectors": {"size": 4}, "sparse_vectors": {"words": {"modifier": "tf"}}}, 400, "`idf` or `none`"),
    ("PUT", "/collections/d", {"vectors": {"size": 4}, "metadata": {"a": 1}}, 400, "`metadata`"),
    ("PUT", "/collections/d", {"vectors": {"size": 0}}, 400, "vector size of 0"),
    ("PUT", "/collections/c/points", {}, 400, "`points` must be a list"),
    ("PUT", "/collections/c/points", {"points": [{"id": "x", "vector": NEAR}]}, 400, "no point id"),
    ("PUT", "/collections/c/points", {"points": [{"id": -1, "vector": NEAR}]}, 400, "no point id"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1.0]}]}, 400, "has 1 numbers"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": "text"}]}, 400, "list of numbers"),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": {"x": NEAR}}]}, 400, "no vector named x"),
    ("PUT", "/collections/c/points", {"batch": {"ids": [1, 2], "vectors": [NEAR]}}, 400, "columns of other lengths"),
    ("POST", "/collections/c/points/query", {"query": "text"}, 400, "no point id"),
    ("POST", "/collections/c/points/query", {"query": [[1.0]]}, 400, "list of numbers"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "using": "words"}, 400, "not supported"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "params": {"quantization": {"rescore": True}}}, 400, "`quantization`"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "params": {"exact": 3}}, 400, "`exact`"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "with_payload": {"only": ["a"]}}, 400, "`with_payload`"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "with_vector": "dense"}, 400, "`with_vector`"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "score_threshold": "high"}, 400, "`score_threshold`"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "unknown": 1}, 400, "`unknown`"),
    ("POST", "/collections/c/points/query", {"query": {"rrf": {"weights": [1]}}, "prefetch": [{"query": NEAR}] * 2}, 400, "each of the 2 prefetches"),
    ("POST", "/collections/c/points/query/groups", {"query": NEAR}, 400, "`group_by`"),
    ("POST", "/collections/c/points/payload", {"payload": {"a": 1}}, 400, "needs either ids or a `where`"),
    ("POST", "/collections/c/points/payload", {"payload": {"a": 1}, "points": [1], "filter": FILTER}, 400, "not by both"),
    ("POST", "/collections/c/points/payload", {"payload": {"a": 1}, "points": [1], "key": "a[0]"}, 400, "no payload field"),
    ("POST", "/collections/c/points/payload/delete", {"keys": ["a b"], "points": [1]}, 400, "no payload field"),
    ("POST", "/collections/c/points/vectors/delete", {"vector": ["x"], "points": [1]}, 400, "no vector named x"),
    ("POST", "/collections/c/points/batch", {"operations": [{"drop": {}}]}, 400, "is not supported"),
    ("PUT", "/collections/c/snapshots/recover", {"location": 5}, 400, "`location`"),
    ("PUT", "/collections/c/snapshots/recover", {"location": "http://[::1"}, 400, "no snapshot of this port"),
    ("POST", "/collections/c/snapshots/upload", None, 400, "uploaded as a form"),
    ("GET", "/collections/c/snapshots/..%2f..%2fstore.lock", None, 404, "no route of this port"),
    ("GET", "/snapshots/x.snapshot", None, 404, "no snapshot x.snapshot of all collections"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "limit": 0.5}, 400, "limit of 0.5"),
    ("POST", "/collections/c/points/query", {"query": {"fusion": "dbsf"}, "prefetch": [{"query": NEAR}]}, 400, "rank fusion"),
    ("POST", "/collections/c/points/query", {"query": NEAR, "filter": {"must": [{"key": "a", "match": {"value": 1.5}}]}}, 400, "cannot be compared"),
    ("POST", "/collections/c/points/count", {"filter": {"must": [{"key": "a", "range": {"gt": "2024-01-01"}}]}}, 400, "not supported"),
    ("POST", "/collections/c/points/count", {"filter": {"must": [{"key": "a", "match": {"text": "x"}}]}}, 400, "not supported"),
    ("POST", "/collections/c/points/count", {"filter": {"must": [{"is_empty": {}}]}}, 400, "not supported"),
    ("POST", "/collections/c/points/count", {"filter": {"any": []}}, 400, "not supported"),
    ("POST", "/collections/c/points/delete", {}, 400, "needs either ids or a `where`"),
    ("POST", "/collections/c/points/query", [], 422, "dictionary"),
])
def test_a_request_that_cannot_be_served_says_why(plain, store, method, path, body, status, reason):
    store.create("c", 4)
    answer = plain.request(method, path, json=body)
    told = answer.json()
    assert answer.status_code == status and reason in told["error"]["message"] == told["status"]["error"]


def test_the_root_names_a_version_and_the_probes_follow_the_store(plain, store):
    assert plain.get("/").json()["version"].count(".") == 2
    assert plain.get("/healthz").status_code == plain.get("/livez").status_code == plain.get("/readyz").status_code == 200
    store.close()
    answer = plain.get("/readyz")
    assert answer.status_code == 503 and answer.headers["Retry-After"] and "was closed" in answer.json()["reasons"][0]
    assert plain.get("/healthz").status_code == 200 and plain.get("/collections").status_code == 503


def test_an_upload_is_read_whatever_else_the_form_holds_and_in_any_pieces(plain, store):
    store.create("c", 4)
    store.upsert("c", [Point("a", NEAR), Point("b", FAR)])
    content = store.snapshots.path("c", store.snapshots.create("c").name).read_bytes()
    form = {"other": b"x" * 5000, "snapshot": ("any name", content), "last": b"y"}
    request = plain.build_request("POST", "/collections/d/snapshots/upload", files=form)
    body = b"".join(request.stream)
    answer = plain.post("/collections/d/snapshots/upload", content=(body[at:at + 4093] for at in range(0, len(body), 4093)), headers={"Content-Type": request.headers["Content-Type"]})
    assert answer.json()["result"] is True and store.count("d") == 2
    for broken, reason in ((body[:-20], "has no end"), (body[:len(body) // 2], "has no end"), (b"--nonsense", "is broken")):
        answer = plain.post("/collections/e/snapshots/upload", content=broken, headers={"Content-Type": request.headers["Content-Type"]})
        assert answer.status_code == 400 and reason in answer.json()["status"]["error"]
    answer = plain.post("/collections/e/snapshots/upload", files={"file": content})
    assert answer.status_code == 400 and "no file named `snapshot`" in answer.json()["status"]["error"]
    assert list(store.snapshots.folder.rglob("*.part")) == [] and [info.name for info in store.collections()] == ["c", "d"]


def test_a_store_that_is_a_server_sends_for_snapshots_there(store):
    api = app(MemoryStore())
    add_problems(api)
    sock, servers = serve.bind("127.0.0.1", 0, "qdrant"), serve.HttpServers()
    servers.start({"qdrant": (sock, api)})
    try:
        answer = httpx.post(f"http://127.0.0.1:{sock.getsockname()[1]}/collections/c/snapshots", trust_env=False)
        assert answer.status_code == 400 and "at QDRANT_URL" in answer.json()["status"]["error"]
    finally:
        servers.stop()


NESTED = {"must": [FILTER, {"has_id": [1]}], "should": [{"key": "a", "range": {"gt": 1, "lte": 2.5}}, {"key": "b", "match": {"any": ["x"]}}],
          "must_not": [{"key": "b", "match": {"except": [1]}}, {"is_empty": {"key": "c"}}, {"is_null": {"key": "c"}}, {"key": "c", "is_null": True}]}
SEARCH = {"query": {"rrf": {"k": 3, "weights": [1, 2.5]}}, "limit": 2, "offset": 0, "with_payload": {"include": ["a.b"]}, "with_vector": ["dense"],
          "score_threshold": 0.1, "prefetch": [{"query": NEAR, "using": "dense", "params": {"hnsw_ef": 9, "exact": False}, "filter": NESTED, "limit": 2},
                                               {"query": {"nearest": {"indices": [1], "values": [1.0]}}, "using": "words", "score_threshold": 1}]}
BODIES = [
    ("PUT", "/collections/e", {"vectors": {"a": {"size": 4, "distance": "Dot", "datatype": "float32"}}, "sparse_vectors": {"b": {"modifier": "idf", "index": {"on_disk": True}}},
                               "hnsw_config": {"m": 16}, "shard_number": 1, "on_disk_payload": True, "strict_mode_config": {"enabled": False}}),
    ("PUT", "/collections/c/index", {"field_name": "a", "field_schema": {"type": "integer"}}),
    ("POST", "/collections/c/points/query", SEARCH), ("POST", "/collections/c/points/query", {"query": 1, "using": "dense"}),
    ("POST", "/collections/c/points/query/groups", {"query": NEAR, "group_by": "a", "group_size": 2, "limit": 2}),
    ("POST", "/collections/c/points/query/batch", {"searches": [{"query": NEAR}]}),
    ("POST", "/collections/c/points/scroll", {"filter": NESTED, "limit": 2, "offset": 1, "with_payload": ["a"], "with_vector": True}),
    ("POST", "/collections/c/points/payload", {"payload": {"a": {"b": 1}}, "points": [1], "key": "a.b"}),
    ("PUT", "/collections/c/points/payload", {"payload": {"a": 1}, "filter": FILTER}),
    ("POST", "/collections/c/points/payload/delete", {"keys": ["a.b"], "points": [1]}), ("POST", "/collections/c/points/payload/clear", {"points": [2]}),
    ("PUT", "/collections/c/points/vectors", {"points": [{"id": 1, "vector": {"dense": NEAR}}]}),
    ("POST", "/collections/c/points/vectors/delete", {"points": [1], "vector": ["words"]}),
    ("POST", "/collections/c/points/batch", {"operations": [{"set_payload": {"payload": {"a": 1}, "points": [1]}}]}),
    ("PUT", "/collections/c/snapshots/recover", {"location": "file:///x", "checksum": "0", "priority": "snapshot"}),
]


def test_a_wrong_value_in_any_place_of_a_body_is_refused_or_served(plain, store):
    store.create("c", 4)
    store.upsert("c", [Point(str(uuid.UUID(int=0x5EED_0000_0000_4000 << 64 | number)), NEAR, {1: 1.0}, {"a": 1, "b": "x"}) for number in (1, 2)])
    for method, path, body in BODIES:
        assert plain.request(method, path, json=body).status_code == (400 if "recover" in path else 200), (path, plain.request(method, path, json=body).text)
        for place in places(body):
            for value in WRONG:
                answer = plain.request(method, path, content=json.dumps(replaced(body, place, value)).encode(), headers={"Content-Type": "application/json"})
                assert answer.status_code < 500, (path, place, value, answer.text)
    assert store.deep().ok
