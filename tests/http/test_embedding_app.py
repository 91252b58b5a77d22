"""Port 8003, and the same embedder as a guest sees it."""

import base64

import httpx
import numpy as np
import pytest

from suite.embedding.embed import Embedder
from suite.errors import BadRequest, NotReady, from_dict
from suite.http import serve
from suite.http.embedding import app
from suite.http.problem import add_problems
from suite.http.remote_embedding import RemoteEmbedder
from suite.settings import load

TEXTS = ["The backup runs at three.", "백업은 세 시에 돕니다.", ""]


def raise_ours(response: httpx.Response) -> None:
    """What a guest's client does: an error of the host is raised as what it was."""
    if response.is_error:
        response.read()
        raise from_dict(response.json(), response.status_code)


def serving(part):
    api = app(part)
    add_problems(api)
    sock, servers = serve.bind("127.0.0.1", 0, "embedding"), serve.HttpServers()
    servers.start({"embedding": (sock, api)})
    return servers, f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture(scope="module")
def embedder(models_dir, tmp_path_factory):
    place = tmp_path_factory.mktemp("embedding-app")
    settings = load({"data_dir": place, "embedding_max_texts": 8, "embedding_max_chars": 100}, environ={}, cwd=place)
    part = Embedder(settings, models_dir, place / "cache")
    part.start()
    yield part
    part.close()


@pytest.fixture(scope="module")
def url(embedder):
    servers, url = serving(embedder)
    yield url
    servers.stop()


@pytest.fixture
def plain(url):
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def remote(url):
    with httpx.Client(base_url=url, event_hooks={"response": [raise_ours]}) as client:
        yield RemoteEmbedder(client)


def test_texts_are_answered_with_their_vectors_model_and_dimension(plain):
    answer = plain.post("/embed", json={"texts": TEXTS}).json()
    assert (answer["model"], answer["dim"], answer["normalize"]) == ("minilm", 384, True)
    assert np.allclose(np.linalg.norm(answer["embeddings"], axis=1), 1, atol=1e-5) and len(answer["embeddings"]) == 3


def test_no_texts_are_answered_with_no_vectors(plain):
    assert plain.post("/embed", json={"texts": []}).json() == {"embeddings": [], "model": "minilm", "dim": 384, "normalize": True}


@pytest.mark.parametrize("body", [{}, {"texts": "a"}, {"texts": [1]}, {"texts": [None]}, {"texts": ["a"], "model": "other"}, {"texts": ["a"], "kind": 1}])
def test_a_body_of_another_shape_is_a_422(plain, body):
    answer = plain.post("/embed", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["type"] == "BadRequest"


@pytest.mark.parametrize(("texts", "limit"), [(["a"] * 9, "EMBEDDING_MAX_TEXTS is 8"), (["a" * 101], "EMBEDDING_MAX_CHARS is 100")])
def test_more_than_the_limit_is_a_400_that_names_it(plain, texts, limit):
    answer = plain.post("/embed", json={"texts": texts})
    assert answer.status_code == 400 and limit in answer.json()["error"]["message"]


def test_another_kind_of_text_is_a_400_that_names_the_kinds(plain):
    answer = plain.post("/embed", json={"texts": ["a"], "kind": "document"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "kind" and "passage, query" in answer.json()["error"]["message"]


def test_the_kind_reaches_the_model_from_a_plain_client_and_from_a_guest(plain, remote, embedder, monkeypatch):
    asked, embed = [], embedder.embed
    monkeypatch.setattr(embedder, "embed", lambda texts, kind="passage": asked.append(kind) or embed(texts, kind))
    plain.post("/embed", json={"texts": ["a"]})
    plain.post("/embed", json={"texts": ["a"], "kind": "query"})
    remote.embed(["a"])
    remote.embed(["a"], "query")
    remote.embed(["a"], kind="query")
    plain.post("/v1/embeddings", json={"input": "a"})  # OpenAI knows no kinds
    assert asked == ["passage", "query", "passage", "query", "query", "passage"]


def test_a_text_of_too_many_tokens_is_a_400_on_either_route_and_for_a_guest(models_dir, tmp_path):
    part = Embedder(load({"data_dir": tmp_path}, environ={}, cwd=tmp_path), models_dir, tmp_path / "cache")
    part.start()
    servers, url = serving(part)
    try:
        with httpx.Client(base_url=url, event_hooks={"response": [raise_ours]}) as client:
            for ask in (lambda: RemoteEmbedder(client).embed(["a", "the " * 600]), lambda: client.post("/v1/embeddings", json={"input": ["a", "the " * 600]})):
                with pytest.raises(BadRequest, match=r"texts\[1\] has 602 tokens but minilm reads 512 at most") as caught:
                    ask()
                assert caught.value.facts["tokens"] == 602
    finally:
        servers.stop()
        part.close()


def test_prewarming_embeds_a_text(plain):
    assert plain.post("/prewarm").json() == {"ok": True, "model": "minilm", "dim": 384}


def test_openais_route_gives_the_same_vectors_as_numbers_or_packed(plain, embedder):
    known = embedder.embed(TEXTS)
    body = plain.post("/v1/embeddings", json={"input": TEXTS, "model": "minilm", "dimensions": 384}).json()
    assert body["object"] == "list" and body["model"] == "minilm" and [row["index"] for row in body["data"]] == [0, 1, 2]
    assert np.array_equal(np.array([row["embedding"] for row in body["data"]], np.float32), known)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == embedder.count(TEXTS) > len(TEXTS[0].split()) + len(TEXTS[1].split())
    packed = plain.post("/v1/embeddings", json={"input": TEXTS[0], "encoding_format": "base64"}).json()["data"]
    assert len(packed) == 1 and np.allclose(np.frombuffer(base64.b64decode(packed[0]["embedding"]), "<f4"), known[0], atol=1e-6)
    assert plain.get("/v1/models").json()["data"][0]["id"] == "minilm" and plain.get("/v1/models/minilm").json()["dim"] == 384


@pytest.mark.parametrize(("body", "status", "param"), [
    ({}, 400, "input"), ({"input": []}, 400, "input"), ({"input": [1, 2]}, 400, "input"), ({"input": [[1, 2]]}, 400, "input"), ({"input": None}, 400, "input"),
    ({"input": "a", "dimensions": 100}, 400, "dimensions"), ({"input": "a", "dimensions": True}, 400, "dimensions"),
    ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format"), ({"input": "a", "model": 1}, 400, "model"),
    ({"input": "a", "model": "text-embedding-3-small"}, 404, "model"), ({"input": ["a"] * 9}, 400, "texts"),
])
def test_what_openais_route_cannot_embed_is_refused_by_name(plain, body, status, param):
    answer = plain.post("/v1/embeddings", json=body)
    assert answer.status_code == status and answer.json()["error"]["param"] == param


def test_a_guest_gets_exactly_the_vectors_of_the_host(remote, embedder):
    for texts in (TEXTS, []):
        found = remote.embed(texts)
        assert found.dtype == np.float32 and found.shape == (len(texts), 384) and np.array_equal(found, embedder.embed(texts))


def test_a_guest_knows_the_model_and_its_languages(remote, embedder):
    assert remote.model == embedder.model
    for text in ("When does the backup run?", "백업은 몇 시에 도나요?", "12"):
        assert remote.reads(text) == embedder.reads(text)


@pytest.mark.parametrize(("texts", "kind"), [("text", "passage"), ([1], "passage"), (["a"] * 9, "passage"), (["a" * 101], "passage"), (["\ud800"], "passage"),
                                             (["a"], "document")])
def test_a_guest_gets_the_refusals_of_the_host(remote, embedder, texts, kind):
    for part in (remote, embedder):
        with pytest.raises(BadRequest):
            part.embed(texts, kind)


def test_a_part_without_weights_is_a_503_with_the_time_to_wait(tmp_path):
    part = Embedder(load({"data_dir": tmp_path}, environ={}, cwd=tmp_path), tmp_path / "models", tmp_path / "cache", pip_options=("--no-index",))
    part.start()
    servers, url = serving(part)
    try:
        with httpx.Client(base_url=url) as client:
            answer = client.post("/embed", json={"texts": ["a"]})
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "10" and "suite models pull minilm" in answer.text
        with httpx.Client(base_url=url, event_hooks={"response": [raise_ours]}) as client, pytest.raises(NotReady, match="suite models pull"):
            RemoteEmbedder(client).embed(["a"])
    finally:
        servers.stop()
