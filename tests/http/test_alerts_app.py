"""Port 9093: what it says of itself, and the routes by which an alert is rehearsed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from models_stage import served
from rule_scene import Scene

from suite import __version__
from suite.http import alerts
from suite.http.problem import add_problems
from suite.monitoring.watch import Watch


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made = Watch([], Scene(), tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(watch: Watch) -> Iterator[httpx.Client]:
    app = alerts.app(watch)
    add_problems(app)
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def on(watch: Watch) -> dict[str, int]:
    return {marker: one.port for marker, one in watch.rehearsals._known.items()}


def test_it_says_its_version_as_alertmanager_does(client: httpx.Client) -> None:
    assert client.get("/api/v2/status").json()["versionInfo"]["version"] == __version__


def test_a_rehearsal_is_begun_and_ended(client: httpx.Client, watch: Watch) -> None:
    begun = client.post("/v1/rehearsals", json={"marker": "c0ffee", "port": 4711})
    assert (begun.status_code, begun.json()) == (201, {"marker": "c0ffee"}) and on(watch) == {"c0ffee": 4711}
    [family] = watch.rehearsals.collect()
    assert [sample.value for sample in family.samples] == [1.0]
    assert client.delete("/v1/rehearsals/c0ffee").status_code == 200
    [family] = watch.rehearsals.collect()
    assert [sample.value for sample in family.samples] == [0.0]
    assert client.delete("/v1/rehearsals/nothing").status_code == 404


@pytest.mark.parametrize("body", [[], "c0ffee", {}, {"marker": 7}, {"marker": "a b"}, {"marker": "a", "port": "80"}, {"marker": "a", "port": True},
                                  {"marker": "a", "port": 70000}, {"marker": "a", "port": 1.5}])
def test_what_is_no_rehearsal_is_refused_in_a_sentence(client: httpx.Client, watch: Watch, body: Any) -> None:
    answer = client.post("/v1/rehearsals", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"].endswith(".") and on(watch) == {}


def test_no_address_can_be_named_but_a_port_of_this_machine(client: httpx.Client, watch: Watch) -> None:
    client.post("/v1/rehearsals", json={"marker": "c0ffee", "url": "http://10.0.0.1/", "webhook": "http://10.0.0.1/"})
    assert on(watch) == {"c0ffee": 0}
