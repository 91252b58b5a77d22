"""Whatever is sent to a route of a running stack is answered: never a 500, and every part is as healthy afterwards as before."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite import bench as benches
from suite.http.apps import apps
from suite.http.guard import OPEN_PATHS

TURN = {"user_query": "a", "ai_response": "b", "model_used": "m", "alias": "a", "session_id": "s", "tags": ["t"], "importance": 3, "project_id": "p",
        "token_count": 1, "response_time_ms": 1.5, "seconds": 1.5, "context": {"user_saved": True, "a": [1]}, "saved": False, "important": True,
        "supersedes": "", "valid_from": 1.0}
NARROWED = {"project_id": "p", "tags": ["t"], "importance_min": 1, "since": 1.0, "until": "2999-01-01", "at": 2e9, "kind": "turn", "session_id": "s",
            "favourite": False, "limit": 2, "offset": 0}
FILTER = {"must": [{"key": "a", "match": {"value": 1}}]}
SPARSE = {"indices": [1], "values": [1.0]}
SAMPLED = {"max_tokens": 1, "temperature": 0.5, "top_p": 0.5, "seed": 1, "stop": ["x"], "n": 1, "logit_bias": {"5": 1}, "presence_penalty": 0.1}
CHAT = {"messages": [{"role": "user", "content": "hi"}], **SAMPLED, "logprobs": True, "top_logprobs": 2, "stream_options": {"include_usage": True}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": ["x"]}}}}}
FORMED = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}}}}
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("api-gateway", "POST /v1/chat/completions", {**CHAT, "model": "auto"}),
    ("api-gateway", "POST /v1/completions", {"prompt": "hi", **SAMPLED, "model": "auto", "stream": True}),
    ("api-gateway", "POST /v1/embeddings", {"input": ["a"], "model": "minilm", "encoding_format": "base64", "dimensions": 384}),
    ("inference-chat", "POST /v1/chat/completions", CHAT),
    ("inference-chat", "POST /v1/chat/completions", {**CHAT, "stream": True}),
    ("inference-chat", "POST /v1/chat/completions", {"messages": CHAT["messages"], "max_tokens": 9, "response_format": FORMED}),
    ("inference-chat", "POST /v1/chat/completions", {"messages": CHAT["messages"], "max_tokens": 9, "tools": [TOOL], "tool_choice": "required"}),
    ("inference-chat", "POST /v1/chat/completions", {"messages": CHAT["messages"], "max_tokens": 9, "grammar": 'root ::= "a"'}),
    ("inference-chat", "POST /v1/completions", {"prompt": ["hi"], **SAMPLED, "logprobs": 1, "echo": False, "best_of": 1}),
    ("inference-code", "POST /infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": 1, "cache_prompt": True}),
    ("inference-chat", "POST /tokenize", {"content": "a", "add_special": False, "with_pieces": True}),
    ("inference-chat", "POST /detokenize", {"tokens": [5, 6]}),
    ("embedding", "POST /embed", {"texts": ["a"]}),
    ("embedding", "POST /v1/embeddings", {"input": "a", "model": "minilm"}),
    ("rag", "POST /index", {"collection": "c", "paths": ["/nowhere/at-all.md"]}),
    ("rag", "POST /query", {"query": "hi", "collection": "c", "topk": 1}),
    ("rag", "POST /collections/c/search", {"query": "x", "topk": 2}),
    ("memory-api", "POST /v1/memory/conversations", TURN),
    ("memory-api", "POST /v1/memory/conversations/search", {**NARROWED, "query": "a", "how": "words", "use_vector_search": True, "use_vector": True}),
    ("memory-api", "POST /v1/memory/search", NARROWED),
    ("memory-api", "POST /v1/memory/turns", {**NARROWED, "order": "newest"}),
    ("memory-api", "POST /v1/memory/notes", {"text": "a", "kind": "fact", "tags": ["t"], "about": "b", "source": "c", "importance": 3, "valid_from": 1.0,
                                             "project_id": "p"}),
    ("memory-api", "PATCH /v1/memory/conversations/TURN", {"user_query": "a", "ai_response": "b", "tags": ["t"], "importance": 3, "favourite": True,
                                                           "valid_until": 4e9}),
    ("memory-api", "POST /v1/memory/projects", {"name": "q", "path": ""}),
    ("memory-api", "POST /v1/memory/projects/join", {"id": "j", "name": "J", "path": "/x"}),
    ("memory-api", "POST /v1/memory/sync", {"sync_type": "vectors", "batch_size": 2, "project_path": "/x"}),
    ("memory-api", "POST /v1/memory/expire", {"now": 1.0}),
    ("memory-api", "POST /v1/memory/backup", {"backup_type": "xml", "project_id": "p"}),
    ("memory-api", "POST /v1/memory/projects/p/cleanup", {}),
    ("memory-api", "POST /v1/memory/import", {"format": "local-ai-suite memory", "version": 1, "project": "p", "name": "", "created": 1.0}),
    ("mcp-server", "POST /tools/read_file/call", {"path": "x"}),
    ("mcp-server", "POST /tools/list_files/call", {"arguments": {"path": "."}}),
    ("mcp-server", "POST /mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_file", "arguments": {"path": "x"}}}),
    ("qdrant", "PUT /collections/other", {"vectors": {"dense": {"size": 4, "distance": "Cosine"}}, "sparse_vectors": {"words": {}}}),
    ("qdrant", "PUT /collections/q/points", {"points": [{"id": 1, "vector": {"dense": [1, 0], "words": SPARSE}, "payload": {"a": 1}}]}),
    ("qdrant", "PUT /collections/q/points", {"batch": {"ids": [1], "vectors": [[1, 0]], "payloads": [{}]}}),
    ("qdrant", "POST /collections/q/points", {"ids": [1], "with_payload": ["a"], "with_vector": True}),
    ("qdrant", "POST /collections/q/points/delete", {"filter": FILTER}),
    ("qdrant", "POST /collections/q/points/delete", {"points": [7]}),
    ("qdrant", "POST /collections/q/points/count", {"filter": FILTER}),
    ("qdrant", "POST /collections/q/points/scroll", {"filter": FILTER, "limit": 2, "offset": 1, "with_payload": True, "with_vector": False}),
    ("qdrant", "POST /collections/q/points/query", {"query": [1, 0], "limit": 2, "offset": 0, "using": "dense", "filter": FILTER, "score_threshold": 0.1}),
    ("qdrant", "POST /collections/q/points/query", {"query": SPARSE, "using": "words"}),
    ("qdrant", "POST /collections/q/points/query", {"query": {"rrf": {"k": 2}}, "prefetch": [{"query": [1, 0], "limit": 2}], "limit": 2}),
    ("qdrant", "POST /collections/q/points/query/batch", {"searches": [{"query": [1, 0], "limit": 2}]}),
]
PAGE = {"/", "/login", "/dashboard.js", "/dashboard.css"}  # the form that asks for the token, and what the page is drawn with: files without numbers
DEEP = "[" * 5000 + "]" * 5000
RAW = [b"", b"{", b"null", b"[]", b"NaN", b"\xff\xfe\xfa", b'{"a":"\xff"}', DEEP.encode(), b'{"messages":' + DEEP.encode() + b"}", b"1" * 5000]
TYPES = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=utf-16"]
WRONG = [None, True, 0, -1, 1.5, 2**31, 2**64, 2**200, float("nan"), float("inf"), 1e308, "", "x", "\x00", "\ud800", [], {}, [None], [[]], [{}], ["x"], {"x": [1]}]
values = st.sampled_from(WRONG) | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
                                               | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


@pytest.fixture(scope="module")
def stack(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """One real stack with one collection, and its target."""
    with benches.throwaway(models_dir=str(models_dir), workspace_dir=str(tmp_path_factory.mktemp("work"))) as (stack, target):
        stack.store.create("q", 2, "Cosine")
        stack.memory.create_project("p")
        turn = stack.memory.remember("a", "b", project="p").id
        BODIES[:] = [(part, route.replace("TURN", turn), body) for part, route, body in BODIES]
        yield stack, target


@pytest.fixture(scope="module")
def send(stack: tuple[Any, Any]) -> Iterator[Any]:
    _, target = stack
    trusted = {"Authorization": f"Bearer {target.token}", "Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    with httpx.Client(headers=trusted, timeout=60, trust_env=False) as client:
        def sent(part: str, route: str, content: bytes, **headers: str) -> httpx.Response:
            method, path = route.split(" ")
            return client.request(method, target.urls[part] + path, content=content, headers=headers)

        yield sent


@pytest.fixture(scope="module", autouse=True)
def healthy_before_and_after(stack: tuple[Any, Any]) -> Iterator[None]:
    yield
    running, _ = stack
    assert [part["name"] for part in running.status()["parts"] if not part["ready"]] == []
    assert [(name, part.deep().reasons) for name, part in running.parts.items() if not part.deep().ok] == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body, the whole of it first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*path, key))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    body = copy.deepcopy(body)
    inside = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return body


def test_openais_bodies_are_served_before_anything_in_them_is_wrong(send: Any) -> None:
    for part, route, body in BODIES:
        if part in ("api-gateway", "inference-chat", "embedding"):
            answer = send(part, route, json.dumps(body).encode())
            assert answer.status_code == 200, (part, route, answer.text)


def test_a_wrong_value_in_any_place_of_any_body_is_an_answer_of_ours(send: Any) -> None:
    @given(case=st.sampled_from([(part, route, body, place) for part, route, body in BODIES for place in places(body)]), value=values)
    @settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def fuzz(case: tuple[str, str, dict[str, Any], tuple[Any, ...]], value: Any) -> None:
        part, route, body, place = case
        answer = send(part, route, json.dumps(replaced(body, place, value)).encode())
        assert answer.status_code < 500, (part, route, place, value, answer.text)

    fuzz()


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
def test_a_wrong_value_in_every_place_of_qdrants_and_memorys_bodies_is_refused_or_served(send: Any, value: Any) -> None:
    for part, route, body in BODIES:
        for place in places(body) if part in ("qdrant", "memory-api") else ():
            answer = send(part, route, json.dumps(replaced(body, place, value)).encode())
            assert answer.status_code < 500, (route, place, answer.text)


def test_what_is_no_json_or_of_another_type_is_refused(send: Any) -> None:
    for part, route, body in BODIES:
        for content in RAW:
            answer = send(part, route, content)
            assert answer.status_code < 500, (part, route, content[:20], answer.text)
        for kind in TYPES:
            answer = send(part, route, json.dumps(body).encode(), **{"Content-Type": kind})
            assert answer.status_code < 500, (part, route, kind, answer.text)


@pytest.mark.parametrize(("part", "route", "body", "place"), [
    ("api-gateway", "POST /v1/chat/completions", CHAT, ("messages", 0, "content")), ("inference-chat", "POST /tokenize", {"content": "a"}, ("content",)),
    ("inference-chat", "POST /v1/completions", {"prompt": "a"}, ("prompt",)), ("embedding", "POST /v1/embeddings", {"input": "a"}, ("input",)), ("embedding", "POST /embed", {"texts": ["a"]}, ("texts", 0)),
    ("memory-api", "POST /v1/memory/conversations/search", {"query": "a"}, ("query",)), ("rag", "POST /query", {"query": "a"}, ("query",)),
    ("mcp-server", "POST /tools/read_file/call", {"path": "x"}, ("path",)),
])
def test_ten_megabytes_of_text_are_answered(send: Any, part: str, route: str, body: dict[str, Any], place: tuple[Any, ...]) -> None:
    answer = send(part, route, json.dumps(replaced(body, place, "long " * 2_000_000)).encode())
    assert answer.status_code < 500, answer.text[:300]


@pytest.mark.parametrize("origin", ["http://[::1", "http://evil.example", "null", "\x7f", "https://127.0.0.1"])
def test_an_origin_of_any_kind_is_refused_not_failed(stack: tuple[Any, Any], origin: str) -> None:
    for url in stack[1].urls.values():
        assert httpx.get(url + "/health", headers={"Origin": origin}, trust_env=False).status_code == 403


def test_every_route_of_every_port_needs_the_token(stack: tuple[Any, Any]) -> None:
    running, target = stack
    with httpx.Client(trust_env=False) as client:
        for part, guarded in apps(running).items():
            for route in guarded.app.app.routes:
                for method in getattr(route, "methods", None) or {"GET", "POST"}:
                    for token in ("", "Bearer " + "0" * 64, f"Basic {target.token}"):
                        answer = client.request(method, target.urls[part] + route.path, headers={"Authorization": token})
                        open_here = OPEN_PATHS | PAGE if part == "dashboard" else OPEN_PATHS
                        assert answer.status_code == 401 or route.path in open_here, (part, method, route.path, answer.status_code)
            for path in ("/docs", "/openapi.json", "/redoc", "/health/", "//health", "/health/../live", "/metrics/x", "/no/such/route"):
                assert client.get(target.urls[part] + path).status_code == 401, (part, path)
