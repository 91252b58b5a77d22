"""The launcher's tiles in a real JupyterLab: the page of port 3001 is one click away, and the token stays in the Jupyter server."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lab_stage import TOKEN, browser, lab

from kernels import Process
from suite import jupyter_tiles

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
from suite.jupyter_tiles import allowed
c.ServerProxy.host_allowlist = allowed
"""


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("tiles")
    (home / "work").mkdir()
    (home / "config").mkdir()
    (home / "config" / "jupyter_server_config.py").write_text(CONFIG)
    return {"DATA_DIR": str(home / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(home)}


@pytest.fixture(scope="module")
def host(env: dict[str, str]) -> Iterator[Process]:
    process = Process(env, Path(env["HOME"]) / "work")
    try:
        process.ask("import suite; bench = suite.start()")
        yield process
    finally:
        process.end()


@pytest.fixture(scope="module")
def url(host: Process, env: dict[str, str]) -> Iterator[str]:
    with lab(Path(env["HOME"]), env) as address:
        yield address


@pytest.fixture
def record(host: Process, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return json.loads((Path(env["DATA_DIR"]) / "run" / "host.json").read_text())


def test_the_entry_points_give_what_the_proxy_takes(record: dict) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["jupyter_serverproxy_servers"]
    assert set(points) == {"suite-dashboard", "suite-monitoring"}
    for name, target in points.items():
        module, _, function = target.partition(":")
        entry = getattr(importlib.import_module(module), function)()
        assert entry["port"] == record["ports"][name.removeprefix("suite-")] and entry["launcher_entry"]["path_info"].startswith(f"{name}/")
        assert Path(entry["launcher_entry"]["icon_path"]).exists() and "command" not in entry


def test_the_token_goes_to_our_own_port_only_and_to_a_living_host_only(record: dict, host: Process, env: dict[str, str]) -> None:
    port, token = record["ports"]["dashboard"], host.ask("bench.target().token")
    assert jupyter_tiles.headers("dashboard", port) == {"Host": f"127.0.0.1:{port}", "Cookie": "", "Authorization": f"Bearer {token}"}
    assert "Authorization" not in jupyter_tiles.headers("dashboard", port + 1), "somebody else may listen there"
    assert "Authorization" not in jupyter_tiles.headers("no-such-part", port)
    file = Path(env["DATA_DIR"]) / "run" / "host.json"
    whole = file.read_text()
    try:
        file.write_text(json.dumps({**record, "process_started": 1.0}))
        assert "Authorization" not in jupyter_tiles.headers("dashboard", port), "the number of a process that ended is somebody else's"
        file.unlink()
        assert "Authorization" not in jupyter_tiles.headers("dashboard", port)
    finally:
        file.write_text(whole)


@pytest.mark.parametrize(("base", "port"), [("0", 3001), ("100", 3101), ("auto", 3001)])
def test_without_a_stack_a_tile_is_where_the_settings_say(base: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SUITE_PORT_BASE", base)
    assert jupyter_tiles.dashboard()["port"] == port and "Authorization" not in jupyter_tiles.dashboard()["request_headers_override"]()


def test_a_tile_opens_the_dashboard_and_no_url_holds_the_token(url: str, host: Process) -> None:
    token, seen = host.ask("bench.target().token"), []
    with browser() as page:
        page.context.on("request", lambda request: seen.append(request))
        page.goto(f"{url}/lab?token={TOKEN}")
        tile = page.locator(".jp-LauncherCard", has_text="Suite dashboard")
        tile.wait_for()
        assert page.locator(".jp-LauncherCard", has_text="Suite targets").count() == 1
        with page.expect_popup() as opened:
            tile.click()
        shown = opened.value
        shown.get_by_text("Service status").first.wait_for()
        assert shown.url == f"{url}/suite-dashboard/" and any("/suite-dashboard/api/dashboards" in request.url for request in seen)
        assert not [request.url for request in seen if token in request.url or token in str(request.all_headers())]
        assert token not in shown.content() and token not in str(page.context.cookies())


def test_through_jupyter_one_needs_its_token_and_other_hosts_are_refused(url: str, record: dict) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/suite-monitoring/api/v1/targets").status_code in (302, 403), "a stranger to this Jupyter"
        client.headers["Authorization"] = f"token {TOKEN}"
        targets = client.get("/suite-monitoring/api/v1/targets").json()["data"]["activeTargets"]
        assert {row["labels"]["job"] for row in targets} >= {"rag", "api-gateway"}
        for name in ("localhost", "example.org", "127.0.0.1.example.org", "10.0.0.1"):
            refused = client.get(f"/proxy/{name}:{record['ports']['dashboard']}/")
            assert refused.status_code == 403 and "is not allowed" in refused.text, name
        assert client.get(f"/proxy/127.0.0.1:{record['ports']['dashboard']}/api/dashboards").status_code == 401, "only a tile adds the token"
