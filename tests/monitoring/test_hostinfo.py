"""The process, its children, and what those had spent that have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from suite.monitoring.hostinfo import HostSeries

SPENDING = """
import subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import sys; held = b'x' * 50_000_000; print('up', flush=True); sys.stdin.read()"], stdin=subprocess.PIPE)
while time.process_time() < 0.3: pass
print("spent", flush=True); sys.stdin.read(); inner.communicate()
"""


def values(series: HostSeries) -> dict[tuple[str, str], float]:
    return {(family.name, one.labels.get("process", "")): one.value for family in series.collect() for one in family.samples}


def test_children_and_theirs_are_seen_when_they_begin_and_their_time_is_kept_when_they_have_ended(tmp_path: Path) -> None:
    series = HostSeries(tmp_path)
    before = values(series)
    with subprocess.Popen([sys.executable, "-c", SPENDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert {child.stdout.readline().strip(), child.stdout.readline().strip()} == {"up", "spent"}
        for _ in range(2):  # the second time nobody has begun or ended, as far as this test goes
            during = values(series)
            assert during[("suite_process_resident_bytes", "children")] - before[("suite_process_resident_bytes", "children")] > 50_000_000, "a child's child counts"
            assert during[("suite_process_cpu_seconds", "children")] - before[("suite_process_cpu_seconds", "children")] >= 0.3
        child.communicate()
    after = values(series)
    assert after[("suite_process_resident_bytes", "children")] == before[("suite_process_resident_bytes", "children")]
    assert after[("suite_process_cpu_seconds", "children")] >= during[("suite_process_cpu_seconds", "children")]


def test_all_processes_are_read_only_when_one_has_begun_or_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    whole = psutil.Process.children
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive=False: read.append(self.pid) or whole(self, recursive))
    pids = psutil.pids()
    monkeypatch.setattr(psutil, "pids", lambda: pids)
    series = HostSeries(tmp_path)
    assert values(series) and values(series) and read == [os.getpid()]
    pids = [*pids, 10**6]
    assert values(series) and read == [os.getpid()] * 2
