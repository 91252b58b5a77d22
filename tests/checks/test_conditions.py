"""Every condition of criteria.toml is proven red: the smallest change of a healthy stack that breaks it, and it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_stack import Answer, FakeStack, change, embed, status

from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase2 import CHECKS

LIMITS = load()
PARTS = "api-gateway GET /v1/parts"
CALL = "mcp-server POST /tools/list_files/call"
REPLY = "api-gateway POST /v1/chat/completions"
EMBED = "embedding POST /embed"
QUERY = "rag POST /query"
NEAREST = "qdrant POST /collections/.*/points/query"
HEALTH = "memory-api GET /v1/memory/health"
OWN = {"P2.2": ("mcp-server", "/health"), "P2.3": ("api-gateway", "/health"), "P2.4": ("rag", "/health"), "P2.5": ("embedding", "/health"),
       "P2.6": ("inference-chat", "/health"), "P2.7": ("inference-code", "/health"), "P2.8": ("qdrant", "/readyz"),
       "P2.9": ("memory-api", "/v1/memory/health")}


@dataclass(frozen=True)
class Break:
    """What is done to the stack; `also` are the conditions that necessarily break with it, `because` of what."""

    act: Callable[[FakeStack], Any]
    also: tuple[str, ...] = ()
    because: str = ""


def bend(route: str, rewrite: Callable[[Answer], Answer], **more: Any) -> Break:
    return Break(lambda stack: stack.bend(route, rewrite), **more)


def pretend(route: str) -> Break:
    return Break(lambda stack: stack.pretend(route))


def one_part(name: str, **values: Any) -> Callable[[Answer], Answer]:
    """A rewrite of one part's row in the host's record."""
    return lambda found: (200, {**found[1], "parts": [row | values if row["name"] == name else row for row in found[1]["parts"]]})


def without_part(name: str) -> Callable[[Answer], Answer]:
    """A rewrite that leaves one part out of the host's record."""
    return lambda found: (200, {**found[1], "parts": [row for row in found[1]["parts"] if row["name"] != name]})


def turned(old: int, new: int) -> Callable[[Answer], Answer]:
    """A rewrite of one status to another."""
    return lambda found: (new if found[0] == old else found[0], found[1])


def each_vector(made: Callable[[list[float]], list[float]], alone_only: bool = False) -> Callable[[Answer], Answer]:
    """A rewrite of the vectors; with `alone_only` just where one text was asked for."""
    def rewrite(found: Answer) -> Answer:
        given = found[1]["embeddings"]
        return found if alone_only and len(given) > 1 else (200, {**found[1], "embeddings": [made(vector) for vector in given]})

    return rewrite


def moved_citation(found: Answer) -> Answer:
    """Every citation begins one character early, so that its characters are not its quote."""
    return 200, {**found[1], "citations": [row | {"start": row["start"] - 1} for row in found[1]["citations"]]}


def forget_denied(stack: FakeStack) -> None:
    """A denied call leaves no entry in the audit trail."""
    def rewrite(found: Answer) -> Answer:
        stack.audit -= found[0] == 403
        return found

    stack.bend(CALL, rewrite)


def says(text: str | None) -> Callable[[Answer], Answer]:
    """A rewrite of a reply's text."""
    return change(choices=[{"message": {"content": text}}])


def model_server(identity: str, role: str) -> dict[tuple[str, str], Break]:
    """The rows of one model server."""
    models, replies = f"inference-{role} GET /v1/models", f"inference-{role} POST /v1/chat/completions"
    return {
        (identity, "expected_model"): bend(models, change(data=[{"id": role, "path": "/models/other.gguf", "sha256": "ab" * 32}])),
        (identity, "tokens"): bend(replies, change(usage={"completion_tokens": 0}), also=("tokens_per_second",), because="no tokens in any time is rate 0"),
        (identity, "text_length"): bend(replies, says(None)),
        (identity, "tokens_per_second"): Break(lambda stack: stack.delay(replies, 7.0)),  # six tokens are said
    }


BREAKS: dict[tuple[str, str], Break] = {
    **{(identity, "ready"): bend(f"{part} GET {path}", status(503)) for identity, (part, path) in OWN.items()},
    **{(identity, "deep"): bend(f"{part} POST /deep", change(ok=False, reasons=["its own proof failed"])) for identity, (part, _) in OWN.items()},
    ("P2.1", "parts_missing"): bend(PARTS, without_part("rag")),
    ("P2.1", "parts_not_live"): bend(PARTS, one_part("rag", live=False)),
    ("P2.1", "parts_not_ready"): bend(PARTS, one_part("rag", ready=False)),
    ("P2.1", "slowest_part"): bend(PARTS, one_part("rag", ready_s=120.2)),  # it began at 0.1
    ("P2.1", "restarts"): bend(PARTS, one_part("rag", restarts=1)),
    ("P2.1", "heartbeat_age"): bend(PARTS, one_part("memory-maintainer", heartbeat_age_s=60.1)),
    ("P2.2", "allowed_call"): bend(CALL, change(decision={"outcome": "ask", "reason": "an approval is needed"})),
    ("P2.2", "denied_call"): bend(CALL, turned(403, 200)),
    ("P2.2", "audit_entries"): Break(forget_denied),
    ("P2.2", "wrong_token"): bend(CALL, turned(401, 200)),
    ("P2.3", "aliases_missing"): bend("api-gateway GET /v1/models", change(data=[{"id": "chat-7b"}])),
    ("P2.3", "aliases_silent"): bend(REPLY, says("")),
    ("P2.3", "aliases_by_stand_in"): bend(REPLY, change(suite={"why": "code-7b is out", "fallback": True})),
    ("P2.3", "upstreams_out"): bend("api-gateway GET /health", change(reasons=["code-7b is out"])),
    ("P2.4", "chunks"): bend("rag POST /index", change(chunks=0)),
    ("P2.4", "citations"): bend(QUERY, change(citations=[]), also=("quotes_found",), because="without a citation there is no quote to find"),
    ("P2.4", "quotes_found"): bend(QUERY, moved_citation),
    ("P2.4", "answer_length"): bend(QUERY, change(answer="")),
    ("P2.4", "left_behind"): pretend("rag DELETE /collections/.*"),
    ("P2.5", "dimension"): bend(EMBED, each_vector(lambda vector: [*vector, 0.0])),
    ("P2.5", "stated_dimension"): bend(EMBED, change(dim=383)),
    ("P2.5", "norm_error"): bend(EMBED, each_vector(lambda vector: [1.002 * x for x in vector])),
    ("P2.5", "repeat_distance"): bend(EMBED, each_vector(lambda vector: vector[::-1], alone_only=True)),
    ("P2.5", "difference"): bend(EMBED, each_vector(lambda _: embed("the same for all"))),
    **model_server("P2.6", "chat"),
    **model_server("P2.7", "code"),
    ("P2.8", "strange_collections"): Break(lambda stack: stack.collections["memory-x"].update(size=8)),
    ("P2.8", "found"): bend(NEAREST, change(result={"points": []})),
    ("P2.8", "found_after_delete"): pretend("qdrant POST /collections/.*/points/delete"),
    ("P2.8", "left_behind"): pretend("qdrant DELETE /collections/.*"),
    ("P2.9", "storage_available"): bend(HEALTH, change(storage_available=False)),
    ("P2.9", "vector_enabled"): bend(HEALTH, change(vector_enabled=False)),
    ("P2.9", "found_by_words"): Break(lambda stack: stack.arms.remove("words")),
    ("P2.9", "found_by_vector"): Break(lambda stack: stack.arms.remove("vector")),
    ("P2.9", "found_after_delete"): pretend("memory-api DELETE /v1/memory/conversations/.*"),
}


def test_every_condition_of_the_criteria_has_its_red_proof_and_no_other() -> None:
    of_this_phase = [identity for identity in LIMITS if identity in {check.id for check in CHECKS}]  # others have files of their own
    assert set(BREAKS) == {(identity, condition.name) for identity in of_this_phase for condition in LIMITS[identity].conditions}


def test_conditions_that_break_together_say_why() -> None:
    assert all(bool(row.also) == bool(row.because) for row in BREAKS.values())


@pytest.mark.parametrize("key", BREAKS, ids=" ".join)
def test_the_check_passes_on_a_healthy_stack_and_fails_on_this_condition_alone(key: tuple[str, str]) -> None:
    identity, condition = key
    check, stack = next(check for check in CHECKS if check.id == identity), FakeStack()
    target = stack.target()
    healthy = perform(check, target, LIMITS[identity])
    assert healthy.state == "pass", healthy.why
    assert all(item["met"] is True for item in healthy.conditions)  # none was skipped: each is seen on a stack of ours
    BREAKS[key].act(stack)
    broken = perform(check, target, LIMITS[identity])
    target.close()
    assert broken.state == "fail"
    assert {item["name"] for item in broken.conditions if item["met"] is False} == {condition, *BREAKS[key].also}
    assert "error" not in [item["name"] for item in broken.evidence] and condition in broken.why
    assert examine(broken.to_dict(), LIMITS) == ("fail", [])
