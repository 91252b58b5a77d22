"""Silences of alerts: by the host's bench, by a guest's and by `suite silences`, each of which sees what the others did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import suite
from kernels import Process, Raised
from suite.bench import Bench
from suite.cli.main import main
from suite.errors import NotReady, SuiteError

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(host: Process, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["silences", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def guest(call: Call) -> Iterator[Bench]:
    """This process as a guest of the kernel that hosts."""
    bench = suite.start(attach=True)
    assert not bench.hosting
    yield bench
    bench.stop()


def test_a_silence_is_begun_listed_and_ended(call: Call, host: Process) -> None:
    status, out, _ = call("add", "GpuHot", "gpu=0", "--reason", "new fans", "--for", "30m", "--by", "kim", "--json")
    made = json.loads(out)
    assert status == 0 and made["matchers"] == ['alertname="GpuHot"', 'gpu="0"'] and (made["by"], made["reason"]) == ("kim", "new fans")
    assert round(made["until"] - made["begin"]) == 1800
    (row,) = [row for row in json.loads(call("list", "--json")[1])["rows"] if row["id"] == made["id"]]
    assert row == {**made, "state": "active"}
    assert host.ask(f"bench._behind.monitor.watch.silences.muting({{'alertname': 'GpuHot', 'gpu': '0'}}, {made['begin'] + 1}).id") == made["id"]
    assert made["id"] in call("list")[1] and "new fans" in call("list")[1]
    assert call("expire", made["id"]) == (0, f"{made['id']} is over\n", "")
    assert made["id"] not in call("list")[1] and "expired" in call("list", "--all")[1]
    assert call("expire", made["id"])[::2] == (2, f"suite: There is no silence '{made['id']}' that still holds; list them first.\n")


def test_a_label_without_a_value_is_refused_before_anything_is_asked(call: Call) -> None:
    assert call("add", "GpuHot", "gpu", "--reason", "x") == (2, "", "suite: 'gpu' is no label; write it as LABEL=VALUE, such as gpu=0.\n")


def test_host_and_guest_give_the_same(host: Process, guest: Bench) -> None:
    host.ask("made = bench.monitoring.silence('PartDown', 'moving', 60, job='rag')")
    ours = guest.monitoring.silence("Watchdog", "not now", "1h")
    assert ours.by == "local-owner" == host.ask("made.by") and 3500 < ours.until - ours.begin <= 3600
    shown = "bench.monitoring.silences(ended=True).to_csv() + str(bench.monitoring.silences().dtypes)"
    assert eval(shown, {"bench": guest, "str": str}) == host.ask(shown)
    assert host.ask("[row for row in bench.monitoring.silences()['matchers']]") == [['alertname="Watchdog"'], ['alertname="PartDown"', 'job="rag"']]
    assert guest.monitoring.unsilence(host.ask("made.id")).id == host.ask("made.id")
    assert host.ask(f"bench.monitoring.unsilence({ours.id!r}).until") <= ours.until and len(guest.monitoring.silences()) == 0
    assert list(guest.monitoring.silences().columns) == ["id", "state", "matchers", "begin", "until", "by", "reason"]


@pytest.mark.parametrize(("code", "says"), [
    ("bench.monitoring.silence('Nothing', 'x')", "There is no rule 'Nothing' whose alerts could be silenced; there are "),
    ("bench.monitoring.silence('GpuHot', ' ')", "A silence needs somebody and a reason"),
    ("bench.monitoring.silence('GpuHot', 'x', 'soon')", "lasting is 'soon' but must be seconds or a duration"),
    ("bench.monitoring.silence('GpuHot', 'x', '2h', gpu='a\"b')", "The matcher 'gpu=\"a\"b\"' cannot be read"),
    ("bench.monitoring.silence('GpuHot', 'x', 1e9)", "lasting is '1000000000.0' but must be 52w2d at most."),
    ("bench.monitoring.unsilence('a/b')", "There is no silence 'a/b' that still holds"),
])
def test_what_cannot_be_is_the_same_sentence_on_both(host: Process, guest: Bench, code: str, says: str) -> None:
    with pytest.raises(Raised) as there:
        host.ask(code)
    with pytest.raises(SuiteError) as here:
        eval(code, {"bench": guest})
    assert str(there.value) == f"{type(here.value).__name__}: {here.value}" and says in str(here.value)


def test_where_nobody_is_told_there_is_nothing_to_silence(tmp_path: Path, models_dir: Path) -> None:
    bench = suite.start(data_dir=tmp_path, models_dir=models_dir, port_base="auto", alertmanager_enabled=False)
    try:
        for ask in (bench.monitoring.silences, lambda: bench.monitoring.silence("GpuHot", "x"), lambda: bench.monitoring.unsilence("x")):
            with pytest.raises(NotReady, match="ALERTMANAGER_ENABLED=true"):
                ask()
        assert len(bench.monitoring.rules()) > 0
    finally:
        bench.stop()
