"""The nine checks of phase 2 on stacks that are bent, silent, refusing or of another make; each condition by itself is in test_conditions.py."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fake_stack import FakeStack, change, status

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


def unreachable(_: Any) -> Any:
    """A bend of any route: nobody listens on the port."""
    raise httpx.ConnectError("refused")


def vectors(made: Any) -> Any:
    """A bend of /embed that makes each vector anew."""
    return lambda found: (200, {**found[1], "embeddings": [made(vector) for vector in found[1]["embeddings"]]})


def nan_when_alone(found: Any) -> Any:
    """A bend of /embed: a text that comes by itself gets numbers that are none."""
    return vectors(lambda vector: [float("nan")] * len(vector))(found) if len(found[1]["embeddings"]) == 1 else found


# test_conditions.py breaks every condition once and alone; these are other ways to break one
BENDS = [
    ("P2.1", "api-gateway GET /v1/parts", part("rag", ready_s=None), "slowest_part"),
    ("P2.1", "api-gateway GET /v1/parts", part("memory-maintainer", heartbeat_age_s=None), "heartbeat_age"),
    ("P2.1", "api-gateway GET /v1/parts", part("rag", name="other"), "parts_missing"),
    ("P2.1", "embedding GET /health", status(503), "parts_not_ready"),
    ("P2.1", "embedding GET /health", unreachable, "parts_not_ready"),
    ("P2.2", "mcp-server POST /tools/.*", change(audit_seq=3), "audit_entries"),
    ("P2.2", "mcp-server POST /tools/.*", change(audit_seq=None), "audit_entries"),
    ("P2.3", "api-gateway POST /v1/chat/completions", status(500), "aliases_silent"),
    ("P2.3", "api-gateway POST /v1/chat/completions", change(choices=[]), "aliases_silent"),
    ("P2.3", "api-gateway POST /v1/chat/completions", change(usage={}), "aliases_silent"),
    ("P2.3", "api-gateway GET /health", lambda found: (200, {"ok": True}), "upstreams_out"),
    ("P2.3", "api-gateway GET /health", lambda found: (200, {"unhealthy_endpoints": ["code-7b"]}), "upstreams_out"),
    ("P2.4", "qdrant GET /collections", status(500), "left_behind"),
    ("P2.4", "rag POST /query", status(500), "answer_length"),
    ("P2.5", "embedding POST /embed", vectors(lambda vector: vector[:-1]), "dimension"),
    ("P2.5", "embedding POST /embed", change(embeddings=[]), "dimension"),
    ("P2.5", "embedding POST /embed", vectors(lambda vector: [float("nan")] * 384), "norm_error"),
    ("P2.5", "embedding POST /embed", nan_when_alone, "norm_error"),
    ("P2.5", "embedding POST /embed", nan_when_alone, "repeat_distance"),
    ("P2.6", "inference-chat GET /v1/models", change(data=[{"id": "chat", "path": "/models/chat.gguf", "sha256": "cd" * 32}]), "expected_model"),
    ("P2.6", "inference-chat GET /v1/models", lambda found: (200, {"data": [row | {"intact": False} for row in found[1]["data"]]}), "expected_model"),
    ("P2.6", "inference-chat GET /v1/models", change(data=[]), "tokens"),
    ("P2.6", "inference-chat POST /v1/chat/completions", status(500), "tokens_per_second"),
    ("P2.6", "api-gateway GET /v1/parts", status(500), "expected_model"),
    ("P2.8", "qdrant GET /collections/memory-x", change(result={"config": {"params": {"vectors": {"dense": {"size": 384, "distance": "Dot"}}}}}),
     "strange_collections"),
    ("P2.8", "qdrant GET /collections/memory-x", status(500), "strange_collections"),
    ("P2.8", "qdrant GET /collections", status(500), "strange_collections"),
    ("P2.8", "qdrant GET /collections", status(500), "left_behind"),
    ("P2.8", "qdrant POST /collections/.*/query", status(500), "found_after_delete"),
    ("P2.9", "memory-api POST /v1/memory/conversations/search", status(500), "found_after_delete"),
    ("P2.9", "memory-api POST /v1/memory/conversations", status(500), "found_after_delete"),
]


@pytest.mark.parametrize(("identity", "route", "bend", "condition"), BENDS, ids=[f"{row[0]} {row[3]} {index}" for index, row in enumerate(BENDS)])
def test_whatever_bends_a_condition_turns_its_check_red_by_a_graded_value(identity: str, route: str, bend: Any, condition: str) -> None:
    result = run(identity, FakeStack().bend(route, bend))
    assert result.state == "fail"
    assert condition in [item["name"] for item in result.conditions if item["met"] is False]
    assert "error" not in [item["name"] for item in result.evidence]


PORT_OF = {"P2.2": "mcp-server", "P2.3": "api-gateway", "P2.4": "rag", "P2.5": "embedding", "P2.6": "inference-chat", "P2.7": "inference-code",
           "P2.8": "qdrant", "P2.9": "memory-api"}


def test_a_port_that_watches_is_none_of_the_nine_parts() -> None:
    stack = FakeStack().bend("monitoring .*", unreachable)
    target = stack.target()
    target.urls = {**target.urls, "monitoring": "http://monitoring"}
    check = next(check for check in CHECKS if check.id == "P2.1")
    assert perform(check, target, LIMITS["P2.1"]).state == "pass"
    target.close()


@pytest.mark.parametrize("identity", PORT_OF)
def test_a_part_whose_port_is_closed_is_graded_not_ready_and_named(identity: str) -> None:
    result = run(identity, FakeStack().bend(f"{PORT_OF[identity]} .*", unreachable))
    assert {"ready", "deep"} <= {item["name"] for item in result.conditions if item["met"] is False}
    assert f"{PORT_OF[identity]} does not answer" in result.why and "ready is False" in result.why
    assert "error" not in [item["name"] for item in result.evidence]


def test_a_gateway_that_is_out_does_not_keep_a_model_server_from_being_graded() -> None:
    result = run("P2.6", FakeStack().bend("api-gateway .*", unreachable))
    assert [item["name"] for item in result.conditions if item["met"] is False] == ["expected_model"]


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
    assert set(record["evidence"][0]) == {"name", "observed", "op", "limit", "unit", "margin", "met"}


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
