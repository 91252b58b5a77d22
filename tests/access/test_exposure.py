"""What leaves this machine, which keys still open, and which files of settings tell a secret: as settings and keys have it, without an address."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from suite.access.apikey import ApiKey
from suite.access.exposure import exposure, links
from suite.settings import load

ALWAYS = {"hf_endpoint": True, "notion_url": True}  # https by default


def leaving(tmp_path: Path, **settings: Any) -> dict[str, bool]:
    found = {row["name"]: row["encrypted"] for row in links(load({"data_dir": str(tmp_path), **settings}, {}, tmp_path))}
    return {name: found[name] for name in found.keys() - ALWAYS.keys() | {name for name in ALWAYS if found.get(name) is not True and name in found}}


@pytest.mark.parametrize(("settings", "found"), [
    ({}, {}), ({"loki_url": "http://127.0.0.1:3100", "qdrant_url": "http://localhost:6333", "prometheus_url": "http://[::1]:9090"}, {}),
    ({"loki_url": "http://logs.example:3100"}, {"loki_url": False}), ({"loki_url": "https://logs.example"}, {"loki_url": True}),
    ({"alert_webhook_url": "http://hooks.example/secret"}, {"alert_webhook_url": False}), ({"qdrant_url": "https://10.0.0.7:6333"}, {"qdrant_url": True}),
    ({"rag_dask_url": "tcp://10.0.0.7:8786"}, {"rag_dask_url": False}), ({"rag_dask_url": "tls://10.0.0.7:8786"}, {"rag_dask_url": True}),
    ({"database_url": "postgresql+psycopg://u:p@db.example/x"}, {"database_url": False}),
    ({"database_url": "postgresql+psycopg://u:p@db.example/x?sslmode=verify-full"}, {"database_url": True}),
    ({"database_url": "postgresql://u@db.example/x?sslmode=prefer"}, {"database_url": False}), ({"database_url": "postgresql:///x"}, {}),
    ({"hf_endpoint": "http://mirror.example"}, {"hf_endpoint": False}), ({"bind": "0.0.0.0"}, {"bind": False}), ({"bind": "127.0.0.2"}, {}),
    ({"smtp_host": "mail.example", "smtp_to": "a@example"}, {"smtp_host": True}), ({"smtp_host": "mail.example"}, {}),
    ({"smtp_host": "mail.example", "smtp_to": "a@example", "smtp_starttls": False}, {"smtp_host": False}),
    ({"otel_exporter_otlp_endpoint": "http://[bad"}, {"otel_exporter_otlp_endpoint": False}),
])
def test_each_link_beyond_this_machine_says_whether_it_is_encrypted(settings: dict[str, Any], found: dict[str, bool], tmp_path: Path) -> None:
    assert leaving(tmp_path, **settings) == found


def test_model_servers_elsewhere_are_links_too(tmp_path: Path) -> None:
    file = tmp_path / "upstreams.toml"
    file.write_text("[servers.far]\nurl = 'http://gpu.example/v1'\n[servers.safe]\nurl = 'https://gpu.example/v1'\n[servers.near]\n"
                    "url = 'http://127.0.0.1:8080/v1'\n", encoding="utf-8")
    wanted = {"api_gateway_upstreams far": False, "api_gateway_upstreams safe": True}
    assert leaving(tmp_path, api_gateway_upstreams=str(file)) == wanted
    file.unlink()
    assert list(leaving(tmp_path, api_gateway_upstreams=str(file)).values()) == [False]  # what cannot be read any more is not taken for good


def test_no_address_and_no_secret_is_told(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text("alert_webhook_url = 'http://hooks.example/T0P'\n", encoding="utf-8")
    said = json.dumps(exposure(load({"data_dir": str(tmp_path), "database_url": "postgresql://u:hidden@db.example/x"}, {}, tmp_path), []))
    assert not {word for word in ("hooks.example", "T0P", "hidden", "db.example") if word in said}


def test_only_keys_that_open_something_count_and_the_oldest_is_told(tmp_path: Path) -> None:
    now = time.time()
    keys = [ApiKey("a", "x", "", now - 10 * 86_400), ApiKey("b", "x", "", now - 500 * 86_400, revoked=now), ApiKey("c", "x", "", now - 400 * 86_400, now - 1),
            ApiKey("d", "x", "", now - 20 * 86_400, now + 86_400)]
    ours = load({"data_dir": str(tmp_path)}, {}, tmp_path)
    assert exposure(ours, keys)["keys"] == {"usable": 2, "oldest_days": pytest.approx(20, abs=0.01)}
    assert exposure(ours, keys[1:3])["keys"] == {"usable": 0, "oldest_days": None}


@pytest.mark.parametrize(("text", "mode", "loose"), [("smtp_password = 'x'\n", 0o644, True), ("smtp_password = 'x'\n", 0o600, False), ("bind = '127.0.0.1'\n", 0o644, False)])
def test_a_file_of_settings_with_a_secret_is_for_its_owner_alone(text: str, mode: int, loose: bool, tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    found = exposure(load({"data_dir": str(tmp_path)}, {"SMTP_PASSWORD": ""}, tmp_path), [])["secret_files"]
    assert found == ([str(file)] if loose else [])
    assert exposure(load({"data_dir": str(tmp_path)}, {"SMTP_PASSWORD": "y"}, tmp_path), [])["secret_files"] == []
