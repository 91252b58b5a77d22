"""The nine checks of phase 2: each passes on a stack that works and turns red when its one thing is bent."""

from __future__ import annotations

from typing import Any

import pytest
from fake_stack import FakeStack, change, embed, status

from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase2 import CHECKS
from suite.checks.result import Result
from suite.checks.target import PORTS, ExpectedModel, read_urls
from suite.errors import BadRequest

LIMITS = load()


def run(identity: str, stack: FakeStack, **more: Any) -> Result:
    check = next(check for check in CHECKS if check.id == identity)
    target = stack.target(**more)
    result = perform(check, target, LIMITS[identity])
    target.close()
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def part(name: str, /, **values: Any) -> Any:
    """A bend of /v1/parts that changes one part."""
    return lambda found: (200, {**found[1], "parts": [row | values if row["name"] == name else row for row in found[1]["parts"]]})


def vectors(made: Any) -> Any:
    """A bend of /embed that makes each vector anew."""
    return lambda found: (200, {**found[1], "embeddings": [made(vector) for vector in found[1]["embeddings"]]})


@pytest.mark.parametrize("identity", [check.id for check in CHECKS])
def test_every_check_passes_on_a_stack_that_works(identity: str) -> None:
    result = run(identity, FakeStack())
    assert result.state == "pass", result.why


BENDS = [
    ("P2.1", "api-gateway GET /v1/parts", part("rag", ready=False), "parts_not_ready"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", live=False), "parts_not_live"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", restarts=1), "restarts"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", ready_s=999.0), "slowest_part"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", ready_s=None), "slowest_part"),
    ("P2.1", "api-gateway GET /v1/parts", part("memory-maintainer", heartbeat_age_s=61.0), "heartbeat_age"),
    ("P2.1", "api-gateway GET /v1/parts", part("memory-maintainer", heartbeat_age_s=None), "heartbeat_age"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", name="other"), "parts_missing"),
    ("P2.1", "embedding GET /health", status(503), "parts_not_ready"),
    ("P2.2", "mcp-server POST /tools/.*", lambda found: (200, {**found[1], "decision": {"outcome": "allow"}, "audit_seq": 1}), "denied_call"),
    ("P2.2", "mcp-server POST /tools/.*", change(audit_seq=3), "audit_entries"),
    ("P2.2", "mcp-server POST /tools/.*", change(decision={"outcome": "ask"}), "allowed_call"),
    ("P2.2", "mcp-server POST /tools/.*", lambda found: (200, found[1]) if found[0] == 401 else found, "wrong_token"),
    ("P2.2", "mcp-server POST /deep", change(ok=False, reasons=["the chain is broken"]), "deep"),
    ("P2.3", "api-gateway GET /v1/models", change(data=[{"id": "chat-7b"}]), "aliases_missing"),
    ("P2.3", "api-gateway POST /v1/chat/completions", change(choices=[{"message": {"content": ""}}]), "aliases_silent"),
    ("P2.3", "api-gateway POST /v1/chat/completions", change(suite={"fallback": True}), "aliases_by_stand_in"),
    ("P2.3", "api-gateway GET /health", change(reasons=["code-7b is out"]), "upstreams_out"),
    ("P2.4", "rag GET /health", status(503), "ready"),
    ("P2.4", "rag POST /index", change(chunks=0), "chunks"),
    ("P2.4", "rag POST /query", change(citations=[]), "citations"),
    ("P2.4", "rag POST /query", lambda found: (200, {**found[1], "citations": [row | {"start": 0} for row in found[1]["citations"]]}),
     "quotes_found"),
    ("P2.4", "rag POST /query", change(answer=""), "answer_length"),
    ("P2.5", "embedding POST /embed", vectors(lambda vector: vector[:-1]), "dimension"),
    ("P2.5", "embedding POST /embed", change(dim=383), "stated_dimension"),
    ("P2.5", "embedding POST /embed", vectors(lambda vector: [2 * x for x in vector]), "norm_error"),
    ("P2.5", "embedding POST /embed", vectors(lambda vector: [float("nan")] * 384), "norm_error"),
    ("P2.5", "embedding POST /embed", vectors(lambda _: embed("the same for all")), "difference"),
    ("P2.6", "inference-chat GET /v1/models", change(data=[{"id": "chat", "path": "/models/other.gguf"}]), "expected_model"),
    ("P2.6", "inference-chat GET /v1/models", change(data=[{"id": "chat", "path": "/models/chat.gguf", "sha256": "cd" * 32}]), "expected_model"),
    ("P2.6", "inference-chat GET /v1/models", change(data=[]), "tokens"),
    ("P2.6", "inference-chat POST /v1/chat/completions", change(usage={"completion_tokens": 0}), "tokens"),
    ("P2.7", "inference-code GET /v1/models", change(data=[{"id": "code", "path": "/models/chat.gguf"}]), "expected_model"),
    ("P2.7", "inference-code POST /v1/chat/completions", change(choices=[{"message": {"content": None}}]), "text_length"),
    ("P2.8", "qdrant GET /collections/memory-x", change(result={"config": {"params": {"vectors": {"size": 8, "distance": "Cosine"}}}}),
     "strange_collections"),
    ("P2.8", "qdrant GET /collections/memory-x", change(result={"config": {"params": {"vectors": {"dense": {"size": 384, "distance": "Dot"}}}}}),
     "strange_collections"),
    ("P2.8", "qdrant POST /collections/.*/query", change(result={"points": []}), "found"),
    ("P2.8", "qdrant POST /collections/.*/query", change(result={"points": [{"id": 1, "payload": {}}]}), "found_after_delete"),
    ("P2.9", "memory-api GET /v1/memory/health", change(vector_enabled=False), "vector_enabled"),
    ("P2.9", "memory-api POST /v1/memory/conversations/search", change(results=[]), "found_by_words"),
    ("P2.9", "memory-api POST /v1/memory/conversations/search", change(results=[{"id": "m0"}]), "found_after_delete"),
]


@pytest.mark.parametrize(("identity", "route", "bend", "condition"), BENDS, ids=[f"{row[0]} {row[3]} {index}" for index, row in enumerate(BENDS)])
def test_each_condition_turns_its_check_red(identity: str, route: str, bend: Any, condition: str) -> None:
    result = run(identity, FakeStack().bend(route, bend))
    assert result.state == "fail"
    assert condition in [item["name"] for item in result.conditions if item["met"] is False]


def test_every_condition_of_phase_2_is_turned_red_by_a_test() -> None:
    bent = {(identity, condition) for identity, _, _, condition in BENDS}
    shared = {"ready", "deep", "storage_available", "found_by_vector", "repeat_distance", "tokens_per_second", "left_behind", "tokens", "text_length"}
    assert {(name, row.name) for name in LIMITS for row in LIMITS[name].conditions if row.name not in shared} <= bent


@pytest.mark.parametrize("identity", [check.id for check in CHECKS])
def test_a_part_that_refuses_everything_turns_its_check_red(identity: str) -> None:
    result = run(identity, FakeStack().bend(".*", status(503)))
    assert result.state == "fail" and "503" in result.why


@pytest.mark.parametrize("identity", [check.id for check in CHECKS])
def test_a_stack_that_nobody_listens_for_turns_every_check_red(identity: str) -> None:
    target = FakeStack().target()
    target.close()
    target = type(target)(dict.fromkeys(PORTS, "http://127.0.0.1:9"))
    check = next(check for check in CHECKS if check.id == identity)
    result = perform(check, target, LIMITS[identity])
    target.close()
    assert result.state == "fail" and "does not answer" in result.why


@pytest.mark.parametrize("identity", [check.id for check in CHECKS])
def test_a_stack_of_another_make_is_held_to_what_can_be_seen_of_it(identity: str) -> None:
    stack = FakeStack(foreign=True)
    result = run(identity, stack, expected={"chat": ExpectedModel("chat.gguf"), "code": ExpectedModel("code.gguf")})
    assert result.state == ("not-applicable" if identity == "P2.1" else "pass"), result.why


def test_a_foreign_stack_with_another_model_than_the_profile_named_is_red() -> None:
    assert run("P2.6", FakeStack(foreign=True), expected={"chat": ExpectedModel("big.gguf")}).state == "fail"


def test_a_stack_of_ours_without_its_deep_route_is_red_not_skipped() -> None:
    result = run("P2.5", FakeStack().bend(".* POST /deep", status(404)))
    assert [item["name"] for item in result.conditions if item["met"] is False] == ["deep"]


@pytest.mark.parametrize("broken", ["rag POST /query", "qdrant POST /collections/.*/query", "memory-api POST /v1/memory/conversations/search"])
def test_a_check_that_breaks_in_the_middle_leaves_nothing_behind(broken: str) -> None:
    stack = FakeStack().bend(broken, status(500))
    before = set(stack.collections)
    for identity in ("P2.4", "P2.8", "P2.9"):
        run(identity, stack)
    assert set(stack.collections) == before and not stack.memories


def test_a_smoke_model_is_named_in_the_record_the_card_and_the_text() -> None:
    result = run("P2.6", FakeStack())
    assert result.smoke and "smoke model" in repr(result) and "smoke model" in result._repr_html_()


def test_the_record_has_the_keys_that_scripts_rely_on_in_their_order() -> None:
    record = run("P2.5", FakeStack()).to_dict()
    assert list(record) == ["id", "title", "phase", "category", "state", "observed", "criterion", "margin", "evidence", "started_at", "ended_at",
                            "proven_red_at"]
    assert set(record["observed"]) == {"value", "unit", "n"}
    assert set(record["criterion"]) == {"op", "limit", "unit", "reason"}
    assert set(record["evidence"][0]) == {"name", "observed", "op", "limit", "unit", "met"}


def test_the_bundle_for_a_cell_has_the_record_beside_html_and_text() -> None:
    bundle = run("P2.5", FakeStack())._repr_mimebundle_()
    assert list(bundle) == ["application/vnd.suite.check+json", "text/html", "text/plain"]


@pytest.mark.parametrize("value", ["{", "[1]", {"api-gateway": "ftp://x"}, {"rag": "http://kim:x@y"}, "http://kim:x@y", {"gateway": "http://x"}, 7])
def test_base_urls_that_cannot_be_used_are_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="base_urls"):
        read_urls(value)


def test_base_urls_are_read_from_a_dict_its_json_or_one_address() -> None:
    assert read_urls('{"rag": "http://x:1"}') == read_urls({"rag": "http://x:1"}) == {"rag": "http://x:1"}
    assert read_urls("http://10.0.0.5")["qdrant"] == "http://10.0.0.5:6333"
