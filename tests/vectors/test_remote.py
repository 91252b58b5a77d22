"""The store for servers: what goes wrong between us and a server, and copies of its collections."""

import json

import pytest
from clusters import SIZE, clustered
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from qdrant_client import QdrantClient, models

from suite.errors import BadRequest, Denied, NotReady, StorageError
from suite.http import serve
from suite.settings import load
from suite.vectors.part import open_store
from suite.vectors.remote import RemoteStore, connect

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


def test_the_settings_choose_the_server(our_port, edge_store, tmp_path):
    store = open_store(load({"data_dir": tmp_path, "qdrant_url": our_port}, environ={}, cwd=tmp_path), tmp_path / "unused")
    store.create("c", SIZE)
    store.upsert("c", clustered(10))
    assert edge_store.count("c") == 10 and not (tmp_path / "unused").exists() and store.ready().facts["url"] == our_port
    store.close()


def test_a_server_that_is_not_there_makes_the_part_not_ready():
    store = connect("http://127.0.0.1:9", 2)
    state = store.ready()
    assert store.live().ok and not state.ok and "http://127.0.0.1:9" in state.reasons[0] and "QDRANT_URL" in state.reasons[0]
    with pytest.raises(NotReady, match="does not answer") as caught:
        store.create("c", 4)
    assert caught.value.facts["part"] == "qdrant"
    store.close()


@pytest.mark.parametrize(("status", "error"), [(401, Denied), (403, Denied), (503, NotReady), (429, NotReady), (400, BadRequest),
                                               (500, StorageError)])
def test_each_refusal_of_a_server_becomes_the_error_that_fits(status, error):
    api = FastAPI()

    @api.get("/{path:path}")
    def refuse(path: str) -> JSONResponse:
        return JSONResponse({"status": {"error": "the reason"}}, status)

    sock, servers = serve.bind("127.0.0.1", 0, "qdrant"), serve.HttpServers()
    servers.start({"qdrant": (sock, api)})
    store = connect(f"http://127.0.0.1:{sock.getsockname()[1]}", 5)
    try:
        with pytest.raises(error, match="the reason"):
            store.collections()
    finally:
        store.close()
        servers.stop()


def test_a_collection_of_another_program_is_left_out_and_not_touched():
    client = QdrantClient(":memory:")
    client.create_collection("theirs", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    store = RemoteStore(client, "memory")
    store.create("ours", 4)
    assert [info.name for info in store.collections()] == ["ours"]
    with pytest.raises(BadRequest, match="is not ours"):
        store.count("theirs")
    with pytest.raises(BadRequest, match="is not ours"):
        store.create("theirs", 4)
    store.close()


def test_a_copy_holds_every_point_of_every_collection(our_port, tmp_path):
    store = connect(our_port, 10)
    store.create("c", SIZE)
    store.upsert("c", clustered(30))
    store.copy_to(tmp_path / "copy")
    lines = [json.loads(line) for line in (tmp_path / "copy" / "c.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"name": "c", "size": SIZE, "distance": "Cosine"}
    assert {row["id"] for row in lines[1:]} == {point.id for point in clustered(30)} and all(len(row["vector"]) == SIZE for row in lines[1:])
    store.close()
