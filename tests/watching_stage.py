"""A real Prometheus that watches a stack of ours and tells a real Alertmanager; what it is told to do can be changed while it runs."""

from __future__ import annotations

import copy
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_stage import Server

from suite.checks.watched import UNMEASURED
from suite.monitoring.load_rules import load_rules
from suite.monitoring.promql import rule_file
from suite.monitoring.scaling import scaling_rules
from suite.monitoring.table import ROWS

EVERY = "1s"


class Watcher:
    """The running Prometheus. `config` and `rules` are what it was given; `change` gives it others."""

    def __init__(self, folder: Path, server: Server, config: dict[str, Any], rules: str) -> None:
        self.folder, self.server, self.config, self.rules = folder, server, config, rules

    def change(self, config: dict[str, Any] | None = None, rules: str = "") -> int:
        """Write another configuration or other rules, have them loaded, and give the status that it answers."""
        write(self.folder, config or self.config, rules or self.rules)
        return self.server.http.post("/-/reload").status_code

    def settled(self) -> bool:
        """Whether it looks at what its configuration file says, which takes it up to five seconds."""
        wanted = sorted((row["job_name"], target) for row in json.loads((self.folder / "prometheus.yml").read_text())["scrape_configs"]
                        for target in row["static_configs"][0]["targets"])
        found = self.server.http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return sorted((row["labels"]["job"], urlsplit(row["scrapeUrl"]).netloc) for row in found) == wanted

    def copy(self) -> dict[str, Any]:
        """The configuration, to be altered."""
        return copy.deepcopy(self.config)


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(folder: Path, ports: Mapping[str, int], alertmanager: str) -> dict[str, Any]:
    """What a Prometheus needs to know to watch those ports."""
    jobs = [{"job_name": job, "metrics_path": f"/metrics/{job}" if job == "monitoring" else "/metrics",
             "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items() if job not in UNMEASURED]
    return {"global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}, "scrape_configs": jobs,
            "rule_files": [str(folder / "suite.rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [urlsplit(alertmanager).netloc]}]}]}}


def write(folder: Path, config: dict[str, Any], rules: str) -> None:
    """Put both files into the folder; JSON is YAML."""
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    (folder / "suite.rules.yml").write_text(rules, encoding="utf-8")


@contextmanager
def watching(folder: Path, port: int, ports: Mapping[str, int], alertmanager: str) -> Iterator[Watcher]:
    """A Prometheus on `port` that watches the stack's `ports`; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    config, rules = configuration(folder, ports, alertmanager), rule_file(load_rules() + scaling_rules(ROWS, 1), interval=1)
    write(folder, config, rules)
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
               "--web.enable-lifecycle"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Server(port, process)
    try:
        while not server.ready():
            time.sleep(0.02)  # its own start, about 0.1 s; a server that ended fails the assertion in ready()
        yield Watcher(folder, server, config, rules)
    finally:
        server.http.close()
        process.terminate()
        process.wait(30)
