"""`suite bench gateway` with tiny loads: rows, a peer that cannot be had, a server that is killed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.benchmark import gateway as bench
from suite.benchmark.child import Child
from suite.benchmark.peer import environment, server_extra
from suite.benchmark.row import Limit, status
from suite.errors import RunFailed, UpstreamError
from suite.settings import load

TINY = bench.Load(calls=12, clients=3, warm=2, rate=20.0, before=0.5, after=1.5)


@pytest.fixture
def client() -> Iterator[Child]:
    with Child("client") as child:
        yield child


def test_rows_without_the_peer_are_no_pass_and_a_killed_server_is_stood_in_for(tmp_path: Path, models_dir: Path,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADDED_50", "ADDED_95", "SHARE_MANY", "FIRST_GOOD"):  # a test asserts no time
        known: Limit = getattr(bench, name)
        monkeypatch.setattr(bench, name, Limit(known.name, known.unit, "<=", 1e9, known.peer))

    def absent(*_: object) -> None:
        raise RunFailed("litellm cannot be installed: no network.")

    monkeypatch.setattr(bench, "LiteLlm", absent)
    settings = load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir), "llama_threads": 1}, environ={})
    rows = {row["name"].split(" (")[0].split(": not measured")[0]: row for row in bench.gateway(settings, 1, True, lambda text: None, TINY)}
    assert len(rows) == 12
    assert [rows[limit.name]["met"] for limit in (bench.ADDED_50, bench.ADDED_95, bench.SHARE_MANY, bench.FIRST_GOOD)] == [True] * 4
    assert [rows[limit.name]["value"] for limit in (bench.PEER_ADDED, bench.PEER_MANY)] == [None, None]
    assert rows[bench.UNFLAGGED.name]["met"] and rows[bench.REFUSED.name]["value"] == 0 and rows[bench.FLAGGED.name]["value"] > 0
    assert status(rows.values()) == 2


def test_a_stand_in_answers_whole_and_streamed_with_its_name(client: Child) -> None:
    body = {"model": "any", "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 16}
    with Child("upstream", name="somebody") as upstream:
        url = upstream.ask("ready")
        (row,) = client.ask("steady", url=url, token="", body=body, rate=2.0, seconds=0.5)
        assert (row["status"], row["text"], row["fallback"]) == (200, "I am somebody.", False)
        assert len(client.ask("calls", url=url, token="", bodies=[body], clients=2, count=5)["marks"]) == 5
        with pytest.raises(UpstreamError, match="'stop' after 1 pieces") as raised:
            client.ask("streams", url=url, token="", bodies=[body])
        assert "16 tokens" in str(raised.value)


def test_what_cannot_be_installed_is_said_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="nothing cannot be installed"):
        environment(tmp_path, "nothing", [str(tmp_path / "no-such-wheel.whl")])
    assert not list(tmp_path.glob("*/complete"))


def test_an_environment_is_made_once_and_sees_what_is_installed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = environment(tmp_path, "peer", ["httpx"], shared=True)
    subprocess.run([str(python), "-c", "import httpx, gguf"], check=True)
    with monkeypatch.context() as broken:
        broken.setattr(subprocess, "run", None)  # another installation would fail
        assert environment(tmp_path, "peer", ["httpx"], shared=True) == python
    assert server_extra() and not any("llama" in each for each in server_extra())  # what is compiled is not built again
