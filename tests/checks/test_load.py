"""The load check: what it judges, by made-up rows; its faults, on real stacks; its rows, read again; and its runbook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastparquet
import httpx
import pytest
from fake_stack import FakeStack, status

from suite.bench import throwaway
from suite.checks import fault, fault_load, load_rows
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.load_call import TOWNS, calls
from suite.checks.load_level import joined, level
from suite.checks.load_machine import UNKNOWN, machine
from suite.checks.load_saturation import saturation, summary
from suite.checks.phase5_load import LOAD, planned
from suite.errors import BadRequest, NotFound
from suite.settings import package_file

LIMITS = load()
[CHECK] = LOAD
QUICK = {"levels": [1, 20], "seconds": 1.0}
BREAKS = {fault_load.MIXED: "mixed", fault.MUTE_MODELS: "routes_invalid", fault.DEAD_UPSTREAM: "stand_ins", fault_load.EMPTY: "empty",
          fault_load.BREAKS: "not_2xx", fault_load.CHANGES: "same_as_alone", fault_load.SLOW_ALONE: "alone_p95", fault_load.COLLAPSES: "rate_kept",
          fault_load.SILENT_SERVER: "unsampled", fault_load.UNSCALED: "scaling_missing"}


def row(level: int, ended: float, seconds: float = 0.1, **more: Any) -> dict[str, Any]:
    return {"level": level, "ended": ended, "seconds": seconds, "wrong": "", "tokens": 4, "chat_waiting": 0, "code_waiting": 1, **more}


def test_a_level_is_summed_up_from_its_good_rows_over_its_own_span() -> None:
    rows = [row(1, 1.0, cpu=0.5, vram_bytes=-1.0), row(1, 2.0, 0.3, cpu=0.75), row(5, 0.5), row(5, 1.0), row(5, 1.0, chat_waiting=7), row(5, 0.9, wrong="empty")]
    first, second = summary(rows)
    assert (first["level"], first["n"], first["rate"], first["max"], first["wrong"]) == (1, 2, 1.0, 0.3, 0)
    assert (first["cpu"], first["vram_bytes"], second["cpu"]) == (0.75, None, None)
    assert (second["rate"], second["tokens_per_s"], second["wrong"], second["chat_waiting"], second["code_waiting"]) == (3.0, 12.0, 1, 7, 1)


@pytest.mark.parametrize(("rates", "found", "reached"), [((10, 40, 43, 41), 5, True), ((10, 40, 80, 160), 50, False), ((50, 40, 30, 20), 1, True),
                                                         ((10, 20, 91, 100), 25, True)])
def test_the_point_is_the_first_level_that_gives_nearly_the_highest_rate(rates: tuple[float, ...], found: int, reached: bool) -> None:
    levels = [{"level": each, "rate": rate, "p95": rate / 100} for each, rate in zip((1, 5, 25, 50), rates, strict=True)]
    point = saturation(levels)
    assert point is not None and (point["level"], point["reached"]) == (found, reached)
    assert saturation([]) is None


def test_a_row_gets_the_sample_before_its_end_and_without_one_it_says_so() -> None:
    samples = [{"at": at, "heard": True, "chat_busy": at, "chat_waiting": 0, "code_busy": 0, "code_waiting": 0} for at in (1.0, 2.0)]
    rows = joined([{"ended": 2.5}, {"ended": 1.0}, {"ended": 0.5}], samples)
    assert [(each["ended"], each["sampled"], each["chat_busy"]) for each in rows] == [(0.5, False, -1), (1.0, True, 1.0), (2.5, True, 2.0)]


@pytest.mark.parametrize(("page", "found"), [
    ((200, 'suite_host_cpu_ratio 0.5\nsuite_process_resident_bytes{process="kernel"} 3.0\nsuite_process_resident_bytes{process="children"} 4.0\n'
           'suite_gpu_memory_bytes{gpu="0",kind="total"} 9.0\nsuite_gpu_memory_bytes{gpu="0",kind="used"} 2.0\n'
           'suite_gpu_memory_bytes{gpu="1",kind="used"} 1.0\n'), {"cpu": 0.5, "rss_bytes": 7.0, "vram_bytes": 3.0}),
    ((200, "# nothing of ours\n"), {"cpu": -1.0, "rss_bytes": -1.0, "vram_bytes": -1.0}),
    ((503, "suite_host_cpu_ratio 0.5\n"), {"cpu": -1.0, "rss_bytes": -1.0, "vram_bytes": -1.0}),
    ((200, "suite_host_cpu_ratio half\n"), {"cpu": -1.0, "rss_bytes": -1.0, "vram_bytes": -1.0})])
def test_the_machine_is_read_from_the_page_of_monitoring_and_where_nobody_says_it_is_told(page: tuple[int, str], found: dict[str, float]) -> None:
    status_code, text = page
    target = FakeStack().target()
    target.urls["monitoring"] = "http://127.0.0.1:9090"
    target.call = lambda *_: httpx.Response(status_code, text=text)  # type: ignore[method-assign]
    assert machine(target) == found
    target.urls.pop("monitoring")
    assert set(machine(target).values()) == {UNKNOWN}
    target.close()


def test_a_reply_is_sound_when_it_says_something_and_nothing_of_another() -> None:
    first, *_ = calls(FakeStack().target())
    assert first.sound("") == "empty" and first.sound(f"lamps of {first.word}") == "" and first.sound("20 lamps") == ""
    assert first.sound(f"lamps of {next(town for town in TOWNS if town != first.word)}") == "mixed"


def test_each_town_is_asked_about_once_and_all_three_routes_are_asked() -> None:
    asked = calls(FakeStack().target())
    assert [call.word for call in asked] == list(TOWNS) and {call.route for call in asked} == {"chat chat-7b", "chat code-7b", "embeddings"}
    assert all(sum(call.word in json.dumps(other.body) for other in asked) == 1 for call in asked)


@pytest.mark.parametrize("wrong", [{"level": [1]}, {"levels": []}, {"levels": [5, 1]}, {"levels": [1, 1]}, {"levels": [0]}, {"levels": [True]},
                                   {"levels": "1,5"}, {"levels": [501]}, {"seconds": 0}, {"seconds": "5"}, {"seconds": True}])
def test_a_load_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="load has"):
        planned(wrong)
    assert planned({}) == ([1, 5, 25, 50], 5.0)


def test_the_first_answer_that_is_no_2xx_ends_the_level() -> None:
    target = FakeStack().bend("api-gateway POST .*", status(429)).target()
    rows = level(target, 3, 60.0, calls(target), {})
    target.close()
    assert 1 <= len(rows) <= 6 and {each["status"] for each in rows} == {429} and all("status 429" in each["wrong"] for each in rows)


def test_no_load_is_made_where_a_route_is_not_valid() -> None:
    stack = FakeStack().bend("api-gateway POST /v1/embeddings", status(500))
    result = perform(CHECK, stack.target(), LIMITS[CHECK.id])
    assert result.state == "fail" and "no load was made, because embeddings: status 500" in result.why
    assert [item["observed"] for item in result.conditions if item["name"] == "levels_missing"] == [None]


def test_rows_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = [row(1, 1.0, text="등대 417"), row(5, 2.0, text="")]
    kept = load_rows.keep(rows, tmp_path / "new" / "rows.parquet")
    with (tmp_path / "new" / kept["file"]).open("rb") as file:
        found = fastparquet.ParquetFile(file).to_pandas()
    assert (tmp_path / "new" / kept["file"]).stat().st_mode & 0o077 == 0
    assert kept["rows"] == 2 and len(kept["sha256"]) == 64 and found.to_dict("records") == rows


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(NotFound, match=r"local-ai-suite\[load\]"):
        load_rows.keep([row(1, 1.0)], tmp_path / "rows.parquet")


@pytest.fixture
def running(models_dir: Path, tmp_path: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        target.load, target.evidence = QUICK, tmp_path / "reports"
        yield stack, target


def test_a_healthy_stack_keeps_its_answers_and_every_row(running: Any, tmp_path: Path) -> None:
    _, target = running
    result = perform(CHECK, target, LIMITS[CHECK.id])
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    broken = {item["name"] for item in result.conditions if item["met"] is False}
    assert broken <= {"rate_kept"}, result  # how fast a busy machine is is no matter of a test
    [kept] = [item for item in result.evidence if item.get("name") == "rows"]
    with (tmp_path / "reports" / kept["file"]).open("rb") as file:
        rows = fastparquet.ParquetFile(file).to_pandas()
    assert len(rows) == kept["rows"] and set(rows["level"]) == {1, 20} and set(rows["status"]) == {200} and (rows["chat_busy"] >= 0).all()
    assert rows["cpu"].max() > 0 and (rows["rss_bytes"] > 100 << 20).all() and (rows["vram_bytes"] == UNKNOWN).all()
    assert {item["level"] for item in result.evidence if item.get("name") == "level"} == {1, 20}


@pytest.mark.parametrize("each", BREAKS, ids=lambda each: each.sentence.replace(" ", "-"))
def test_each_fault_turns_it_red_by_its_own_condition(running: Any, each: Any) -> None:
    stack, target = running
    each.inject(stack)
    result = perform(CHECK, target, LIMITS[CHECK.id])
    assert result.state == "fail" and BREAKS[each] in {item["name"] for item in result.conditions if item["met"] is False}, result
    assert set(BREAKS) == {CHECK.fault, *CHECK.others}


def test_the_runbook_ends_with_the_point_and_what_to_change(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto",
                       "REPORTS_DIR": str(tmp_path / "reports")}.items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "out.ipynb"
    subprocess.run([sys.executable, "-m", "papermill", str(package_file("runbooks/load.ipynb")), str(out), "--no-progress-bar",
                    "-y", json.dumps({"load": {"levels": [1, 4], "seconds": 0.5}})], capture_output=True, text=True, cwd=tmp_path)
    outputs = [output.get("data", {}) for cell in json.loads(out.read_text(encoding="utf-8"))["cells"] for output in cell.get("outputs", [])]
    text = "\n".join("".join(data.get("text/plain", "")) for data in outputs)
    assert "Saturation:" in text and "ScaleUpstream" in text and "API_GATEWAY_UPSTREAMS" in text and "P5.5-load" in text
    assert len(list((tmp_path / "reports").glob("*-load-rows.parquet"))) == 1
