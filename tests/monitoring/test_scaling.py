"""The rules of scaling.toml: each is due at its load and not below it, and a real promtool takes them beside the alert rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rule_scene import Scene

from suite.monitoring.evaluate import evaluate
from suite.monitoring.load_rules import load_rules
from suite.monitoring.promql import FILE, rule_file
from suite.monitoring.scaling import scaling_rules
from suite.monitoring.table import ROWS

RULES = {rule.name: rule for rule in scaling_rules(ROWS)}
MINUTES = 15
LOOKS = MINUTES * 4 + 1
CHAT = {"job": "inference-chat", "instance": "127.0.0.1:8001"}
RAG = {"job": "rag", "instance": "127.0.0.1:8002"}


def histogram(scene: Scene, metric: str, below: str, above: str, share: float, **labels: str) -> Scene:
    """Ten events at each look; such a share of them lasted longer than `below`, and none longer than `above`."""
    for edge, part in ((below, 1 - share), (above, 1.0), ("+Inf", 1.0)):
        scene.add(f"{metric}_bucket", [10.0 * part * look for look in range(LOOKS)], le=edge, **labels)
    return scene.add(f"{metric}_count", [10.0 * look for look in range(LOOKS)], **labels)


def queue(waiting: float) -> Scene:
    return Scene().add("suite_serving_queue_depth", [waiting] * LOOKS, **CHAT)


def growing(metric: str, step: float, labels: dict[str, str], looks: int = LOOKS) -> Scene:
    return Scene().add(metric, [step * look for look in range(looks)], **labels)


HOUR = 241  # looks
SCENES = {  # at the load, and below it
    "ScaleSlots": (queue(9), queue(8)),
    "ScaleLayers": (histogram(Scene(), "suite_serving_first_token_seconds", "2.0", "5.0", 0.2, **CHAT),
                    histogram(Scene(), "suite_serving_first_token_seconds", "2.0", "5.0", 0.01, **CHAT)),
    "ScaleUpstream": (growing("suite_serving_refused_total", 1, CHAT), growing("suite_serving_refused_total", 0, CHAT)),
    "ScaleVectors": (histogram(Scene(), "suite_retrieval_stage_seconds", "0.3", "1.0", 0.2, stage="search", **RAG),
                     histogram(Scene(), "suite_retrieval_stage_seconds", "0.3", "1.0", 0.2, stage="llm", **RAG)),
    "ScaleIndexing": (growing("suite_retrieval_chunks_indexed_total", 220, RAG, HOUR), growing("suite_retrieval_chunks_indexed_total", 200, RAG, HOUR)),
}


@pytest.mark.parametrize("name", RULES)
def test_a_change_is_due_at_its_load_and_not_below(name: str) -> None:
    at = (HOUR - 1) * 15.0 if name == "ScaleIndexing" else MINUTES * 60.0
    loaded, light = SCENES[name]
    [held] = evaluate(RULES[name], loaded, at)
    assert held.value > RULES[name].threshold
    assert evaluate(RULES[name], light, at) == []


def test_each_rule_says_what_to_change_and_alarms_nobody() -> None:
    assert {rule.severity for rule in RULES.values()} == {"info"} and set(RULES) == set(SCENES)
    named = {"ScaleSlots": "LLAMA_SLOTS", "ScaleLayers": "N_GPU_LAYERS", "ScaleUpstream": "API_GATEWAY_UPSTREAMS", "ScaleVectors": "QDRANT_URL",
             "ScaleIndexing": "RAG_DASK_URL"}
    assert {name: word for name, word in named.items() if word in RULES[name].sentence} == named
    assert not {rule.name for rule in load_rules()} & set(RULES)


def test_promtool_takes_them_beside_the_alert_rules(tmp_path: Path) -> None:
    rules = (*load_rules(), *scaling_rules())
    (tmp_path / FILE).write_text(rule_file(rules), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", str(tmp_path / FILE)], capture_output=True, text=True)
    assert checked.returncode == 0 and f"{len(rules)} rules found" in checked.stdout, checked.stderr
