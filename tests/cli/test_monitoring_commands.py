"""`suite monitoring export` and `up`: what is written is what the real programs take, holds no secret, and works on a running stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alertmanager_stage
import httpx
import psutil
import pytest
from openai_stage import until

import suite
from suite.bench import Bench
from suite.cli.main import main
from suite.errors import StartError
from suite.monitoring import supervise
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.load_rules import load_rules
from suite.monitoring.scaling import scaling_rules
from suite.monitoring.table import ROWS

JOBS = {"api-gateway", "inference-chat", "inference-code", "rag", "embedding", "qdrant", "memory-api", "mcp-server", "security-admin", "monitoring"}
SECRETS = {"ALERT_WEBHOOK_TOKEN": "webhook-secret-1", "SMTP_PASSWORD": "mail-secret-2", "LOKI_TOKEN": "loki-secret-3"}
TELLING = {"SMTP_HOST": "127.0.0.1", "SMTP_TO": "ops@example.org", "SMTP_USER": "me", "LOKI_URL": "http://127.0.0.1:3199"}
installed = pytest.mark.skipif(not (shutil.which("promtool") and shutil.which("amtool") and alertmanager_stage.PROGRAM),
                               reason="the packages `prometheus` and `prometheus-alertmanager` are not installed")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("exported")
    opened = suite.start(data_dir=home / "data 한글", models_dir=models_dir, workspace_dir=home, port_base="auto", monitoring_interval=1)
    yield opened
    opened.stop()


@pytest.fixture
def here(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, in an environment that means the stack and has somebody to tell."""
    for name, value in {"DATA_DIR": str(bench.settings.data_dir), "MONITORING_INTERVAL": "1", **TELLING, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "http://127.0.0.1:1/hook")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.is_file()}


def checked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@installed
def test_the_real_programs_take_what_is_exported_and_it_names_every_target(bench: Bench, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitoring", "export", "out", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = files(here / "out")
    assert {row["file"] for row in said["rows"]} | {".suite-bundle.json"} == set(found) and said["folder"] == str(here / "out") and said["aside"] is None
    checked("promtool", "check", "config", "out/prometheus.yml")
    assert f"{len(load_rules()) + len(scaling_rules())} rules found" in checked("promtool", "check", "rules", "out/suite.rules.yml")
    assert "5 receivers" in checked("amtool", "check-config", "out/alertmanager.yml")
    targets = dict(re.findall(r'job_name: (\S+)\n(?:.*\n)*?\s+- targets:\n\s+- "(\S+)"', found["prometheus.yml"]))
    record = bench._behind.record
    assert targets == {job: f"127.0.0.1:{record.ports[job]}" for job in JOBS}
    assert found["prometheus.yml"].count(record.token_file) == len(JOBS) and 'scrape_interval: "1s"' in found["prometheus.yml"]


def test_no_secret_is_in_the_bundle_but_in_files_of_its_own(bench: Bench, here: Path) -> None:
    assert main(["monitoring", "export", "out"]) == 0
    found = files(here / "out")
    for secret in (bench._behind.record.token(), *SECRETS.values()):
        assert [name for name, text in found.items() if secret in text and not name.startswith("secrets/")] == []
    assert {name: text for name, text in found.items() if name.startswith("secrets/")} == {
        "secrets/alert_webhook_token": "webhook-secret-1", "secrets/smtp_password": "mail-secret-2", "secrets/loki_token": "loki-secret-3"}
    for path in (here / "out", *(here / "out").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    for name in ("alertmanager.yml", "grafana/provisioning/datasources/suite.yml"):
        assert f"{here}/out/secrets/" in found[name]


def test_what_is_not_its_own_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitoring", "export", "out"]) == 0 and main(["monitoring", "export", "out"]) == 0, "its own is replaced"
    assert os.listdir(here) == ["home", "out"] or sorted(os.listdir(here)) == ["home", "out"]
    before = files(here / "out")
    (here / "out" / "prometheus.yml").write_text("mine: 1\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["monitoring", "export", "out"]) == 2
    assert "out/prometheus.yml is not as `suite monitoring export` wrote it; name another folder, or use --force" in capsys.readouterr().err
    assert (here / "out" / "prometheus.yml").read_text() == "mine: 1\n"
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    (here / "link").symlink_to(here / "mine")
    (here / "file").write_text("mine", encoding="utf-8")
    for name in ("mine", "link", "file"):
        assert main(["monitoring", "export", name]) == 2
    assert (here / "mine" / "notes.txt").read_text() == "mine" and (here / "link").is_symlink() and (here / "file").read_text() == "mine"
    capsys.readouterr()
    assert main(["monitoring", "export", "out", "--force"]) == 0
    assert f"What was there is in {here}/out.before-1 now." in capsys.readouterr().out
    assert files(here / "out") == before and (here / "out.before-1" / "prometheus.yml").read_text() == "mine: 1\n"


def test_a_bundle_that_cannot_be_written_whole_leaves_the_one_before(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import resource

    assert main(["monitoring", "export", "out"]) == 0
    before, limits = files(here / "out"), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))  # a disk that is full in the middle, as far as this process can tell
        assert main(["monitoring", "export", "out"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "out cannot be written (File too large); free space" in capsys.readouterr().err
    assert files(here / "out") == before and sorted(os.listdir(here)) == ["home", "out"]


@installed
def test_without_a_running_stack_it_is_what_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SUITE_PORT_BASE", "auto")
    assert main(["monitoring", "export", str(tmp_path / "out")]) == 2
    assert "SUITE_PORT_BASE is `auto`, so the ports are known only while a stack runs" in capsys.readouterr().err
    monkeypatch.setenv("SUITE_PORT_BASE", "100")
    monkeypatch.setenv("MONITORING_ENABLED", "false")
    assert main(["monitoring", "export", str(tmp_path / "out"), "--prometheus", "127.0.0.1:7", "--alertmanager", "h:8"]) == 0
    found = files(tmp_path / "out")
    checked("promtool", "check", "config", str(tmp_path / "out" / "prometheus.yml"))
    checked("amtool", "check-config", str(tmp_path / "out" / "alertmanager.yml"))
    assert '"127.0.0.1:8100"' in found["prometheus.yml"] and "job_name: monitoring" not in found["prometheus.yml"] and '"h:8"' in found["prometheus.yml"]
    assert 'absent(up{job=\\"rag\\"})' in found["suite.rules.yml"] and 'absent(up{job=\\"monitoring\\"})' not in found["suite.rules.yml"]
    assert "credentials_file" not in found["prometheus.yml"] and "webhook_configs" not in found["alertmanager.yml"]
    assert "http://127.0.0.1:7" in found["grafana/provisioning/datasources/suite.yml"]
    monkeypatch.setenv("PROMETHEUS_URL", "http://watcher:9")
    monkeypatch.setenv("ALERTMANAGER_URL", "http://teller:10/")
    assert main(["monitoring", "export", str(tmp_path / "out")]) == 0
    found = files(tmp_path / "out")
    assert "http://watcher:9" in found["grafana/provisioning/datasources/suite.yml"] and '"teller:10"' in found["prometheus.yml"]
    assert not (tmp_path / "data").exists(), "an export makes no data directory"
    for wrong in ("here", "h:0", "h:99999", "a b:1", "http://h:1"):
        assert main(["monitoring", "export", str(tmp_path / "out"), "--prometheus", wrong]) == 2
        assert "is no HOST:PORT" in capsys.readouterr().err


def test_dashboards_have_what_grafanas_file_reader_asks_for(here: Path) -> None:
    """Our own check of the fields; Grafana itself can't be installed here."""
    assert main(["monitoring", "export", "out"]) == 0
    made = [json.loads(text) for name, text in files(here / "out").items() if name.startswith("grafana/dashboards/")]
    sources = (here / "out/grafana/provisioning/datasources/suite.yml").read_text()
    assert f"path: {here}/out/grafana/dashboards" in (here / "out/grafana/provisioning/dashboards/suite.yml").read_text()
    boards = {board.uid: board for board in load_dashboards(ROWS)}
    assert {one["uid"] for one in made} == set(boards)
    for one in made:
        board = boards[one["uid"]]
        assert "dashboard" not in one and one["title"] == board.title and len(one["uid"]) <= 40 and one["id"] is None and isinstance(one["schemaVersion"], int)
        assert one["time"] == {"from": f"now-{board.range:.0f}s", "to": "now"} and [panel["id"] for panel in one["panels"]] == [p.id for p in board.panels]
        cells: set[tuple[int, int]] = set()
        for panel, ours in zip(one["panels"], board.panels, strict=True):
            place = panel["gridPos"]
            here_cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & here_cells and place["x"] + place["w"] <= 24 and panel["title"] and panel["type"] in (
                "stat", "timeseries", "piechart", "gauge", "bargauge")
            cells |= here_cells
            assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C", "D"][:len(ours.queries)]
            for target, query in zip(panel["targets"], ours.queries, strict=True):
                assert target["expr"] and f"uid: {target['datasource']['uid']}\n" in sources and target["range"] != target["instant"]
                assert target["legendFormat"].replace("{{", "{").replace("}}", "}") == query.legend
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert steps[0]["value"] is None and all(step["color"] for step in steps) and panel["fieldConfig"]["defaults"]["unit"]


class Up:
    """`suite monitoring up` as a process."""

    def __init__(self, *more: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "suite", "monitoring", "up", *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.said: list[str] = []

    def until(self, start: str) -> str:
        """What follows in the line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError("".join(self.said))

    def children(self) -> dict[str, psutil.Process]:
        return {child.name().removeprefix("prometheus-"): child for child in psutil.Process(self.process.pid).children()}

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def up(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Up, alertmanager_stage.Receiver]]:
    with alertmanager_stage.receiving() as receiver:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
        started = Up()
        yield started, receiver
        if started.process.poll() is None:
            started.end(signal.SIGKILL)
        assert started.process.stdout is not None
        started.process.stdout.close()


def gone(children: dict[str, psutil.Process]) -> bool:
    return not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children.values())


@installed
def test_both_programs_watch_the_stack_come_back_when_they_die_and_go_together(bench: Bench, up: tuple[Up, alertmanager_stage.Receiver]) -> None:
    running, receiver = up
    prometheus, alertmanager = running.until("prometheus"), running.until("alertmanager")
    children = running.children()
    assert set(children) == {"prometheus", "alertmanager"}
    with httpx.Client(base_url=prometheus, trust_env=False, timeout=30) as client:
        def ask(path: str, **params: str) -> Any:
            return client.get(f"/api/v1/{path}", params=params).raise_for_status().json()["data"]

        until(lambda: {one["labels"]["job"]: one["health"] for one in ask("targets")["activeTargets"]} == dict.fromkeys(JOBS, "up"))
        assert sum(len(group["rules"]) for group in ask("rules")["groups"]) == len(load_rules()) + len(scaling_rules())
        until(lambda: all(rule["health"] == "ok" for group in ask("rules")["groups"] for rule in group["rules"]))
        boards = [json.loads(path.read_text()) for path in (bench.settings.data_dir / "monitoring/bundle/grafana/dashboards").iterdir()]
        asked = 0
        for board in boards:
            for panel in board["panels"]:
                answers = []
                for target in panel["targets"]:
                    answers.append(client.get("/api/v1/query", params={"query": target["expr"]}))
                    asked += 1
                assert all(answer.status_code == 200 and "warnings" not in answer.json() for answer in answers), panel["title"]
                if board["uid"] == "ai-suite-overview":
                    until(lambda panel=panel: any(ask("query", query=target["expr"])["result"] for target in panel["targets"]))
        assert asked == sum(len(panel.queries) for board in load_dashboards(ROWS) for panel in board.panels)
        assert ask("query", query='count({exported_job=~".+"})')["result"] == [], "port 9090 gives its own numbers, not all of them once more"
        # a rule fires in Prometheus, Alertmanager takes it, and tells the webhook with the token from its file
        receiver.wait(lambda came: any("Watchdog" in str(body) for _, body in came))
        headers = next(headers for headers, body in receiver.came if "Watchdog" in str(body))
        assert headers["Authorization"] == f"Bearer {SECRETS['ALERT_WEBHOOK_TOKEN']}"
        _is_inhibited(alertmanager)
        children["prometheus"].kill()
        assert "died (status -9) and is started again." in running.until("prometheus ")
        until(lambda: "prometheus" in running.children() and running.children()["prometheus"].pid != children["prometheus"].pid)
        until(lambda: _answers(prometheus))
        assert running.children()["alertmanager"].pid == children["alertmanager"].pid
    children = running.children()
    assert running.end(signal.SIGTERM) == 0 and gone(children)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/-/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _is_inhibited(alertmanager: str) -> None:
    """The warning of a name is mute while its critical one fires, and so is what is said of a target that is down; another target's is not."""
    place = {"job": "rag", "instance": "x:1"}
    rows = [{"alertname": "DiskBytesLow", "severity": severity, "kind": "free", **place} for severity in ("critical", "warning")]
    rows += [{"alertname": "PartDown", "severity": "critical", "job": "qdrant", "instance": "x:2"}]
    rows += [{"alertname": "QueueDeep", "severity": "warning", "job": job, "instance": instance} for job, instance in (("qdrant", "x:2"), ("rag", "x:3"))]
    assert httpx.post(alertmanager + "/api/v2/alerts", json=[{"labels": row} for row in rows], trust_env=False).status_code == 200

    def states() -> dict[tuple[str, str, str], str]:
        found = httpx.get(alertmanager + "/api/v2/alerts", trust_env=False).json()
        return {(one["labels"]["alertname"], one["labels"]["severity"], one["labels"]["instance"]): one["status"]["state"] for one in found
                if one["labels"].get("instance", "").startswith("x:")}

    until(lambda: states() == {
        ("DiskBytesLow", "critical", "x:1"): "active", ("DiskBytesLow", "warning", "x:1"): "suppressed", ("PartDown", "critical", "x:2"): "active",
        ("QueueDeep", "warning", "x:2"): "suppressed", ("QueueDeep", "warning", "x:3"): "active"})


@installed
def test_a_second_one_is_refused_and_a_killed_one_leaves_nobody(up: tuple[Up, alertmanager_stage.Receiver], capsys: pytest.CaptureFixture[str]) -> None:
    running, _ = up
    running.until("alertmanager")
    assert main(["monitoring", "up"]) == 2
    assert "`suite monitoring up` already runs about" in capsys.readouterr().err
    children = running.children()
    assert len(children) == 2
    running.end(signal.SIGKILL)
    until(lambda: gone(children))


@installed
def test_a_place_that_is_taken_is_named_and_a_program_that_cannot_live_is_given_up(bench: Bench, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = bench._behind.record.ports["rag"]
    assert main(["monitoring", "up", "--prometheus", f"127.0.0.1:{port}"]) == 2
    assert f"Port {port} (monitoring up) is taken by pid {os.getpid()}" in capsys.readouterr().err
    kept = bench.settings.data_dir / "monitoring" / "prometheus"
    shutil.rmtree(kept, ignore_errors=True)
    kept.write_text("in the way", encoding="utf-8")
    before = set(psutil.Process().children())
    try:
        assert main(["monitoring", "up"]) == 2
    finally:
        kept.unlink()
    said = capsys.readouterr().err
    assert "prometheus ended at its start: " in said and "prometheus.log" in said and not set(psutil.Process().children()) - before


def test_a_program_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    import threading

    sleeper = supervise.Program("alertmanager", ["sleep", "1000"], "", tmp_path / "a.log")
    dying = supervise.Program("prometheus", ["sh", "-c", "echo out of luck; exit 3"], "", tmp_path / "b.log")
    for one in (sleeper, dying):
        one.ready = lambda: True  # type: ignore[method-assign]  # what is asked over HTTP is tested with the real ones
    told: list[str] = []
    with pytest.raises(StartError, match=r"prometheus died 6 times within 10 minutes, so it is not started again: out of luck \(all of it is in .*b\.log"):
        supervise.supervise([sleeper, dying], threading.Event(), told.append)
    assert told[1:] == ["prometheus died (status 3) and is started again."] * 5 and sleeper.process is not None and sleeper.process.returncode == -15


def test_a_program_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(supervise, "BIN", str(tmp_path))
    assert main(["monitoring", "up"]) == 2
    assert "There is no program prometheus on PATH or in" in (said := capsys.readouterr().err) and "apt install prometheus prometheus-alertmanager" in said
    (tmp_path / "prometheus").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "prometheus").chmod(0o755)
    assert main(["monitoring", "up"]) == 2 and "There is no program prometheus-alertmanager" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
