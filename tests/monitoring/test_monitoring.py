"""A stack that is watched: every metric of the table is there, moves when something happens, and is the same from another process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai_stage import until
from prometheus_client.parser import text_string_to_metric_families

import suite
from suite.bench import Bench
from suite.errors import BadRequest, NotReady
from suite.monitoring.hostinfo import GPU_FAMILIES
from suite.monitoring.table import MONITORING, REACH, ROWS, TABLE

HAPPENS = {f"suite_gpu_{name}" for name in GPU_FAMILIES}  # with a card
JOBS = ("api-gateway", "inference-chat", "inference-code", "rag", "embedding", "qdrant", "memory-api", "mcp-server", "security-admin", MONITORING)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Bench]:
    """A stack in which everything that is counted has happened once."""
    home = tmp_path_factory.mktemp("watched")
    (home / "note.md").write_text("The tide tables of Norwick harbour are kept in a green ledger.\n")
    opened = suite.start(data_dir=home / "data", models_dir=models_dir, workspace_dir=home, rag_roots=str(home), port_base="auto",
                         monitoring_interval=1, memory_sync_interval=1)
    opened.chat("hello", max_tokens=4)
    opened.collection("notes").add(str(home / "note.md"))
    opened.collection("notes").ask("Where are the tide tables kept?")
    opened.tools.call("list_files", path=".")
    opened.backups.daily()
    opened.run("backup")
    yield opened
    opened.stop()


def family(sample: str) -> str:
    for end in ("_bucket", "_count", "_sum"):
        if sample.endswith(end) and sample.removesuffix(end) in ROWS:
            return sample.removesuffix(end)
    return sample


def scraped(bench: Bench, job: str) -> dict[str, list]:
    path = f"/metrics/{MONITORING}" if job == MONITORING else "/metrics"
    found: dict[str, list] = {}
    for one in text_string_to_metric_families(httpx.get(bench._behind.record.url(job) + path, trust_env=False).raise_for_status().text):
        for sample in one.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(family(sample.name), []).append((one.type, sample))
    return found


def test_every_metric_of_the_table_is_given_by_its_target_with_its_kind_labels_and_reach(bench: Bench) -> None:
    until(lambda: "suite_maintainer_job_age_seconds" in scraped(bench, MONITORING))
    seen = {job: scraped(bench, job) for job in JOBS}
    for row in TABLE:
        jobs = row.jobs or tuple(job for job in JOBS if row.name != "suite_part_ready" or job != "security-admin")
        for job in jobs:
            if row.name in HAPPENS and row.name not in seen[job]:
                continue
            assert row.name in seen[job], f"{job} gives no {row.name}"
            for kind, sample in seen[job][row.name]:
                assert kind == row.kind, row.name
                assert set(sample.labels) - {"le"} == set(row.labels), row.name
            if row.limit is not None:
                bounds = {float(sample.labels["le"]) for _, sample in seen[job][row.name] if "le" in sample.labels}
                assert max(bounds - {math.inf}) >= REACH * row.limit, row.name
    for job in JOBS:
        for name in seen[job]:
            assert name.startswith("llamacpp:") or job in ROWS[name].jobs or not ROWS[name].jobs, f"{job} gives {name}, which is not its"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_metric_says_its_unit_at_its_end(row: object) -> None:
    ends = {"seconds": ("_seconds", "_seconds_total"), "bytes": "_bytes", "ratio": "_ratio", "watts": "_watts", "celsius": "_celsius", "hertz": "_hertz", "per_second": "_per_second"}
    end = ends.get(row.unit, "_total" if row.kind == "counter" else "")
    assert row.name.endswith(end) and row.sentence.endswith(".") and row.name.startswith("suite_")
    assert row.kind != "histogram" or (row.limit and row.unit == "seconds")


def number(bench: Bench, job: str, name: str, **labels: str) -> float:
    return sum(sample.value for _, sample in scraped(bench, job).get(name, []) if labels.items() <= sample.labels.items()
               and not sample.name.endswith(("_bucket", "_sum")))


def computed(bench: Bench) -> None:
    """Have the chat model write until the system has noticed that its thread computes; it counts in hundredths of a second."""
    until(lambda: bench.chat("seven", model="chat-7b", max_tokens=40) and number(bench, MONITORING, "suite_part_cpu_seconds_total", part="inference-chat") > 0.05)


STIMULI = [
    ("api-gateway", "suite_llm_requests_total", {"outcome": "ok"}, lambda bench: bench.chat("one", max_tokens=2)),
    ("api-gateway", "suite_llm_tokens_total", {"kind": "predicted"}, lambda bench: bench.chat("two", max_tokens=2)),
    ("api-gateway", "suite_llm_request_seconds", {}, lambda bench: bench.chat("three", max_tokens=2)),
    ("inference-chat", "suite_serving_requests_total", {}, lambda bench: bench.chat("four", max_tokens=2)),
    ("rag", "suite_retrieval_queries_total", {"outcome": "answered"}, lambda bench: bench.collection("notes").ask("Where are the tide tables of Norwick harbour kept?")),
    ("rag", "suite_retrieval_stage_seconds", {"stage": "search"}, lambda bench: bench.collection("notes").ask("Where are the tide tables of Norwick?")),
    ("rag", "suite_retrieval_stage_seconds", {"stage": "embed"}, lambda bench: bench.collection("notes").ask("Which ledger holds the tide tables?")),
    ("rag", "suite_retrieval_stage_seconds", {"stage": "llm"}, lambda bench: bench.collection("notes").ask("What colour has the ledger of tides?")),
    ("embedding", "suite_embedding_texts_total", {}, lambda bench: bench.embed(["a text that nobody has embedded before"])),
    ("memory-api", "suite_memory_turns", {}, lambda bench: bench.memory.remember("a question", "an answer")),
    ("mcp-server", "suite_tool_calls_total", {"tool": "list_files", "outcome": "done"}, lambda bench: bench.tools.call("list_files", path=".")),
    ("mcp-server", "suite_tool_seconds", {"tool": "list_files"}, lambda bench: bench.tools.call("list_files", path=".")),
    ("mcp-server", "suite_tool_calls_total", {"outcome": "failed"}, lambda bench: bench.tools.call("list_files", path="nowhere")),
    ("mcp-server", "suite_tool_calls_total", {"outcome": "denied"}, lambda bench: bench.tools.call("list_files", path=".", actor="nobody")),
    ("mcp-server", "suite_audit_entries", {}, lambda bench: bench.tools.call("list_files", path=".")),
    ("api-gateway", "suite_llm_first_token_seconds", {"alias": "chat-7b"}, lambda bench: bench.chat("five", model="chat-7b", max_tokens=2)),
    ("api-gateway", "suite_llm_tokens_per_second", {"alias": "code-7b"}, lambda bench: bench.chat("six", model="code-7b", max_tokens=4)),
    (MONITORING, "suite_check_state", {}, lambda bench: bench.run("review_security")),
    (MONITORING, "suite_part_cpu_seconds_total", {"part": "inference-chat"}, lambda bench: computed(bench)),
    (MONITORING, "suite_backup_snapshots", {"verified": "yes"}, lambda bench: bench.backups.daily()),
]


@pytest.mark.parametrize(("job", "name", "labels", "stimulus"), STIMULI, ids=lambda value: value if isinstance(value, str) else None)
def test_a_stimulus_moves_its_metric(bench: Bench, job: str, name: str, labels: dict[str, str], stimulus: object) -> None:
    before = number(bench, job, name, **labels)
    try:
        stimulus(bench)
    except suite.errors.SuiteError:
        assert labels.get("outcome") in ("failed", "denied")
    assert number(bench, job, name, **labels) > before


def test_all_targets_are_up_and_their_samples_become_tables(bench: Bench) -> None:
    until(lambda: len(bench.monitoring.targets()) == len(JOBS))
    targets = bench.monitoring.targets()
    assert set(targets["job"]) == set(JOBS) and targets["up"].all() and (targets["error"] == "").all() and str(targets["at"].dt.tz) == "UTC"
    until(lambda: len(bench.monitoring.samples("suite_tool_calls_total", "1h", tool="list_files", outcome="done")) >= 2)
    found = bench.monitoring.samples("suite_tool_calls_total", since=600, job="mcp-server")
    assert {"at", "value", "tool", "outcome", "job", "instance"} == set(found.columns) and found["value"].max() >= 1
    known = bench.monitoring.metrics().set_index("name")
    assert known.loc["suite_tool_calls_total", "unit"] == "count" and known.loc["suite_request_seconds_bucket", "kind"] == "histogram"
    assert known.loc["up", "sentence"] == ""


def test_rules_are_looked_at_and_what_fires_is_listed(bench: Bench) -> None:
    until(lambda: "Watchdog" in set(bench.monitoring.alerts()["name"]))
    rules, alerts = bench.monitoring.rules(), bench.monitoring.alerts()
    assert len(rules) > 35 and (rules["error"] == "").all() and set(rules["state"]) <= {"inactive", "pending", "firing"}
    (watchdog,) = alerts[alerts["name"] == "Watchdog"].to_dict("records")
    assert watchdog["severity"] == "none" and watchdog["state"] == "firing" and watchdog["value"] == 1.0 and watchdog["since"].tzinfo is not None
    assert rules.set_index("name").loc["Watchdog", "state"] == "firing"


def test_all_six_charts_of_the_overview_show_something_on_a_stack_that_nobody_has_asked_anything(tmp_path: Path, models_dir: Path) -> None:
    fresh = suite.start(data_dir=tmp_path / "data", models_dir=models_dir, port_base="auto", monitoring_interval=1)
    try:
        watching = fresh.monitoring
        shown = watching.dashboards()
        assert shown["dashboard"].value_counts().to_dict() == {"AI Suite Overview": 6, "RBAC Metrics": 5, "Approval Workflow Metrics": 5, "SLA Tracking": 5}
        panels = list(shown[shown["uid"] == "ai-suite-overview"]["title"])
        until(lambda: all(len(watching.chart("AI Suite Overview", panel, since="1m", step=1)) for panel in panels))
        for panel in panels:
            found = watching.chart("AI Suite Overview", panel, since="1m", step=1)
            assert {"at", "line", "value"} <= set(found.columns) and found["value"].notna().all() and str(found["at"].dt.tz) == "UTC", panel
        status = watching.chart("ai-suite-overview", 1, since="1m", step=1)
        assert set(status["line"]) >= {*(f"{job} answers" for job in JOBS), "memory-maintainer is ready"}
        assert status[status["line"] == "rag answers"]["value"].tolist()[-1] == 1.0
        memory = watching.chart("AI Suite Overview", "Memory in use", since="1m", step=1)["value"]
        assert memory.between(0.01, 1).all()
    finally:
        fresh.stop()


def test_a_chart_moves_with_what_happens(bench: Bench) -> None:
    def denied() -> float:
        found = bench.monitoring.chart("RBAC Metrics", "Denied in an hour", since="1m", step=1)["value"]
        return float(found.iloc[-1]) if len(found) else 0.0

    until(lambda: len(bench.monitoring.chart("RBAC Metrics", 2, since="1m", step=1)) > 0)
    before = denied()
    with pytest.raises(suite.errors.Denied):
        bench.tools.call("list_files", path=".", actor="nobody")
    until(lambda: denied() > before + 0.5)


@pytest.mark.parametrize(("asked", "says"), [
    (("Overview", 1), "There is no dashboard 'Overview'; use one of AI Suite Overview, RBAC"), (("AI Suite Overview", 7), "There is no panel '7'; use one of Serv"),
    (("AI Suite Overview", 1, "soon"), "since is 'soon'"), (("AI Suite Overview", 1, "1h", 0), "A chart from .* cannot be drawn"),
    (("AI Suite Overview", 1, "1h", 0.01), "cannot be drawn; ask for a begin before its end, and at most 11000 steps"),
])
def test_a_chart_that_there_is_not_is_said_in_one_sentence(bench: Bench, asked: tuple, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        bench.monitoring.chart(*asked)


@pytest.mark.parametrize(("metric", "since", "says"), [
    ("suite_nothing", "1h", "There is no metric 'suite_nothing'"), ("up", "soon", "since is 'soon'"), ("up", -1, "since is -1"), ("up", True, "since is True"),
])
def test_what_cannot_be_asked_is_said_in_one_sentence(bench: Bench, metric: str, since: object, says: str) -> None:
    until(lambda: len(bench.monitoring.targets()) > 0)
    with pytest.raises(BadRequest, match=says):
        bench.monitoring.samples(metric, since)


GUEST = """
import json, sys, suite
bench = suite.start(data_dir=sys.argv[1], attach=True)
assert not bench.hosting
found = bench.monitoring
print(json.dumps({"targets": sorted(found.targets()["job"]), "up": bool(found.targets()["up"].all()), "metrics": len(found.metrics()),
                  "rules": found.rules()["name"].tolist(), "alerts": list(found.alerts().columns), "memory": found.memory().drop(columns="seen").fillna(-1).to_dict("records"),
                  "held": bool((found.memory()["seen"] > 0).all()), "samples": len(found.samples("up", job="rag")), "columns": list(found.samples("up", job="rag").columns),
                  "dashboards": found.dashboards().values.tolist(), "lines": sorted(set(found.chart("SLA Tracking", "Calls that worked", "5m", 1)["line"])),
                  "chart": [[one.name, one.labels, one.times.tolist(), one.values.tolist()]
                            for one in bench._behind.monitor.chart("ai-suite-overview", 1, *map(float, sys.argv[2:]), 1.0)]}))
"""


def test_a_guest_sees_the_same(bench: Bench) -> None:
    until(lambda: len(bench.monitoring.targets()) == len(JOBS))
    until(lambda: len(bench.monitoring.chart("SLA Tracking", "Calls that worked", "5m", 1)) > 0)
    begin, end = time.time() - 30, time.time()
    done = subprocess.run([sys.executable, "-c", GUEST, str(bench.settings.data_dir), str(begin), str(end)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["targets"] == sorted(JOBS) and seen["up"] and seen["samples"] >= 1
    assert seen["rules"] == bench.monitoring.rules()["name"].tolist() and seen["alerts"] == list(bench.monitoring.alerts().columns)
    assert seen["dashboards"] == bench.monitoring.dashboards().values.tolist() and seen["lines"] == ["worked"]
    assert seen["chart"] == [[one.name, one.labels, one.times.tolist(), one.values.tolist()]
                             for one in bench._behind.monitor.chart("ai-suite-overview", 1, begin, end, 1.0)] and len(seen["chart"]) > 15
    own = bench.monitoring.memory()
    assert seen["memory"] == own.drop(columns="seen").fillna(-1).to_dict("records") and seen["held"] and own["model"].tolist() == ["smoke", "smoke", "unattributed"]
    assert seen["metrics"] == len(bench.monitoring.metrics()) and seen["columns"] == list(bench.monitoring.samples("up", job="rag").columns)


def test_the_whole_at_once_is_what_prometheus_reads_and_tells_the_targets_apart(bench: Bench) -> None:
    text = httpx.get(bench._behind.record.url(MONITORING) + "/metrics", trust_env=False).text
    found = {one.name: one for one in text_string_to_metric_families(text)}
    assert {sample.labels["job"] for sample in found["llamacpp:requests_processing"].samples} == {"inference-chat", "inference-code"}
    assert {row.family for row in TABLE} - HAPPENS <= set(found)


def test_a_request_is_in_the_usage_at_once_with_its_stages(bench: Bench) -> None:
    before = int(bench.usage("1h", by="alias").set_index("alias").loc["chat-7b", "requests"])
    bench.chat("eight", model="chat-7b", max_tokens=3)
    last = bench.usage("1h").iloc[-1]
    assert (last["alias"], last["model"], last["server"], last["tokens"], last["outcome"]) == ("chat-7b", "smoke", "inference-chat", 3, "ok")
    assert 0 <= last["queue_seconds"] <= last["first_seconds"] <= last["seconds"] and "eight" not in str(last.to_dict())
    assert int(bench.usage("1h", by="alias").set_index("alias").loc["chat-7b", "requests"]) == before + 1
    assert bench.advice("1h")["kind"].tolist() == ["too little"]


def test_a_model_that_is_unloaded_holds_nothing_any_more(bench: Bench) -> None:
    before = scraped(bench, MONITORING)["suite_model_memory_bytes"]
    assert {(sample.labels["server"], sample.labels["kind"]) for _, sample in before} == {(f"inference-{role}", kind) for role in ("chat", "code")
                                                                                          for kind in ("planned", "seen")}
    assert number(bench, MONITORING, "suite_model_memory_bytes", server="inference-code", kind="planned") > 0
    bench.unload_model("code")
    try:
        assert {sample.labels["server"] for _, sample in scraped(bench, MONITORING)["suite_model_memory_bytes"]} == {"inference-chat"}
        assert bench.monitoring.memory()["server"].tolist() == ["inference-chat", ""]
    finally:
        bench.switch_model("code")
    assert bench.monitoring.memory()["server"].tolist() == ["inference-chat", "inference-code", ""]


def test_a_stack_that_is_not_watched_says_so(tmp_path: Path, models_dir: Path) -> None:
    opened = suite.start(data_dir=tmp_path, models_dir=models_dir, port_base="auto", monitoring_enabled=False)
    try:
        with pytest.raises(NotReady, match="MONITORING_ENABLED=true"):
            opened.monitoring.targets()
        assert MONITORING not in opened._behind.record.ports and not (tmp_path / "monitoring" / "history.db").exists()
    finally:
        opened.stop()
