"""Phase 5, speed and memory: how long the user's own route takes, by the user's clock, and whether models hold the memory they should."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from suite.checks import fault, fault_speed
from suite.checks.check import Check, Observation
from suite.checks.spread import spread
from suite.checks.target import Target
from suite.errors import SuiteError, UpstreamError
from suite.monitoring.exposition import Sample, samples

REQUESTS = 60  # the slowest of 59 or more is above the 95th percentile of all with a confidence of 95 %; of fewer, nothing is sure
TOKENS = 16
ROUTE = "/v1/chat/completions"
SERVERS = ("inference-chat", "inference-code")
LEAST_LOOKS, LOOK_S = 5, 0.1  # how often the memory is looked at while a model writes, and seconds between
WRITTEN = 64  # tokens that are written meanwhile, at least


def latency(target: Target, seen: Observation) -> None:
    """P5.5: replies through the gateway one after the other, to a question each, timed here; and whether the server's histogram could tell."""
    times: list[float] = []
    failed = silent = stand_ins = 0
    before = _counted(target)
    for number in range(REQUESTS):
        body = {"model": target.aliases[number % len(target.aliases)], "messages": [{"role": "user", "content": f"What comes after {number}?"}],
                "max_tokens": TOKENS}
        began = target.clock()
        try:
            reply = target.json("POST", "api-gateway", ROUTE, json=body)
        except SuiteError as error:
            failed += 1
            seen.note("refused", reason=str(error))
            if failed >= 3:  # of a route that is down nothing more is learnt
                break
            continue
        times.append(target.clock() - began)
        silent += not (reply["choices"][0]["message"]["content"] or "").strip()
        stand_ins += bool((reply.get("suite") or {}).get("fallback"))
    found = spread(times)
    after = _counted(target)
    seen.values |= {"n": len(times), "failed": failed, "silent": silent, "by_stand_in": stand_ins, "p95_high": found.get("high")}
    if before is not None and after is not None:
        seen.values |= {"not_counted": max(0, len(times) - (after["count"] - before["count"])), "buckets_beyond": after["beyond"],
                        "buckets_within": after["within"]}
    elif not target.foreign:
        seen.values |= {"not_counted": len(times), "buckets_beyond": 0, "buckets_within": 0}
    seen.note("seconds", route=f"POST {ROUTE}", tokens=TOKENS, **found)


def _counted(target: Target) -> dict[str, Any] | None:
    """What the gateway's histogram counted of the route, and its bucket edges on either side of the limit of 3 s; None where it has none."""
    answer = target.call("GET", "api-gateway", "/metrics")
    try:
        rows = samples(answer.text) if answer.is_success else []
    except UpstreamError:  # a page of something else
        return None
    mine = [row for row in rows if row.labels.get("route") == ROUTE and row.name.startswith("suite_request_seconds")]
    edges = {float(row.labels["le"]) for row in rows if row.name == "suite_request_seconds_bucket" and "le" in row.labels}
    finite = [edge for edge in edges if math.isfinite(edge)]
    if not edges:
        return None
    return {"count": int(sum(row.value for row in mine if row.name == "suite_request_seconds_count")), "beyond": sum(edge > 3 for edge in finite),
            "within": sum(edge <= 3 for edge in finite)}


def memory(target: Target, seen: Observation) -> None:
    """P5.6: what the models hold where their profile puts them, and how full that memory is, looked at while they write."""
    if target.parts() is None:
        seen.not_applicable = "this stack is of another make and does not tell how much memory its models should take, or take"
        return
    layers = {server: _loaded(target, server) for server in SERVERS}
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(_write, target)
        looks = [_look(target)]
        while len(looks) < LEAST_LOOKS or not writing.done():
            wait([writing], LOOK_S)
            looks.append(_look(target))
        tokens = writing.result()
    looks = [look for look in looks if look]
    seen.values |= {"tokens": tokens, "looks": len(looks), "models_missing": sum(count is None for count in layers.values())}
    if looks:
        _judge(seen, looks, layers)


def _judge(seen: Observation, looks: list[list[Sample]], layers: Mapping[str, int | None]) -> None:
    """What the last look says of the plan, and all of them of the room that is left."""
    planned, held = _sizes(looks[-1], "planned"), _sizes(looks[-1], "seen")
    on_cards = [server for server, count in layers.items() if count]
    meant = {place for place, size in planned.items() if size} | {(server, "gpu") for server in on_cards}
    unknown = [server for server in SERVERS if not any(server == other for other, _ in meant)]
    seen.values["unmeasured"] = len([place for place in meant if place not in held]) + len(unknown)
    seen.values["least_of_plan"] = _least(planned, held)
    _fullness(seen, looks, planned if on_cards else {})
    where = "cards" if on_cards else "main memory alone: the profile puts no layer on a card"
    seen.note("memory", where=where, layers=layers, planned={"/".join(key): size for key, size in planned.items()},
              held={"/".join(key): size for key, size in held.items()})


def _sizes(look: list[Sample], kind: str) -> dict[tuple[str, str], float]:
    """Bytes by server and memory."""
    return {(row.labels["server"], row.labels["where"]): row.value for row in look
            if row.name == "suite_model_memory_bytes" and row.labels["kind"] == kind and row.labels["where"] in ("ram", "gpu")}


def _least(planned: Mapping[tuple[str, str], float], held: Mapping[tuple[str, str], float]) -> float | None:
    """The smallest share of its plan that is held: on cards by each model; in main memory by all, since what two take that load side by side cannot
    be told apart."""
    together: dict[tuple[str, str], tuple[float, float]] = {}
    for (server, where), size in planned.items():
        key = (server if where == "gpu" else "", where)
        wanted, there = together.get(key, (0.0, 0.0))
        together[key] = wanted + size, there + held.get((server, where), 0.0)
    shares = [there / wanted for wanted, there in together.values() if wanted]
    return round(min(shares), 4) if shares else None


def _fullness(seen: Observation, looks: list[list[Sample]], on_cards: dict[tuple[str, str], float]) -> None:
    """The fullest that main memory and any card were; of cards, when a model is to lie there, also whether they hold as much as is planned."""
    seen.values["memory_used"] = max((1 - _sum(look, "suite_host_memory_bytes", "available") / total for look in looks
                                      if (total := _sum(look, "suite_host_memory_bytes", "total"))), default=None)
    seen.values["cards_silent"] = 0
    if not on_cards:
        return
    used = [{row.labels["gpu"]: row.value for row in look if row.name == "suite_gpu_memory_bytes" and row.labels["kind"] == "used"} for look in looks]
    total = {row.labels["gpu"]: row.value for row in looks[-1] if row.name == "suite_gpu_memory_bytes" and row.labels["kind"] == "total"}
    shares = [size / total[card] for look in used for card, size in look.items() if total.get(card)]
    wanted = sum(size for (_, where), size in on_cards.items() if where == "gpu")
    seen.values |= {"cards_silent": 0 if shares else len({server for server, _ in on_cards}), "card_used": max(shares, default=None),
                    "card_of_plan": min(sum(look.values()) for look in used) / wanted if wanted and shares else None}
    seen.note("cards", total=total, used=used[-1] if used else {}, planned=wanted)


def _loaded(target: Target, server: str) -> int | None:
    """How many layers of its model a server was told to put on a card; None when none is loaded."""
    rows = target.json("GET", server, "/v1/models")["data"]
    return int(rows[0]["n_gpu_layers"]) if rows and rows[0].get("loaded") else None


def _write(target: Target) -> int:
    """Tokens that both servers wrote, so that what they need for it is in use."""
    told = 0
    for server in SERVERS:
        rows = target.json("GET", server, "/v1/models")["data"]
        body = {"model": rows[0]["id"] if rows else "auto", "messages": [{"role": "user", "content": "Tell me about rivers."}], "max_tokens": WRITTEN}
        try:
            told += target.json("POST", server, ROUTE, json=body)["usage"]["completion_tokens"]
        except SuiteError:
            continue  # no tokens is what it says
    return told


def _look(target: Target) -> list[Sample]:
    """What is measured now, of models, machine and cards."""
    answer = target.call("GET", "monitoring", "/metrics/monitoring")
    return samples(answer.text) if answer.is_success else []


def _sum(look: list[Sample], name: str, kind: str) -> float:
    return math.fsum(row.value for row in look if row.name == name and row.labels.get("kind") == kind)


SPEED = (
    Check("P5.5", "Nineteen of twenty replies reach the user within 3 s", 5, "performance", 2, fault_speed.LATE_REPLY, latency,
          (fault_speed.EMPTY_REPLIES, fault.MUTE_MODELS, fault.DEAD_UPSTREAM, fault_speed.BLUNT_BUCKETS, fault_speed.UNCOUNTED)),
    Check("P5.6", "Models hold the memory that they should, and leave some", 5, "performance", 2, fault_speed.UNUSED_CARD, memory,
          (fault_speed.FULL_CARD, fault_speed.FULL_MEMORY, fault_speed.SHRUNK_MODELS, fault.MUTE_MODELS, fault_speed.UNTOLD_MEMORY)),
)
