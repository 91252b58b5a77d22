"""Phase 1 of a deployment in containers: a docker that is a program of this test is really run, and asked what the real one would be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack

from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase1 import CHECKS
from suite.checks.result import Result
from suite.checks.target import PORTS

LIMITS = load()
PACKAGES = next(check for check in CHECKS if check.id == "P1.1")
ANSWERS: dict[str, Any] = {
    "version --format {{json .}}": {"Client": {"Version": "28.5.1"}, "Server": {"Version": "28.5.1"}},
    "compose version --format json": {"version": "v2.40.0"},
    "info --format {{json .}}": {"KernelVersion": "6.18", "CgroupVersion": "2", "Runtimes": {"runc": {}, "nvidia": {}}},
    "compose ls --format json": [{"Name": "suite", "Status": "running(9)", "ConfigFiles": "/srv/a.yml,/srv/b.yml"}],
    "compose -f /srv/a.yml -f /srv/b.yml config --quiet": "",
}
PROGRAM = """import json, sys
answers = json.load(open({answers!r}))
given = answers.get(" ".join(sys.argv[1:]))
if given is None:
    sys.exit("Cannot connect to the Docker daemon")
print(given if isinstance(given, str) else json.dumps(given))
"""


def run(folder: Path, urls: dict[str, str] | None = None, **changed: Any) -> Result:
    """The check against a foreign stack, and a docker that gives ANSWERS with some of them changed (None: refused)."""
    (folder / "answers.json").write_text(json.dumps({**ANSWERS, **changed}))
    (folder / "docker.py").write_text(PROGRAM.format(answers=str(folder / "answers.json")))
    target = FakeStack(foreign=True).target()
    target.surroundings.docker = (sys.executable, str(folder / "docker.py"))
    foreign = target.foreign
    target.urls = urls or {part: f"http://127.0.0.1:{port}" for part, port in PORTS.items()}
    assert foreign
    parts, target.parts = target.parts, lambda: None  # it was found to be foreign before its addresses were changed
    result = perform(PACKAGES, target, LIMITS["P1.1"])
    target.parts = parts
    target.close()
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def broken(result: Result) -> set[str]:
    return {str(item["name"]) for item in result.conditions if item["met"] is False}


def test_a_healthy_engine_passes_and_is_recorded(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.state == "pass", result.why
    engine = next(item for item in result.evidence if item.get("name") == "engine")
    assert engine == {"name": "engine", "version": "28.5.1", "compose": "v2.40.0", "kernel": "6.18", "cgroup": "2", "runtimes": ["nvidia", "runc"]}


@pytest.mark.parametrize(("version", "conditions"), [
    ("20.10.0", set()), ("20.9.9", {"engine_too_old"}), ("20.0.1", {"engine_too_old"}), ("9.99", {"engine_too_old"}), ("100.0", set()),
    ("", {"daemon_silent", "unseen"}), ("latest", {"unseen"}),
])
def test_the_engine_s_version_is_compared_as_numbers(version: str, conditions: set[str], tmp_path: Path) -> None:
    assert broken(run(tmp_path, **{"version --format {{json .}}": {"Client": {"Version": "28"}, "Server": {"Version": version}}})) == conditions


@pytest.mark.parametrize(("version", "conditions"), [("2.0.0", set()), ("v1.29.2", {"compose_too_old"}), ("", {"unseen"})])
def test_the_version_of_compose_is_compared_too(version: str, conditions: set[str], tmp_path: Path) -> None:
    assert broken(run(tmp_path, **{"compose version --format json": {"version": version}})) == conditions


def test_a_daemon_that_does_not_answer_is_red_though_its_client_does(tmp_path: Path) -> None:
    result = run(tmp_path, **{"version --format {{json .}}": None, "info --format {{json .}}": None, "compose ls --format json": None})
    assert broken(result) == {"daemon_silent", "unseen"} and "Cannot connect" in result.why


def test_a_compose_file_that_cannot_be_rendered_is_red(tmp_path: Path) -> None:
    result = run(tmp_path, **{"compose -f /srv/a.yml -f /srv/b.yml config --quiet": None})
    assert broken(result) == {"compose_invalid"}


def test_a_deployment_that_compose_does_not_know_is_red(tmp_path: Path) -> None:
    assert broken(run(tmp_path, **{"compose ls --format json": []})) == {"unseen"}
    assert broken(run(tmp_path, **{"compose ls --format json": "no JSON"})) == {"unseen"}


def test_no_docker_at_all_is_red(tmp_path: Path) -> None:
    target = FakeStack(foreign=True).target()
    target.surroundings.docker = (str(tmp_path / "docker"),)
    target.urls = {part: f"http://localhost:{port}" for part, port in PORTS.items()}
    target.parts = lambda: None
    result = perform(PACKAGES, target, LIMITS["P1.1"])
    target.close()
    assert broken(result) == {"daemon_silent", "unseen"} and "could not be asked" in result.why


def test_containers_on_another_machine_cannot_be_asked_from_here(tmp_path: Path) -> None:
    result = run(tmp_path, {part: f"http://10.0.0.7:{port}" for part, port in PORTS.items()})
    assert result.state == "not-applicable" and "another machine" in result.why
