"""Phase 2: the nine parts, each asked from outside for the work it is there for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import httpx

from suite.checks import fault, fault_memory
from suite.checks.check import Check, Observation
from suite.checks.target import NINE, WATCHING, ExpectedModel, Target
from suite.checks.trace import MARK, fixture, marker, vectors_of
from suite.errors import NotReady, UpstreamError

ASK = "Name three colours."


def _asked(seen: Observation, target: Target, part: str, *ready_paths: str) -> bool:
    """The two questions every part answers for itself: would it serve now, and does it do its work. False when nobody listens."""
    try:
        seen.values["ready"], why = target.ready(part, *ready_paths)
    except NotReady as error:
        seen.values |= {"ready": False, "deep": False}
        seen.note("refused", reason=str(error))
        return False
    if why:
        seen.note("ready", reasons=why)
    seen.values["deep"], why = target.deep(part)
    if not seen.values["deep"]:
        seen.note("deep", reasons=why)
    return True


def start_of_stack(target: Target, seen: Observation) -> None:
    """P2.1, from the record that the host kept of its own start."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack keeps no record of its start (its gateway has no GET /v1/parts), so nobody can say how long its parts took"
        return
    parts = {part["name"]: part for part in record["parts"]}
    waits = {name: _wait(part) for name, part in parts.items()}
    known = [wait for wait in waits.values() if wait is not None]
    silent = [part for part in target.urls if part not in WATCHING and not _answers(target, part)]  # phase 3 asks those
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
    if not _asked(seen, target, "mcp-server"):
        return
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
    if not _asked(seen, target, "api-gateway"):
        return
    models = _heard(seen, target, "GET", "api-gateway", "/v1/models").get("data")
    listed = [entry["id"] for entry in models or []]
    asked = [*target.aliases, *(name for name in listed if name not in target.aliases)]
    silent, stand_ins, smoke = [], [], False
    for alias in asked:
        body = _complete(seen, target, "api-gateway", alias, tokens=8)
        suite, text, tokens = body.get("suite") or {}, _text(body), _tokens(body)
        smoke = smoke or bool(suite.get("smoke"))
        if not text or not tokens:
            silent.append(alias)
        if suite.get("fallback"):
            stand_ins.append(alias)
        seen.note("reply", alias=alias, text=text[:80], tokens=tokens, why=suite.get("why"))
    health = _told(target.call("GET", "api-gateway", "/health"))
    out = health.get("reasons", health.get("unhealthy_endpoints"))  # our name for the list, and the original's
    seen.values |= {"aliases_missing": len(set(target.aliases) - set(listed)), "aliases_silent": len(silent), "aliases_by_stand_in": len(stand_ins),
                    "upstreams_out": len(out) if isinstance(out, list) else None}
    _smoke(seen, smoke)


def retrieval(target: Target, seen: Observation) -> None:
    """P2.4: a small document goes in, an answer cites it, and nothing stays behind."""
    name = f"{MARK}-{marker()}"
    if not _asked(seen, target, "rag"):
        return
    with fixture(name, target.folder) as document:
        try:
            # the original's /index reads the query string, ours the body
            added = _heard(seen, target, "POST", "rag", "/index", json={"collection": name, "paths": [str(document.path)]},
                           params={"collection": name, "path": str(document.path)})
            seen.values["chunks"] = added.get("chunks", 0)
            question = {"query": document.question, "collection": name, "topk": 2}
            reply = _heard(seen, target, "POST", "rag", "/query", json=question) if added else {}
        finally:
            target.call("DELETE", "rag", f"/collections/{name}")
        ours = [item for item in reply.get("citations") or [] if item.get("path") == str(document.path)]
        seen.values["citations"] = len(ours)
        seen.values["quotes_found"] = sum(document.holds(item["start"], item["end"], item["quote"]) for item in ours)
    written = reply.get("reply") is not None or not reply.get("extractive")  # sentences of the passages need no model
    seen.values["answer_length"] = len(reply.get("answer") or "") if written else 0
    if "qdrant" in target.urls:
        after = _collections(seen, target)
        seen.values["left_behind"] = False if after is None else sum(name in entry for entry in after)
    seen.note("answer", question=document.question, text=(reply.get("answer") or "")[:200], citations=ours[:2])
    _smoke(seen, bool(reply.get("smoke") or (reply.get("suite") or {}).get("smoke")))


def embedding(target: Target, seen: Observation) -> None:
    """P2.5: the vectors themselves are measured, not what the part says of them."""
    if not _asked(seen, target, "embedding"):
        return
    texts = ["The backup runs at three in the morning.", "Violins are made of spruce and maple.", "The backup runs at three in the morning."]
    body = _heard(seen, target, "POST", "embedding", "/embed", json={"texts": texts})
    again = _heard(seen, target, "POST", "embedding", "/embed", json={"texts": texts[:1]})
    seen.values["stated_dimension"] = body.get("dim")
    given = [*body.get("embeddings", []), *again.get("embeddings", [])]
    if len(given) != 4:
        seen.note("refused", reason=f"embedding gave {len(given)} vectors for four texts")
        return
    one, other, same, repeat = given
    seen.values["dimension"] = len(one) if len({len(vector) for vector in given}) == 1 else None
    seen.values["norm_error"] = _worst(abs(math.sqrt(math.fsum(x * x for x in vector)) - 1) for vector in given)
    if seen.values["dimension"] is not None:
        seen.values |= {"repeat_distance": _worst([math.dist(one, same), math.dist(one, repeat)]), "difference": math.dist(one, other)}
    seen.note("model", model=body.get("model"), first=one[:4])


def chat_server(target: Target, seen: Observation) -> None:
    """P2.6."""
    _server(target, seen, "inference-chat", "chat")


def code_server(target: Target, seen: Observation) -> None:
    """P2.7."""
    _server(target, seen, "inference-code", "code")


def _server(target: Target, seen: Observation, part: str, role: str) -> None:
    """One model server: the file that the profile asks for is the one that answers, and fast enough to be of use."""
    if not _asked(seen, target, part):
        return
    served = _heard(seen, target, "GET", part, "/v1/models").get("data")
    if not served:
        seen.note("refused", reason=f"{part} lists no model in GET /v1/models: none is loaded")
        return
    entry = served[0]
    wanted = _expected(seen, target, role)
    seen.values["expected_model"] = _absent(target) if wanted is None else _same_model(entry, wanted)
    began = target.clock()
    body = _complete(seen, target, part, entry["id"], tokens=32)
    seconds, tokens = target.clock() - began, _tokens(body)
    seen.values |= {"tokens": tokens, "tokens_per_second": tokens / seconds, "text_length": len(_text(body))}
    seen.note("model", **{key: entry.get(key) for key in ("id", "path", "file", "sha256", "n_ctx", "n_gpu_layers") if key in entry})
    seen.note("expected", **(vars(wanted) if wanted else {"reason": "this stack names no profile; pass `profile` to compare its models"}))
    _smoke(seen, bool(entry.get("smoke") or (body.get("suite") or {}).get("smoke")))


def vectors(target: Target, seen: Observation) -> None:
    """P2.8: a point is written, found as the nearest, deleted; every collection has the embedder's size."""
    name, point = f"{MARK}-{marker()}", 1
    if not _asked(seen, target, "qdrant", "/readyz", "/health"):
        return
    names = _collections(seen, target)
    shapes = {existing: vectors_of(_heard(seen, target, "GET", "qdrant", f"/collections/{existing}")) for existing in names or []}
    names = _collections(seen, target)  # again: another run's probe may have come and gone between the list and the look
    shapes = {existing: shape for existing, shape in shapes.items() if existing in (names or [])}
    seen.values["strange_collections"] = None if names is None else sum(shape != (384, "Cosine") for shape in shapes.values())
    seen.note("collections", shapes={existing: list(shape) for existing, shape in shapes.items()})
    near, far, base = [1.0, *[0.0] * 383], [0.0, 1.0, *[0.0] * 382], f"/collections/{name}"
    points = [{"id": point, "vector": near, "payload": {"probe": name}}, {"id": 2, "vector": far, "payload": {}}]
    try:
        _heard(seen, target, "PUT", "qdrant", base, json={"vectors": {"size": 384, "distance": "Cosine"}})
        _heard(seen, target, "PUT", "qdrant", f"{base}/points", params={"wait": "true"}, json={"points": points})
        hits = _nearest(seen, target, base, near)
        seen.values["found"] = bool(hits) and hits[0]["id"] == point and (hits[0].get("payload") or {}).get("probe") == name
        _heard(seen, target, "POST", "qdrant", f"{base}/points/delete", params={"wait": "true"}, json={"points": [point]})
        hits = _nearest(seen, target, base, near)
        seen.values["found_after_delete"] = None if hits is None else any(hit["id"] == point for hit in hits)
    finally:
        target.call("DELETE", "qdrant", base)
    after = _collections(seen, target)
    seen.values["left_behind"] = None if after is None else after.count(name)


def memory(target: Target, seen: Observation) -> None:
    """P2.9: a conversation is written, found by its words and by its vector, deleted, and gone."""
    word = f"{MARK}{marker()}"
    if not _asked(seen, target, "memory-api", "/v1/memory/health"):
        return
    health = _told(target.call("GET", "memory-api", "/v1/memory/health"))
    seen.values |= {"storage_available": health.get("storage_available"), "vector_enabled": health.get("vector_enabled")}
    body = {"user_query": f"Where does the {word} conversation of this check go?", "ai_response": f"The {word} conversation is deleted again.",
            "model_used": "release check", "importance": 1}  # the least, so that even a probe that could not be deleted expires first
    kept = _heard(seen, target, "POST", "memory-api", "/v1/memory/conversations", json=body)
    identity = kept.get("conversation_id")
    if identity is None:
        seen.values |= {"found_by_words": False, "found_by_vector": False}
        return
    try:
        seen.values["found_by_words"] = identity in (_recalled(seen, target, word, by_vector=False) or [])
        seen.values["found_by_vector"] = identity in (_recalled(seen, target, body["user_query"], by_vector=True) or [])
    finally:
        gone = target.call("DELETE", "memory-api", f"/v1/memory/conversations/{identity}")
    after = _recalled(seen, target, word, by_vector=False), _recalled(seen, target, body["user_query"], by_vector=True)
    seen.values["found_after_delete"] = None if None in after else any(identity in rows for rows in after)
    seen.note("probe", conversation=identity, project=kept.get("project_id"), delete_status=gone.status_code)


def _recalled(seen: Observation, target: Target, query: str, by_vector: bool) -> list[Any] | None:
    """What a search finds; None when it was refused."""
    body = {"query": query, "limit": 5, "use_vector_search": by_vector}
    if by_vector and not target.foreign:
        body["how"] = "vector"  # the original's switch means words and vectors together with us, which would prove neither
    found = _heard(seen, target, "POST", "memory-api", "/v1/memory/conversations/search", json=body)
    return [row.get("id", row.get("conversation_id")) for row in found["results"]] if "results" in found else None


def _nearest(seen: Observation, target: Target, base: str, vector: list[float]) -> list[dict[str, Any]] | None:
    """The one point of a collection that is nearest to a vector; None when the search was refused."""
    body = {"query": vector, "limit": 1, "with_payload": True}
    found = _heard(seen, target, "POST", "qdrant", f"{base}/points/query", json=body)
    return found["result"]["points"] if found else None


def _heard(seen: Observation, target: Target, method: str, part: str, path: str, **options: Any) -> dict[str, Any]:
    """The JSON object of a 2xx answer; else nothing, with the reason in the evidence, so that the conditions are graded on what is missing.

    Raises NotReady when nobody answers any more: whoever broke off in the middle is not waited for again.
    """
    try:
        body = target.json(method, part, path, **options)
    except UpstreamError as error:
        seen.note("refused", reason=str(error))
        return {}
    return body if isinstance(body, dict) else {}


def _complete(seen: Observation, target: Target, part: str, model: str, tokens: int) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": ASK}], "max_tokens": tokens, "temperature": 0, "seed": 7}
    return _heard(seen, target, "POST", part, "/v1/chat/completions", json=body)


def _text(reply: dict[str, Any]) -> str:
    choices = reply.get("choices") or [{}]
    return (choices[0].get("message") or {}).get("content") or ""


def _tokens(reply: dict[str, Any]) -> int:
    return (reply.get("usage") or {}).get("completion_tokens") or 0


def _worst(values: Iterable[float]) -> float:
    """The largest; a value that is no number is worse than any (`max` keeps or loses a NaN depending on its place)."""
    return max(values, key=lambda value: math.inf if math.isnan(value) else value)


def _wait(part: dict[str, Any]) -> float | None:
    began, ready = part.get("started_s"), part.get("ready_s")
    return None if began is None or ready is None else round(ready - began, 3)


def _answers(target: Target, part: str) -> bool:
    try:
        return target.ready(part, "/health", "/readyz", "/v1/memory/health")[0]
    except NotReady:
        return False


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


def _collections(seen: Observation, target: Target) -> list[str] | None:
    """The names of all vector collections; None when they were not told."""
    found = _heard(seen, target, "GET", "qdrant", "/collections")
    return [row["name"] for row in found["result"]["collections"]] if found else None


def _expected(seen: Observation, target: Target, role: str) -> ExpectedModel | None:
    """The file that the host says its profile asks for; else the one that the caller's profile does."""
    try:
        record = target.parts()
    except (NotReady, UpstreamError) as error:  # the gateway's fault, not the server's: say so, and grade the server
        record = None
        seen.note("refused", reason=str(error))
    told = ((record or {}).get("host", {}).get("expected") or {}).get(role)
    if isinstance(told, dict):
        return ExpectedModel(file=str(told.get("file") or told.get("path") or ""), sha256=str(told.get("sha256") or ""))
    return target.expected.get(role)


def _absent(target: Target) -> bool | None:
    """What stands for a value that our own stack always gives and a foreign one need not: broken here, skipped there."""
    return None if target.foreign else False


def _same_model(entry: dict[str, Any], wanted: ExpectedModel) -> bool:
    """Whether the model that is served is the one meant: by content where both hashes are known, always by file name, and still as it was loaded."""
    served = str(entry.get("path") or entry.get("file") or entry["id"]).replace("\\", "/").rsplit("/", 1)[-1]
    by_name = not wanted.file or served == wanted.file.replace("\\", "/").rsplit("/", 1)[-1]
    return by_name and entry.get("intact") is not False and (not wanted.sha256 or not entry.get("sha256") or entry["sha256"] == wanted.sha256)


def _smoke(seen: Observation, smoke: bool) -> None:
    if smoke:
        seen.note("smoke", observed=True, reason="a smoke model answered: that the part works is shown, what its model is worth is not")


CHECKS = (
    Check("P2.1", "All nine parts started and are ready", 2, "stability", 2, fault.STOPPED_HEARTBEAT, start_of_stack,
          (fault.RESTARTED, fault_memory.STALE_HEARTBEAT)),
    Check("P2.2", "mcp-server allows, denies and records", 2, "stability", 3, fault.DENIED_ACTOR, tools),
    Check("P2.3", "api-gateway answers under every alias", 2, "stability", 2, fault.DEAD_UPSTREAM, gateway),
    Check("P2.4", "rag answers with a citation", 2, "stability", 2, fault.CLOSED_STORE, retrieval,
          (fault.MUTE_MODELS, fault.DAMAGED_PASSAGES, fault.LOST_WRITES)),
    Check("P2.5", "embedding gives 384 numbers of unit length", 2, "stability", 2, fault.SHORT_VECTORS, embedding,
          (fault.LONG_VECTORS, fault.BLURRED_VECTORS, fault.WAVERING_VECTORS)),
    Check("P2.6", "inference-chat runs the profile's model", 2, "stability", 2, fault.CLOSED_PORT, chat_server,
          (fault.WRONG_CHAT, fault.SLOW_CHAT)),
    Check("P2.7", "inference-code runs the profile's model", 2, "stability", 2, fault.WRONG_CODE, code_server, (fault.SLOW_CODE,)),
    Check("P2.8", "qdrant writes, finds and deletes", 2, "stability", 3, fault.WRONG_SIZE, vectors,
          (fault.LOST_WRITES, fault.IGNORED_DELETES, fault.REVERSED_HITS)),
    Check("P2.9", "memory-api keeps, finds and forgets", 2, "stability", 3, fault_memory.DROPPED_TABLE, memory,
          (fault_memory.IGNORED_FORGETTING, fault_memory.LOST_WORDS, fault.LOST_WRITES)),
)
