"""The panels of the GPU, alerts, the log and the dashboards over a real stack: what each shows, what a click does, and what is said in trouble."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from driver_stage import MIB, Driver
from openai_stage import until

import suite
from kernels import Process
from suite.bench import Bench
from suite.monitoring.gpu import gpus
from suite.monitoring.scrape import Target
from suite.panels import live, logs
from suite.panels.alerts import _keys
from suite.panels.curves import Curve
from suite.panels.overview import Chart, _states
from suite.settings import load

SIX = ["Service status", "Request rate", "Response times (p95)", "Vector search", "Memory in use", "Processor in use"]
say = logging.getLogger("suite.memory.test")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("watched")
    (home / "note.md").write_text("The tide tables of Norwick harbour are kept in a green ledger.\n")
    opened = suite.start(data_dir=home / "data", models_dir=models_dir, workspace_dir=home, rag_roots=str(home), port_base="auto",
                         monitoring_interval=1)
    opened.collection("notes").add(str(home / "note.md"))
    until(lambda: "Watchdog" in set(opened.monitoring.alerts()["name"]), 60)
    yield opened
    opened.stop()


def gone(panel: Any) -> None:
    """A look that fails as it does in the panel's own thread."""
    panel._guarded(panel._renew_once, trouble=True)


# ---- GPU ----

def test_cards_are_shown_with_all_that_the_driver_says_and_who_holds_their_memory(bench: Bench) -> None:
    driver = Driver(cards=2)
    driver.nvmlDeviceGetComputeRunningProcesses = lambda card: [SimpleNamespace(pid=os.getpid(), usedGpuMemory=100 * MIB),
                                                                SimpleNamespace(pid=1 << 30, usedGpuMemory=None)]
    driver.nvmlDeviceGetGraphicsRunningProcesses = lambda card: []
    panel = suite.panels.gpu(bench, cards=lambda: gpus(driver))
    words = "141 MiB of 6 GiB, 2.3 % full · 31 % busy · 45 °C · 27.5 W of 115 · slowed by: power cap, hardware thermal"
    assert panel.said == "" and panel.picture.value.count(words) == 2 and "Card 1 · NVIDIA GeForce RTX 4050" in panel.picture.value
    assert [title for title, _, _ in panel._charts()] == ["Memory of the cards", "How busy the cards are", "Memory of the machine", "Processors"]
    assert "stroke-dasharray" in panel.picture.value, "the line at 90 %"
    holders = panel._rows()[0][2]
    assert holders[0] == (0, os.getpid(), "this stack's host", "100 MiB") and holders[1][2:] == ("not to be seen from here", "the driver does not say")
    assert [row[:3] for row in panel.models[:2]] == [("smoke", "inference-chat", "ram"), ("smoke", "inference-code", "ram")]
    assert all(row[3].endswith("MiB") for row in panel.models[:2]) and panel.models[2][0] == "unattributed"
    html, text = panel.twin()
    assert "<svg" not in html and html.count("data:image/svg+xml") == 6 and "this stack&#x27;s host" in html
    cards = [" ".join(line.split()) for line in text.split("\n\n")[0].splitlines()]  # how wide a column is, is the machine's memory's to say
    assert cards[2].startswith("0 141 MiB 6 GiB 2.3 %") and "unattributed" in text and "this stack's host" in text


def test_without_a_card_it_says_so_and_shows_the_machine(bench: Bench) -> None:
    panel = suite.panels.gpu(bench, cards=lambda: gpus(Driver(cannot=("nvmlInit",))))
    assert panel.said.startswith("This machine has no GPU") and "#b42318" not in panel.notice.value
    look = panel.looks[0]
    assert look.cpu is None and 0 < look.used < look.total and look.processes[0].pid == os.getpid() and look.processes[0].resident > 100 * MIB
    assert "Memory of the machine" in panel.picture.value and "Who holds memory" not in panel.tables.value
    end = panel._machine._before[0]
    until(lambda: (panel._look(), panel.looks[-1].cpu is not None)[1])  # processor times have moved
    assert 0 <= panel.looks[-1].cpu <= 1 and panel._machine._before[0] > end and panel.twin()[1].count("machine") >= 1


def test_a_driver_that_fails_midway_is_told_and_found_again(bench: Bench) -> None:
    driver = Driver(cards=2)
    panel = suite.panels.gpu(bench, cards=lambda: gpus(driver))
    driver.cannot = ("nvmlInit",)
    panel._look()
    assert panel.said.startswith("The driver names no card any more") and "#b42318" in panel.notice.value and "Memory of the machine" in panel.picture.value
    driver.cannot, driver.cards = (), 1
    panel._look()
    assert panel.said == "" and "Card 0" in panel.picture.value and "Card 1" not in panel.picture.value
    shares = panel._charts()[0][1][0].values
    assert shares[0] == shares[2] and shares[1] != shares[1], "what was not seen is a gap"
    panel._cards = panel._machine._cards = lambda: 1 / 0
    panel._ticks = 2
    gone(panel)
    assert panel.said == "ZeroDivisionError: division by zero"
    panel._machine._cards, panel._ticks = lambda: gpus(driver), 2
    gone(panel)
    assert panel.said == ""


def test_nonsense_of_a_driver_is_left_out_and_its_names_are_made_legible(bench: Bench) -> None:
    driver = Driver()
    driver.nvmlDeviceGetMemoryInfo = lambda card: SimpleNamespace(total=6141 * MIB, used=(1 << 64) - 1, free=-1)
    driver.nvmlDeviceGetTemperature = lambda card, sensor: 4_294_967_295
    driver.nvmlDeviceGetName = lambda card: b"<b>\x1b[31mA"
    panel = suite.panels.gpu(bench, cards=lambda: gpus(driver))
    assert "– of 6 GiB, – full · 31 % busy · 27.5 W" in panel.picture.value and "°C" not in panel.picture.value
    assert "&lt;b&gt;\\u001b[31mA" in panel.picture.value and panel.twin()[1].splitlines()[2].split()[1] == "–"


# ---- alerts ----

def row_of(panel: Any, name: str) -> Any:
    """The row of an alert."""
    return panel.rows.children[[row["name"] for row in panel.active].index(name)]


def test_what_is_wrong_is_listed_and_a_target_that_does_not_answer_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = suite.panels.alerts(bench)
    assert panel.said == "" and len(panel.rules) > 35 and "PartDown" in panel.all_rules.value
    until(lambda: (panel._look(), "all 10 targets up" in panel._state()[1] and "BackupMissing" in row_of(panel, "BackupMissing").children[1].value)[1])
    assert "Watchdog" not in str(panel.active)

    def looked_at_again() -> bool:
        rows, keys = panel.rows.children, _keys(panel.active)
        panel._look()
        if keys != _keys(panel.active):
            return False  # another alert has begun or ended meanwhile
        assert panel.rows.children is rows, "a row that stays is the same to whoever clicks it"
        return True

    until(looked_at_again)
    scraper, kept = bench._behind.monitor.scraper, row_of(panel, "BackupMissing")
    monkeypatch.setattr(scraper, "targets", (*scraper.targets, Target("ghost", "127.0.0.1:1", "http://127.0.0.1:1/metrics")))
    until(lambda: (panel._look(), [row["job"] for row in panel.down] == ["ghost"])[1])
    until(lambda: (panel._look(), any(row["name"] == "PartDown" and row["labels"]["job"] == "ghost" for row in panel.active))[1])
    assert row_of(panel, "BackupMissing") is kept, "another alert does not take away the row that somebody is about to click"
    html, text = panel.twin()
    assert "1 of 11 targets down" in text and "ghost" in panel.targets.value and "critical" in html and ">fail</span>" in panel.state.value


def test_a_silence_needs_a_reason_holds_for_its_alert_and_is_ended(bench: Bench) -> None:
    panel = suite.panels.alerts(bench)
    row_of(panel, "BackupMissing").children[0].click()
    assert panel.said == "Say why BackupMissing is silenced: the reason is kept with the silence." and len(bench.monitoring.silences()) == 0
    panel.reason.value = "tonight\u202e<b>"
    panel.lasting.value = "30m"
    row_of(panel, "BackupMissing").children[0].click()
    until(lambda: len(panel.silences) == 1 and "is silenced until" in panel.said)
    (made,) = bench.monitoring.silences().to_dict("records")
    assert made["matchers"] == ['alertname="BackupMissing"', 'severity="warning"'] and 1700 < (made["until"] - made["begin"]).total_seconds() <= 1800
    row = row_of(panel, "BackupMissing")
    assert row.children[0].disabled and "silenced until" in row.children[1].value and panel.reason.value == ""
    assert "tonight\\u202e&lt;b&gt;" in panel.silenced.children[0].children[1].value and "silenced: 1" in panel.twin()[1]
    panel.silenced.children[0].children[0].click()
    until(lambda: panel.silences == [] and panel.said.endswith("is over."))
    assert not row_of(panel, "BackupMissing").children[0].disabled and len(bench.monitoring.silences()) == 0


def test_where_nobody_is_told_or_nothing_is_looked_at_it_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = bench._behind.monitor.watch
    monkeypatch.setattr(watch, "telling", False)
    panel = suite.panels.alerts(bench)
    assert "Nobody is told of alerts in this stack" in panel.state.value and panel.rows.children[0].children[0].disabled
    monkeypatch.setattr(watch, "active", lambda: ())
    panel._look()
    assert "the rules are not looked at: Watchdog does not fire" in panel.state.value and ">degraded</span>" in panel.state.value


# ---- the log ----

def test_lines_are_filtered_and_those_that_come_are_shown_once(bench: Bench) -> None:
    say.warning("an old line")
    panel = suite.panels.logs(bench)
    assert panel.lines[0]["message"] == "an old line" and any("is up, profile" in row["message"] for row in panel.lines)
    say.warning("a new line")
    panel.renew()
    panel.renew()
    assert [row["message"] for row in panel.lines][:2] == ["a new line", "an old line"] and panel.rows.value.count("a new line") == 1
    panel.contains.value = "is up, profile"
    panel.refresh().join(20)
    assert ([row["service"] for row in panel.lines], panel.said) == (["stack"], "")
    panel.contains.value, panel.service.value, panel.level.value = "", "memory-api", "error"
    until(lambda: len(panel.lines) == 0 and "No line fits." in panel.rows.value)
    say.error("this one")
    say.warning("not this one")
    logging.getLogger("suite.gateway.test").error("nor that")
    panel.renew()
    assert [row["message"] for row in panel.lines] == ["this one"] and "Log: error and worse, memory-api" in panel.twin()[1]
    panel.follow.value = False
    until(lambda: panel._following is None)
    say.error("unseen")
    panel.renew()
    assert [row["message"] for row in panel.lines] == ["this one"]


def test_a_line_that_is_written_while_it_looks_is_neither_missed_nor_shown_twice(bench: Bench) -> None:
    def read(**asked: Any) -> Any:
        if asked.get("follow"):
            return bench.logs(**asked)
        say.warning("before it reads")
        found = bench.logs(**asked)
        say.warning("after it has read")
        return found

    panel = logs(SimpleNamespace(logs=read, stopped=False))
    assert [row["message"] for row in panel.lines][:2] == ["after it has read", "before it reads"]
    panel.renew()
    assert [row["message"] for row in panel.lines].count("before it reads") == 1


def test_thousands_of_lines_are_counted_not_drawn_and_nothing_in_them_is_obeyed(bench: Bench) -> None:
    panel = suite.panels.logs(bench)
    say.warning("odd \x1b[31m \u202e\nsecond <script>x</script>")
    with contextlib.suppress(ZeroDivisionError):
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            say.exception("it failed")
            raise
    panel.renew()
    assert "odd \\u001b[31m \\u202e ⏎ second &lt;script&gt;" in panel.rows.value and "<script" not in panel.rows.value + panel.twin()[0]
    assert "<details>" in panel.rows.value and "ZeroDivisionError: division by zero" in panel.rows.value
    for number in range(3000):
        say.warning("%s line %d", "long " * 1000, number)
    panel.renew()
    assert [row["message"].split()[-1] for row in panel.lines] == [str(number) for number in range(2999, 2799, -1)], "it does not fall behind"
    assert "200 lines, the newest first. More came at once than are shown" in panel.count.value
    assert len(panel.rows.value) < 300_000 and "Of them here: 30." in panel.twin()[1] and len(panel.twin()[0]) < 100_000
    say.warning("and one more")
    panel.renew()
    assert panel.lines[0]["message"] == "and one more" and len(panel.lines) == 200


# ---- dashboards ----

def test_all_six_charts_of_the_overview_show_data(bench: Bench) -> None:
    panel, names = suite.panels.overview(bench), set()
    while not {"replies of chat-7b", "answers from documents", "searches"} <= names:
        bench.chat("hello", max_tokens=4)
        bench.collection("notes").ask("Where are the tide tables kept?")
        panel.refresh().join()
        names = {line.name for chart in panel.charts for line in chart.lines}
    assert panel.said == "" and [chart.title for chart in panel.charts if chart.lines] == SIX
    assert panel.picture.value.count("<svg") == 5 and panel.picture.value.count("●") >= 15 and "no data yet" not in panel.picture.value
    html, text = panel.twin()
    assert "<svg" not in html and html.count("data:image/svg+xml") == 5 and "rag answers" in html and "The last 15 minutes until" in html
    assert all(title in text for title in SIX) and "replies of chat-7b" in text


def test_another_dashboard_is_chosen_and_one_that_there_is_not_is_said(bench: Bench) -> None:
    panel = suite.panels.overview(bench, "RBAC Metrics")
    assert set(panel.dashboard.options) == set(bench.monitoring.dashboards()["dashboard"]) and panel.charts[0].title == "Allowed in an hour"
    until(lambda: (panel._look(), "developer" in panel.picture.value)[1])
    panel.span.value = 86_400
    until(lambda: "The last 1 day" in panel.twin()[1])
    unknown = suite.panels.overview(bench, "Nothing")
    assert unknown.said.startswith("BadRequest: There is no dashboard 'Nothing'") and "#b42318" in unknown.notice.value
    unknown.dashboard.value = "AI Suite Overview"
    until(lambda: [chart.title for chart in unknown.charts] == SIX)


def test_what_is_not_so_is_marked_in_words_too() -> None:
    drawn = _states(Chart("Service status", "", "stat", "state", (Curve("rag answers", [1.0], [1.0]), Curve("rag is ready", [1.0], [0.0]))))
    assert "●</span> <span style=\"white-space:nowrap\">rag answers" in drawn and "○ NOT:</span> <span style=\"white-space:nowrap\">rag is ready" in drawn


def test_it_looks_anew_when_there_are_new_samples_and_not_too_soon(bench: Bench) -> None:
    panel = suite.panels.overview(bench)
    looked, panel._look = [], lambda: looked.append(1)  # type: ignore[method-assign]
    panel._ticks, panel._seen, panel._not_before = 2, 0.0, float("inf")
    panel.renew()
    assert looked == [], "it would cost too much"
    panel._ticks, panel._not_before = 2, 0.0
    panel.renew()
    assert looked == [1] and panel._seen > 0
    panel._ticks, newest = 2, panel._seen
    panel._newest = lambda: newest  # type: ignore[method-assign]
    panel.renew()
    assert looked == [1], "nothing is new"


# ---- all of them ----

def test_of_two_questions_the_later_one_is_shown(bench: Bench) -> None:
    gate, asked = threading.Event(), []

    def dashboards() -> Any:
        asked.append(1)
        if len(asked) == 1:
            gate.wait()
        return bench.monitoring.dashboards()

    watched = SimpleNamespace(dashboards=dashboards, chart=bench.monitoring.chart, targets=bench.monitoring.targets)
    panel = suite.panels.overview(bench)
    panel._bench = SimpleNamespace(monitoring=watched, stopped=False)
    slow = panel.refresh()
    until(lambda: asked == [1])
    panel.dashboard.value = "SLA Tracking"
    until(lambda: panel.charts[0].title == "Decided in time")
    gate.set()
    slow.join()
    assert panel.charts[0].title == "Decided in time"


def test_the_static_twin_of_what_moves_is_renewed_now_and_then_and_when_it_is_closed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, shown = suite.panels.gpu(bench), []
    panel._shown = SimpleNamespace(update=lambda bundle, raw: shown.append(bundle))
    panel._look()
    panel._renew_once()
    assert shown == [], "a browser would make the whole view anew"
    monkeypatch.setattr(live, "TWIN_SECONDS", 0)
    panel._renew_once()
    assert set(shown[0]) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    panel._ticks = 0
    panel._renew_once()
    assert len(shown) == 1, "nothing has moved since"
    panel.close()
    assert len(shown) == 2 and panel._ended.is_set()


def test_a_guest_shows_the_same(bench: Bench, tmp_path: Path) -> None:
    guest = Process({"DATA_DIR": str(bench.settings.data_dir), "SUITE_PORT_BASE": "auto", "HOME": str(tmp_path)}, tmp_path)
    try:
        guest.ask("import suite; bench = suite.start(attach=True); gpu, alerts, logs, overview = (getattr(suite.panels, name)(bench) "
                  "for name in ('gpu', 'alerts', 'logs', 'overview'))")
        assert guest.ask("[bench.hosting, alerts.said, logs.said, overview.said]") == [False, "", "", ""]
        assert guest.ask("[row.pid for row in gpu.looks[0].processes]")[0] == os.getpid()
        assert guest.ask("[row[:3] for row in gpu.models]") == [list(row[:3]) for row in suite.panels.gpu(bench).models]
        assert guest.ask("[chart.title for chart in overview.charts]") == SIX and guest.ask("len(alerts.rules)") == len(bench.monitoring.rules())
        assert guest.ask("[row['message'] for row in list(logs.lines)[:5]]") == [row["message"] for row in list(suite.panels.logs(bench).lines)[:5]]
    finally:
        guest.kill()


@pytest.mark.parametrize("name", ["gpu", "alerts", "logs", "overview"])
def test_a_bench_that_was_stopped_is_one_sentence(name: str) -> None:
    behind = SimpleNamespace(stopped=threading.Event(), tools=None, logs=None, monitor=None, status=None)
    behind.stopped.set()
    stopped = Bench(load({}), behind)
    panel = getattr(suite.panels, name)(stopped)
    assert panel.said == "HostGone: This bench was stopped; call suite.start() for a new one."
    html, text = panel.twin()
    assert "This bench was stopped" in html and "This bench was stopped" in text
    gone(panel)
    assert panel._ended.is_set()

