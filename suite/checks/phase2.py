"""Phase 2: the nine parts, each asked from outside for the work it is there for."""

from __future__ import annotations

import math
import time
from typing import Any

import httpx

from suite.checks import fault
from suite.checks.check import Check, Observation
from suite.checks.target import NINE, ExpectedModel, Target
from suite.checks.trace import MARK, fixture, marker, vectors_of
from suite.errors import UpstreamError

ASK = "Name three colours."


def _asked(seen: Observation, target: Target, part: str, *ready_paths: str) -> None:
    """The two questions every part answers for itself: would it serve now, and does it do its work."""
    seen.values["ready"], why = target.ready(part, *ready_paths)
    if why:
        seen.note("ready", reasons=why)
    seen.values["deep"], why = target.deep(part)
    if not seen.values["deep"]:
        seen.note("deep", reasons=why)


def start_of_stack(target: Target, seen: Observation) -> None:
    """P2.1, from the record that the host kept of its own start."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack keeps no record of its start (its gateway has no GET /v1/parts), so nobody can say how long its parts took"
        return
    parts = {part["name"]: part for part in record["parts"]}
    waits = {name: _wait(part) for name, part in parts.items()}
    known = [wait for wait in waits.values() if wait is not None]
    silent = [part for part in target.urls if not _answers(target, part)]
    seen.values = {
        "parts_missing": len(set(NINE) - parts.keys()),
        "parts_not_live": sum(not part["live"] for part in parts.values()),
        "parts_not_ready": sum(not part["ready"] for part in parts.values()) + len(silent),
        "slowest_part": max(known) if len(known) == len(parts) and known else None,
        "restarts": sum(part["restarts"] for part in parts.values()),
        "heartbeat_age": parts.get("memory-maintainer", {}).get("heartbeat_age_s"),
    }
    for name, part in parts.items():
        seen.note("part", part=name, live=part["live"], ready=part["ready"], start_to_ready_s=waits[name], reasons=part["reasons"])
    if silent:
        seen.note("silent ports", parts=silent)
    seen.note("host", **{key: record["host"].get(key) for key in ("id", "profile", "stage", "commit", "version", "started_at")})
    _smoke(seen, bool(record["host"].get("smoke")))


def tools(target: Target, seen: Observation) -> None:
    """P2.2: one call allowed, one denied, both in the audit trail."""
    arguments, stranger = {"path": "."}, f"nobody_{marker()}"
    _asked(seen, target, "mcp-server")
    path = "/tools/list_files/call"
    first = _told(target.call("POST", "mcp-server", path, json=arguments))
    denied = target.call("POST", "mcp-server", path, json=arguments, headers={"X-Actor": stranger, "X-User-ID": stranger})
    last = _told(target.call("POST", "mcp-server", path, json=arguments))
    seen.values |= {"allowed_call": _decision(first), "denied_call": denied.status_code}
    entries = (first.get("audit_seq"), last.get("audit_seq"))
    seen.values["audit_entries"] = entries[1] - entries[0] if all(isinstance(entry, int) for entry in entries) else _absent(target)
    naked = target.call("POST", "mcp-server", path, json=arguments, headers={"Authorization": "Bearer wrong"})
    seen.values["wrong_token"] = None if target.foreign else naked.status_code  # the original asks for no token at all
    seen.note("calls", allowed=first.get("decision") or first.get("error"), denied=denied.text[:300])


def gateway(target: Target, seen: Observation) -> None:
    """P2.3: every alias is listed, answers itself (not by its stand-in), and no upstream is out."""
    _asked(seen, target, "api-gateway")
    listed = [entry["id"] for entry in target.json("GET", "api-gateway", "/v1/models")["data"]]
    asked = [*target.aliases, *(name for name in listed if name not in target.aliases)]
    silent, stand_ins, smoke = [], [], False
    for alias in asked:
        body = _complete(target, "api-gateway", alias, tokens=8)
        suite = body.get("suite") or {}
        text = body["choices"][0]["message"]["content"] or ""
        smoke = smoke or bool(suite.get("smoke"))
        if not text or not body.get("usage", {}).get("completion_tokens"):
            silent.append(alias)
        if suite.get("fallback"):
            stand_ins.append(alias)
        seen.note("reply", alias=alias, text=text[:80], tokens=body.get("usage", {}).get("completion_tokens"), why=suite.get("why"))
    health = _told(target.call("GET", "api-gateway", "/health"))
    out = health.get("reasons") or health.get("unhealthy_endpoints") or []
    seen.values |= {"aliases_missing": len(set(target.aliases) - set(listed)), "aliases_silent": len(silent), "aliases_by_stand_in": len(stand_ins),
                    "upstreams_out": len(out)}
    _smoke(seen, smoke)


def retrieval(target: Target, seen: Observation) -> None:
    """P2.4: a small document goes in, an answer cites it, and nothing stays behind."""
    name = f"{MARK}-{marker()}"
    _asked(seen, target, "rag")
    with fixture(name) as document:
        try:
            # the original's /index reads the query string, ours the body
            added = target.json("POST", "rag", "/index", json={"collection": name, "paths": [str(document.path)]},
                                params={"collection": name, "path": str(document.path)})
            seen.values["chunks"] = added.get("chunks")
            reply = target.json("POST", "rag", "/query", json={"query": document.question, "collection": name, "topk": 2})
        finally:
            target.call("DELETE", "rag", f"/collections/{name}")
        ours = [item for item in reply.get("citations") or [] if item.get("path") == str(document.path)]
        seen.values["citations"] = len(ours)
        seen.values["quotes_found"] = sum(document.holds(item["start"], item["end"], item["quote"]) for item in ours)
    seen.values["answer_length"] = len(reply.get("answer") or "")
    after = _collections(target)
    seen.values["left_behind"] = None if after is None else sum(name in entry for entry in after)
    seen.note("answer", question=document.question, text=(reply.get("answer") or "")[:200], citations=ours[:2])
    _smoke(seen, bool(reply.get("smoke") or (reply.get("suite") or {}).get("smoke")))


def embedding(target: Target, seen: Observation) -> None:
    """P2.5: the vectors themselves are measured, not what the part says of them."""
    _asked(seen, target, "embedding")
    texts = ["The backup runs at three in the morning.", "Violins are made of spruce and maple.", "The backup runs at three in the morning."]
    body = target.json("POST", "embedding", "/embed", json={"texts": texts})
    again = target.json("POST", "embedding", "/embed", json={"texts": texts[:1]})
    one, other, same = body["embeddings"]
    repeat = again["embeddings"][0]
    seen.values |= {
        "dimension": len(one) if len({len(vector) for vector in body["embeddings"]}) == 1 else None,
        "stated_dimension": body.get("dim"),
        "norm_error": max(abs(math.sqrt(math.fsum(x * x for x in vector)) - 1) for vector in body["embeddings"]),
        "repeat_distance": max(math.dist(one, same), math.dist(one, repeat)),
        "difference": math.dist(one, other),
    }
    seen.note("model", model=body.get("model"), first=one[:4])


def chat_server(target: Target, seen: Observation) -> None:
    """P2.6."""
    _server(target, seen, "inference-chat", "chat")


def code_server(target: Target, seen: Observation) -> None:
    """P2.7."""
    _server(target, seen, "inference-code", "code")


def _server(target: Target, seen: Observation, part: str, role: str) -> None:
    """One model server: the file that the profile asks for is the one that answers, and fast enough to be of use."""
    _asked(seen, target, part)
    served = target.json("GET", part, "/v1/models")["data"]
    if not served:
        seen.note("model", reason="GET /v1/models lists none: no model is loaded")
        return
    entry = served[0]
    wanted = _expected(target, role)
    seen.values["expected_model"] = _absent(target) if wanted is None else _same_model(entry, wanted)
    began = time.perf_counter()
    body = _complete(target, part, entry["id"], tokens=32)
    seconds = time.perf_counter() - began
    tokens = body["usage"]["completion_tokens"]
    seen.values |= {"tokens": tokens, "tokens_per_second": tokens / seconds, "text_length": len(body["choices"][0]["message"]["content"] or "")}
    seen.note("model", **{key: entry.get(key) for key in ("id", "path", "file", "sha256", "n_ctx", "n_gpu_layers") if key in entry})
    seen.note("expected", **(vars(wanted) if wanted else {"reason": "this stack names no profile; pass `profile` to compare its models"}))
    _smoke(seen, bool(entry.get("smoke") or (body.get("suite") or {}).get("smoke")))


def vectors(target: Target, seen: Observation) -> None:
    """P2.8: a point is written, found as the nearest, deleted; every collection has the embedder's size."""
    name, point = f"{MARK}-{marker()}", 1
    seen.values["ready"], why = target.ready("qdrant", "/readyz", "/health")
    seen.note("ready", reasons=why)
    seen.values["deep"], why = target.deep("qdrant")
    names = [row["name"] for row in target.json("GET", "qdrant", "/collections")["result"]["collections"]]
    sizes = {existing: vectors_of(target.json("GET", "qdrant", f"/collections/{existing}")) for existing in names}
    seen.values["strange_collections"] = sum(shape != (384, "Cosine") for shape in sizes.values())
    seen.note("collections", shapes={existing: list(shape) for existing, shape in sizes.items()})
    near, far = [1.0, *[0.0] * 383], [0.0, 1.0, *[0.0] * 382]
    base, query = f"/collections/{name}", {"query": near, "limit": 1, "with_payload": True}
    try:
        target.json("PUT", "qdrant", base, json={"vectors": {"size": 384, "distance": "Cosine"}})
        points = [{"id": point, "vector": near, "payload": {"probe": name}}, {"id": 2, "vector": far, "payload": {}}]
        target.json("PUT", "qdrant", f"{base}/points", params={"wait": "true"}, json={"points": points})
        hits = target.json("POST", "qdrant", f"{base}/points/query", json=query)["result"]["points"]
        seen.values["found"] = bool(hits) and hits[0]["id"] == point and (hits[0].get("payload") or {}).get("probe") == name
        target.json("POST", "qdrant", f"{base}/points/delete", params={"wait": "true"}, json={"points": [point]})
        hits = target.json("POST", "qdrant", f"{base}/points/query", json=query)["result"]["points"]
        seen.values["found_after_delete"] = any(hit["id"] == point for hit in hits)
    finally:
        target.call("DELETE", "qdrant", base)
    seen.values["left_behind"] = sum(row["name"] == name for row in target.json("GET", "qdrant", "/collections")["result"]["collections"])


def memory(target: Target, seen: Observation) -> None:
    """P2.9: a conversation is written, found by its words and by its vector, deleted, and gone."""
    word = f"{MARK}{marker()}"
    _asked(seen, target, "memory-api", "/v1/memory/health")
    health = _told(target.call("GET", "memory-api", "/v1/memory/health"))
    seen.values |= {"storage_available": health.get("storage_available"), "vector_enabled": health.get("vector_enabled")}
    body = {"user_query": f"Where does the {word} conversation of this check go?", "ai_response": f"The {word} conversation is deleted again.",
            "model_used": "release check", "importance": 1}  # the least, so that even a probe that could not be deleted expires first
    kept = target.json("POST", "memory-api", "/v1/memory/conversations", json=body)
    identity = kept.get("conversation_id")
    try:
        seen.values["found_by_words"] = identity in _recalled(target, word, by_vector=False)
        seen.values["found_by_vector"] = identity in _recalled(target, body["user_query"], by_vector=True)
    finally:
        gone = target.call("DELETE", "memory-api", f"/v1/memory/conversations/{identity}")
    seen.values["found_after_delete"] = identity in _recalled(target, word, by_vector=False) + _recalled(target, body["user_query"], by_vector=True)
    seen.note("probe", conversation=identity, project=kept.get("project_id"), delete_status=gone.status_code)


def _recalled(target: Target, query: str, by_vector: bool) -> list[Any]:
    body = {"query": query, "limit": 5, "use_vector_search": by_vector}
    if by_vector and not target.foreign:
        body["how"] = "vector"  # the original's switch means words and vectors together with us, which would prove neither
    found = target.json("POST", "memory-api", "/v1/memory/conversations/search", json=body)
    return [row.get("id", row.get("conversation_id")) for row in found["results"]]


def _complete(target: Target, part: str, model: str, tokens: int) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": ASK}], "max_tokens": tokens, "temperature": 0, "seed": 7}
    reply = target.json("POST", part, "/v1/chat/completions", json=body)
    if not reply.get("choices"):
        raise UpstreamError(f"{part} answered for {model} without choices: {str(reply)[:200]}")
    return reply


def _wait(part: dict[str, Any]) -> float | None:
    began, ready = part.get("started_s"), part.get("ready_s")
    return None if began is None or ready is None else round(ready - began, 3)


def _answers(target: Target, part: str) -> bool:
    return target.ready(part, "/health", "/readyz", "/v1/memory/health")[0]


def _told(response: httpx.Response) -> dict[str, Any]:
    """The body of an answer of any status, with that status in it."""
    try:
        body = response.json()
    except ValueError:
        body = {"error": response.text[:200]}
    return {**body, "status": response.status_code} if isinstance(body, dict) else {"status": response.status_code}


def _decision(body: dict[str, Any]) -> str:
    """What was decided on a call, in our words and in the original's."""
    if body["status"] != 200:
        return f"status {body['status']}"
    decision = body.get("decision")
    if isinstance(decision, dict):
        decision = decision.get("outcome")
    return str(decision) if decision is not None else ("allow" if body.get("success") else str(body.get("error_type", "no decision")))


def _collections(target: Target) -> list[str] | None:
    if "qdrant" not in target.urls:
        return None
    return [row["name"] for row in target.json("GET", "qdrant", "/collections")["result"]["collections"]]


def _expected(target: Target, role: str) -> ExpectedModel | None:
    """The file that the host says its profile asks for; else the one that the caller's profile does."""
    record = target.parts()
    told = ((record or {}).get("host", {}).get("expected") or {}).get(role)
    if isinstance(told, dict):
        return ExpectedModel(file=str(told.get("file") or told.get("path") or ""), sha256=str(told.get("sha256") or ""))
    return target.expected.get(role)


def _absent(target: Target) -> bool | None:
    """What stands for a value that our own stack always gives and a foreign one need not: broken here, skipped there."""
    return None if target.foreign else False


def _same_model(entry: dict[str, Any], wanted: ExpectedModel) -> bool:
    """Whether the model that is served is the one meant: by content where both hashes are known, always by file name."""
    served = str(entry.get("path") or entry.get("file") or entry["id"]).replace("\\", "/").rsplit("/", 1)[-1]
    by_name = not wanted.file or served == wanted.file.replace("\\", "/").rsplit("/", 1)[-1]
    return by_name and (not wanted.sha256 or not entry.get("sha256") or entry["sha256"] == wanted.sha256)


def _smoke(seen: Observation, smoke: bool) -> None:
    if smoke:
        seen.note("smoke", observed=True, reason="a smoke model answered: that the part works is shown, what its model is worth is not")


CHECKS = (
    Check("P2.1", "All nine parts started and are ready", 2, "stability", 2, fault.STOPPED_HEARTBEAT, start_of_stack),
    Check("P2.2", "mcp-server allows, denies and records", 2, "stability", 3, fault.DENIED_ACTOR, tools),
    Check("P2.3", "api-gateway answers under every alias", 2, "stability", 2, fault.UNLOADED_UPSTREAM, gateway),
    Check("P2.4", "rag answers with a citation", 2, "stability", 2, fault.CLOSED_STORE, retrieval),
    Check("P2.5", "embedding gives 384 numbers of unit length", 2, "stability", 2, fault.SHORT_VECTORS, embedding),
    Check("P2.6", "inference-chat runs the profile's model", 2, "stability", 2, fault.CLOSED_PORT, chat_server),
    Check("P2.7", "inference-code runs the profile's model", 2, "stability", 2, fault.WRONG_MODEL, code_server),
    Check("P2.8", "qdrant writes, finds and deletes", 2, "stability", 3, fault.WRONG_SIZE, vectors),
    Check("P2.9", "memory-api keeps, finds and forgets", 2, "stability", 3, fault.DROPPED_TABLE, memory),
)
