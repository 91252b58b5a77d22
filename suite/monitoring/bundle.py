"""All that Prometheus, Alertmanager and Grafana need to know of a stack, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from suite.monitoring.dashboard import Dashboard
from suite.monitoring.grafana import dashboard_json, datasources, provider
from suite.monitoring.promql import FILE as RULES
from suite.monitoring.promql import rule_file
from suite.monitoring.receivers import TellSettings, alertmanager_config, secret_files
from suite.monitoring.rule import Rule, duration
from suite.monitoring.table import MONITORING
from suite.monitoring.yaml_text import yaml_text

SCRAPE, ALERTMANAGER, LOKI_TOKEN = "prometheus.yml", "alertmanager.yml", "secrets/loki_token"
MADE = "Written by `suite monitoring export`; export again instead of changing it."


class ExportSettings(TellSettings, Protocol):
    """The settings that a bundle is made of."""

    monitoring_interval: float
    loki_url: str
    loki_user: str
    loki_token: str


@dataclass(frozen=True)
class Where:
    """Where all is, as host:port: the stack's targets by job, the port of its log, and the two servers. And a running stack's file of its token."""

    targets: Mapping[str, str]
    token_file: Path | None
    log: str
    prometheus: str
    alertmanager: str


def bundle(folder: Path, where: Where, settings: ExportSettings, rules: Sequence[Rule], boards: Sequence[Dashboard]) -> dict[str, str]:
    """The files of a bundle that will lie in `folder`, by their name in it. Raises SettingsError for settings that cannot be said."""
    interval = settings.monitoring_interval
    about = [rule for rule in (_about(rule, where.targets) for rule in rules) if not rule.absent or rule.missing()]
    files = {
        SCRAPE: yaml_text(_scraping(where, interval), MADE),
        RULES: rule_file(about, interval),
        ALERTMANAGER: yaml_text(alertmanager_config(settings, str(folder)), MADE + " It may hold the address of a webhook: keep it to yourself."),
        "grafana/provisioning/datasources/suite.yml": yaml_text(datasources(f"http://{where.prometheus}", _loki(folder, where, settings),
                                                                            duration(interval)), MADE),
        "grafana/provisioning/dashboards/suite.yml": yaml_text(provider(f"{folder}/grafana/dashboards"), MADE),
        "README.md": _readme(folder, where),
    }
    files |= {f"grafana/dashboards/{board.uid}.json": json.dumps(dashboard_json(board), indent=2, ensure_ascii=False) + "\n" for board in boards}
    return files | secret_files(settings) | ({LOKI_TOKEN: settings.loki_token} if settings.loki_url and settings.loki_token else {})


def _about(rule: Rule, targets: Mapping[str, str]) -> Rule:
    """A rule that misses targets misses only those there can be."""
    label, values = rule.each
    return replace(rule, each=(label, tuple(value for value in values if value in targets))) if label == "job" else rule


def _scraping(where: Where, interval: float) -> dict[str, Any]:
    token = {"authorization": {"credentials_file": str(where.token_file)}} if where.token_file else {}  # a file that is not there is refused
    jobs = [{"job_name": job, "metrics_path": f"/metrics/{MONITORING}" if job == MONITORING else "/metrics", **token,
             "static_configs": [{"targets": [target]}]} for job, target in where.targets.items()]
    every = duration(interval)
    return {"global": {"scrape_interval": every, "scrape_timeout": duration(min(interval, 10.0)), "evaluation_interval": every},
            "rule_files": [RULES], "alerting": {"alertmanagers": [{"static_configs": [{"targets": [where.alertmanager]}]}]}, "scrape_configs": jobs}


def _loki(folder: Path, where: Where, settings: ExportSettings) -> dict[str, Any]:
    """The data source of the log: the Loki of LOKI_URL, else the suite's own port, which answers the queries that find lines."""
    if not settings.loki_url:
        return _bearer(f"http://{where.log}", where.token_file)
    if settings.loki_user and settings.loki_token:
        return {"url": settings.loki_url, "basicAuth": True, "basicAuthUser": settings.loki_user,
                "secureJsonData": {"basicAuthPassword": f"$__file{{{folder}/{LOKI_TOKEN}}}"}}
    return _bearer(settings.loki_url, folder / LOKI_TOKEN) if settings.loki_token else {"url": settings.loki_url}


def _bearer(url: str, file: Path | None) -> dict[str, Any]:
    if file is None:
        return {"url": url}
    return {"url": url, "jsonData": {"httpHeaderName1": "Authorization"}, "secureJsonData": {"httpHeaderValue1": f"Bearer $__file{{{file}}}"}}


def _readme(folder: Path, where: Where) -> str:
    return f"""# Monitoring of a Local AI Suite

Made by `suite monitoring export`; export again when ports or settings change. The files name each other by their place in `{folder}`, so do not
move them. No token is in them: `{SCRAPE}` names the file that holds the stack's (when none ran, none: `/metrics` asks for no token). What the
settings hold as secrets lies in `secrets/`, one file each; `{ALERTMANAGER}` may hold the address of a webhook, since Alertmanager before 0.26
reads that from nowhere else. All of it is readable by you alone: run the programs as the same user.

    prometheus --config.file={folder}/{SCRAPE} --storage.tsdb.path=… --web.listen-address={where.prometheus}
    prometheus-alertmanager --config.file={folder}/{ALERTMANAGER} --storage.path=… --web.listen-address={where.alertmanager} --cluster.listen-address=

`suite monitoring up` does both, and starts them again when they die. The programs are Debian's packages `prometheus` and `prometheus-alertmanager`.

Grafana: start it with `GF_PATHS_PROVISIONING={folder}/grafana/provisioning`. It then has the data sources Suite Prometheus and Suite Loki, and the
four dashboards in the folder AI Suite.

Tested: the Prometheus and Alertmanager files by those programs (`promtool check config`, `amtool check-config`, a real scrape, every query of every
dashboard). Not tested by Grafana or Loki themselves: their files are checked against the fields that Grafana's documentation asks for.
"""
