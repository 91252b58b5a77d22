"""Every condition of P5.1, P5.2, P5.3, P5.5 and P5.6 breaks by the answer that it looks at: a healthy stack is heard once, and its answers are bent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tape import Tape, bend, late, rewrite, status

from suite.bench import throwaway
from suite.checks import phase5_embedding, phase5_golden, phase5_indexing, phase5_speed
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.result import Result

LIMITS = load()
BY_ID = {check.id: check for check in (*phase5_indexing.INDEXING, *phase5_golden.GOLDEN, *phase5_embedding.EMBEDDING, *phase5_speed.SPEED)}
INDEX, SEARCH, QUERY, SCROLL = "rag POST /index", "rag POST /collections/.*/search", "rag POST /query", "qdrant POST /collections/.*/points/scroll"
EMBED, CHAT = "embedding POST /embed", "api-gateway POST /v1/chat/completions"
MODELS, WRITE, PAGE = "inference-chat GET /v1/models", "inference-(chat|code) POST /v1/chat/completions", "monitoring GET /metrics/monitoring"
FIRST, AGAIN, FAR = tuple(range(16)), tuple(range(16, 32)), tuple(range(32, 40))


@pytest.fixture(scope="module", autouse=True)
def same_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each run of a check uses the same names, so that it asks for what was heard."""
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        for module in (phase5_indexing, phase5_golden):
            patch.setattr(module, "marker", lambda: "0f0f0f0f")
        patch.setattr(phase5_indexing, "tempfile", SimpleNamespace(TemporaryDirectory=lambda **_: nullcontext(str(folder))))
        yield


@pytest.fixture(scope="module")
def tapes(models_dir: Path) -> dict[str, Tape]:
    """What a healthy stack answers to each check."""
    heard = {}
    with throwaway(profile="smoke", models_dir=str(models_dir), rag_roots="/") as (_, target):
        honest = target.call
        for identity, check in BY_ID.items():
            heard[identity] = Tape()
            result = perform(check, heard[identity].record(target), LIMITS[identity])
            target.call = honest  # type: ignore[method-assign]
            assert result.state == "pass", result
    return heard


def run(tapes: dict[str, Tape], identity: str, *bends: Any) -> Result:
    target = tapes[identity].bent(*bends).target()
    result = perform(BY_ID[identity], target, LIMITS[identity])
    target.close()
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_what_was_heard_passes_when_it_is_heard_again(tapes: dict[str, Tape], identity: str) -> None:
    assert run(tapes, identity).state == "pass"


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_stack_that_refuses_everything_is_red(tapes: dict[str, Tape], identity: str) -> None:
    result = run(tapes, identity, status(".*", 503))
    assert result.state == "fail" and "503" in result.why


def without_text(name: str) -> Any:
    """A page of metrics without the lines of a kind."""
    return lambda text: "\n".join(line for line in text.splitlines() if not re.search(name, line)) + "\n"


def first_point(**values: Any) -> Any:
    return lambda body: body["result"]["points"][0]["payload"].update(values)


def lose(which: str) -> Any:
    """Leave the points of one document out."""
    def change(body: Any) -> None:
        body["result"]["points"] = [point for point in body["result"]["points"] if not point["payload"]["document"].endswith(which)]

    return change


def one_more(body: Any) -> None:
    """A point of the removed document is still there."""
    point = body["result"]["points"][0]
    path = Path(point["payload"]["document"]).with_name(phase5_indexing.REMOVED)
    body["result"]["points"].append({"id": "x", "payload": {**point["payload"], "document": str(path)}})


def other_paths(body: Any) -> None:
    body["citations"] = [row | {"path": "/tmp/other.md"} for row in body["citations"]]


def vectors(made: Any, *only: int) -> Any:
    return bend(EMBED, lambda body: body.update(embeddings=[made(row) for row in body["embeddings"]]), *only)


def keep(count: int, *only: int) -> Any:
    return bend(EMBED, lambda body: body.update(embeddings=body["embeddings"][:count]), *only)


def same(body: Any) -> None:
    body["embeddings"] = [body["embeddings"][0]] * len(body["embeddings"])


def on_card(text: str, used: float = 3e9, held: float = 2e9) -> str:
    """A page on which the chat model lies on a card of 6 GB, two of which were planned."""
    lines = [line for line in text.splitlines() if "suite_model_memory_bytes{" not in line or "inference-code" in line]
    mine = 'suite_model_memory_bytes{kind="%s",model="m",server="inference-chat",where="gpu"} %s'
    card = 'suite_gpu_memory_bytes{gpu="0",kind="%s"} %s'
    return "\n".join([*lines, mine % ("planned", 2e9), mine % ("seen", held), card % ("total", 6e9), card % ("used", used)]) + "\n"


def layers(body: Any) -> None:
    body["data"][0]["n_gpu_layers"] = 99


CARD = bend(MODELS, layers)
BENDS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("P5.1", "documents_missing"): (bend(INDEX, lambda body: body.update(new=body["new"] - 1), 1),),
    ("P5.1", "written_twice"): (bend(INDEX, lambda body: body.update(changed=1), 1),),
    ("P5.1", "points_different"): (bend("qdrant POST .*/count", lambda body: body["result"].update(count=body["result"]["count"] + 1)),),
    ("P5.1", "payload_wrong"): (bend(SCROLL, first_point(end=3), 0),),
    ("P5.1", "notes_wrong"): (bend(SCROLL, lose("keeper.md"), 0),),
    ("P5.1", "chunks_of_long"): (bend(SCROLL, lose("islands.md"), 0),),
    ("P5.1", "characters_lost"): (bend(SCROLL, lambda body: body["result"]["points"].remove(next(
        point for point in body["result"]["points"] if point["payload"]["document"].endswith("islands.md"))), 0),),
    ("P5.1", "not_found"): (bend(SEARCH, lambda body: body.update(rows=[]), 2),),
    ("P5.1", "again_written"): (bend(INDEX, lambda body: body.update(changed=1), 2),),
    ("P5.1", "again_different"): (bend(SCROLL, first_point(version="other"), 1),),
    ("P5.1", "change_written"): (bend(INDEX, lambda body: body.update(changed=0), 3),),
    ("P5.1", "change_wrong"): (bend(SCROLL, lose("ferry.txt"), 2),),
    ("P5.1", "removed_left"): (bend(SCROLL, one_more, 4),),
    ("P5.1", "removed_others"): (bend(SCROLL, lose("keeper.md"), 4),),
    ("P5.1", "left_behind"): (bend("rag GET /collections/.*/documents", lambda body: body["rows"].append({})),),
    ("P5.2", "documents_missing"): (bend(INDEX, lambda body: body.update(new=17)),),
    **{("P5.2", f"hit@1_{tongue}"): (bend(SEARCH, lambda body: body["rows"].reverse()),) for tongue in ("ko", "en")},
    **{("P5.2", f"hit@5_{tongue}"): (bend(SEARCH, lambda body: body.update(rows=[])),) for tongue in ("ko", "en")},
    ("P5.2", "answered"): (bend(QUERY, lambda body: body.update(refused=True), *FIRST[:6]),),
    ("P5.2", "right"): (bend(QUERY, lambda body: body.update(answer="42"), *FIRST),),
    ("P5.2", "cited"): (bend(QUERY, other_paths, *FIRST),),
    ("P5.2", "citations"): (bend(QUERY, lambda body: body.update(citations=[]), *FIRST),),
    ("P5.2", "citations_wrong"): (bend(QUERY, lambda body: body["citations"][0].update(state="stale"), 0),),
    ("P5.2", "far_refused"): (bend(QUERY, lambda body: body.update(refused=False), *FAR[:7]),),
    ("P5.2", "cold_slowest"): (late(QUERY, 3.1, 5),),
    ("P5.2", "cached_n"): (bend(QUERY, lambda body: body.update(cached=False), *AGAIN),),
    ("P5.2", "cached_slowest"): (late(QUERY, 0.6, 20),),
    ("P5.2", "not_cached"): (bend(QUERY, lambda body: body.update(cached=True), 0),),
    ("P5.2", "cached_different"): (bend(QUERY, lambda body: body.update(answer="42"), 16),),
    ("P5.3", "vectors"): (keep(1, 0),),
    ("P5.3", "dimension"): (vectors(lambda row: row[:-1], 0),),
    ("P5.3", "norm_error"): (vectors(lambda row: [2 * x for x in row], 0),),
    ("P5.3", "repeat_distance"): (vectors(lambda row: [-x for x in row], 2),),
    ("P5.3", "languages"): (bend("embedding GET /model", lambda body: body.update(languages=[])),),
    ("P5.3", "wrong_order_en"): (bend(EMBED, same, 3),),
    ("P5.3", "wrong_order_ko"): (bend("embedding GET /model", lambda body: body.update(languages=["en", "ko"])), bend(EMBED, same, 4)),
    ("P5.3", "missing_at_limit"): (keep(1000, 5),),
    ("P5.3", "cut_in_silence"): (rewrite(EMBED, lambda _: '{"embeddings": [[1.0]]}', 6), status(EMBED, 200, 6)),
    ("P5.5", "failed"): (status(CHAT, 500, 7),),
    ("P5.5", "silent"): (bend(CHAT, lambda body: body["choices"][0]["message"].update(content=" "), 7),),
    ("P5.5", "by_stand_in"): (bend(CHAT, lambda body: body["suite"].update(fallback=True), 7),),
    ("P5.5", "p95_high"): (late(CHAT, 3.1, 7),),
    ("P5.5", "not_counted"): (rewrite("api-gateway GET /metrics", without_text(f'count.*route="{phase5_speed.ROUTE}"'), 1),),
    ("P5.5", "buckets_within"): (rewrite("api-gateway GET /metrics", without_text(r'le="(0\.|1\.0|2\.0)')),),
    ("P5.5", "buckets_beyond"): (rewrite("api-gateway GET /metrics", without_text(r'le="(5|[1-9][0-9]+)\.0"')),),
    ("P5.6", "looks"): (status(PAGE, 500),),
    ("P5.6", "tokens"): (bend(WRITE, lambda body: body["usage"].update(completion_tokens=0)),),
    ("P5.6", "models_missing"): (bend(MODELS, lambda body: body["data"][0].update(loaded=False)),),
    ("P5.6", "unmeasured"): (rewrite(PAGE, without_text('kind="seen".*inference-code')),),
    ("P5.6", "least_of_plan"): (rewrite(PAGE, lambda text: on_card(text, held=0.9e9)), CARD),
    ("P5.6", "memory_used"): (rewrite(PAGE, lambda text: re.sub(r'(suite_host_memory_bytes{kind="available"}) .*', r"\1 1e8", text)),),
    ("P5.6", "cards_silent"): (CARD,),
    ("P5.6", "card_of_plan"): (rewrite(PAGE, lambda text: on_card(text, used=1.5e9)), CARD),
    ("P5.6", "card_used"): (rewrite(PAGE, lambda text: on_card(text, used=5.5e9)), CARD),
}
SHORT = {("P5.2", "cold_n"): (phase5_golden, "ASKED", 7), ("P5.5", "n"): (phase5_speed, "REQUESTS", 29)}  # how much is asked is the check's own


def test_every_condition_has_a_bend() -> None:
    wanted = {(identity, condition.name) for identity in BY_ID for condition in LIMITS[identity].conditions}
    assert wanted == BENDS.keys() | SHORT.keys()


@pytest.mark.parametrize(("identity", "condition"), BENDS, ids=map(" ".join, BENDS))
def test_every_condition_breaks_by_a_graded_value(tapes: dict[str, Tape], identity: str, condition: str) -> None:
    result = run(tapes, identity, *BENDS[identity, condition])
    assert result.state == "fail" and "error" not in [item["name"] for item in result.evidence], result
    assert condition in [item["name"] for item in result.conditions if item["met"] is False], result


@pytest.mark.parametrize(("identity", "condition"), SHORT, ids=map(" ".join, SHORT))
def test_too_few_answers_are_too_few(tapes: dict[str, Tape], monkeypatch: pytest.MonkeyPatch, identity: str, condition: str) -> None:
    monkeypatch.setattr(*SHORT[identity, condition])
    result = run(tapes, identity)
    assert condition in [item["name"] for item in result.conditions if item["met"] is False], result


def test_a_model_that_lies_on_its_card_passes_with_the_cards_in_the_evidence(tapes: dict[str, Tape]) -> None:
    result = run(tapes, "P5.6", rewrite(PAGE, on_card), CARD)
    assert result.state == "pass", result
    assert next(item for item in result.evidence if item.get("name") == "cards")["planned"] == 2e9


def test_korean_that_the_model_does_not_state_is_told_and_not_counted(tapes: dict[str, Tape]) -> None:
    result = run(tapes, "P5.3", bend(EMBED, same, 4))
    assert result.state == "pass"
    assert next(item for item in result.evidence if item.get("name") == "not counted") == {
        "name": "not counted", "language": "ko", "wrong": 5, "of": 5, "reason": "the model states en"}


def test_a_cut_that_is_told_is_no_silence_and_a_failure_is_no_refusal(tapes: dict[str, Tape]) -> None:
    told = rewrite(EMBED, lambda _: '{"embeddings": [[1.0]], "truncated": true}', 6), status(EMBED, 200, 6)
    assert run(tapes, "P5.3", *told).state == "pass"
    for place in (6, 8):
        assert "cut_in_silence" in run(tapes, "P5.3", status(EMBED, 500, place)).why


def test_what_stands_beyond_the_limit_must_make_a_difference(tapes: dict[str, Tape]) -> None:
    as_before = [rewrite(EMBED, lambda _: '{"embeddings": [[1.0]]}', 7, 8), status(EMBED, 200, 7, 8)]
    assert "cut_in_silence" in run(tapes, "P5.3", *as_before).why
    differs = [rewrite(EMBED, lambda _: '{"embeddings": [[0.5]]}', 8)]
    assert run(tapes, "P5.3", *as_before, *differs).state == "pass"
