"""Phase 1 on real stacks: a healthy one passes, each fault breaks the condition that it is about, and who cannot be looked at is not applicable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_stack import Answer, FakeStack

from suite.bench import throwaway
from suite.checks import fault_environment as env
from suite.checks import fault_files as files
from suite.checks import phase1
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.fault import Fault, nothing
from suite.checks.phase1 import CHECKS
from suite.checks.result import Result
from suite.checks.surroundings import Scratch, Surroundings
from suite.monitoring.gpu import Gpu
from suite.monitoring.model_memory import ModelMemory

LIMITS = load().under("smoke")
BY_ID = {check.id: check for check in CHECKS}
BREAKS: dict[str, dict[Fault, str]] = {
    "P1.1": {env.ALTERED_FILE: "files_altered", env.UNKNOWN_STARTER: "starters_unknown", env.UNMET_DEMAND: "requirements_unmet",
             env.NEW_PACKAGE: "installed_since_start", env.UNRECORDED: "packages_unrecorded", env.OLD_PYTHON: "python_fits",
             env.DRIFTED_LOCK: "lock_drift", env.BROKEN_KERNEL: "kernelspecs_broken", env.BROKEN_LLAMA: "llama_works",
             env.OTHER_PYTHON: "same_environment"},
    "P1.2": {env.CARD_WANTED: "cards_missing servers_without_layers", env.UNDECLARED_LAYERS: "declared cards_missing servers_without_memory",
             env.UNUSED_CARD: "servers_without_memory build_without_card", env.SILENT_DRIVER: "drivers_unknown"},
    "P1.3": {env.STOLEN_PORT: "ports_of_others", env.FREE_PORT: "ports_free", env.NEIGHBOUR: "ports_of_others", env.MISSING_PORT: "ports_missing",
             env.NAMELESS_OWNER: "owners_unknown"},
    "P1.4": {files.TURNED_BIT: "files_different files_unlocked", files.CUT_FILE: "files_damaged", files.UNPINNED: "files_unlocked",
             files.UNLICENSED: "licences_missing", files.UNLOADED: "models_missing", files.SILENT_MODEL: "models_silent",
             files.ALTERED_EMBEDDER: "files_damaged"},
    "P1.5": {files.CHANGED_FILE: "changed_files", files.NEW_FILE: "untracked_files", files.STRANGE_NAME: "names_strange",
             files.MISSING_NAME: "names_missing", files.MOVED_ON: "stack_of_this_commit", files.MOVED_SUBMODULE: "submodules_off",
             files.NO_COMMIT: "commit_known"},
    "P1.6": {files.HUGE_BACKUP: "left_after_growth", files.NO_ROOM: "data_free models_free reports_free", files.NO_INODES: "inodes_free"},
}
ALONE = (env.ALTERED_FILE, env.UNKNOWN_STARTER, env.DRIFTED_LOCK, env.BROKEN_KERNEL, env.BROKEN_LLAMA, env.OTHER_PYTHON, env.OLD_PYTHON, env.NEW_PACKAGE,
         env.UNRECORDED, env.UNMET_DEMAND, env.STOLEN_PORT, env.FREE_PORT, env.NEIGHBOUR, env.MISSING_PORT, env.NAMELESS_OWNER, files.CUT_FILE,
         files.UNPINNED, files.UNLICENSED, files.UNLOADED, files.SILENT_MODEL, files.ALTERED_EMBEDDER, files.CHANGED_FILE, files.NEW_FILE,
         files.HUGE_BACKUP, files.NO_INODES)  # those that break nothing else
OF_CONTAINERS = {"daemon_silent", "engine_too_old", "compose_too_old", "compose_invalid"}  # test_phase1_docker.py breaks them
ROWS = [pytest.param(identity, broke, condition, id=f"{identity} {broke.sentence}") for identity, rows in BREAKS.items() for broke, condition in rows.items()]
CARD = Gpu(0, "a card", "GPU-0", 6 << 30, 1 << 30, 5 << 30, driver="581.29")


@pytest.fixture(scope="module")
def shared(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A stack for all that changes nothing of it."""
    with throwaway(profile="smoke", models_dir=str(models_dir)) as pair:
        yield pair


@pytest.fixture
def stage(shared: tuple[Any, Any], tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """That stack, looked at anew."""
    stack, target = shared
    honest = target.surroundings, target.folder
    scratch = Scratch(tmp_path / "checkout")
    target.surroundings, target.folder = replace(target.surroundings, root=scratch.root, commit=scratch.commit), tmp_path
    yield stack, target
    target.surroundings, target.folder = honest


def run(identity: str, target: Any) -> Result:
    result = perform(BY_ID[identity], target, LIMITS[identity])
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def broken(result: Result) -> set[str]:
    return {str(item["name"]) for item in result.conditions if item["met"] is False}


def noted(result: Result, name: str) -> Any:
    return next(item for item in result.evidence if item.get("name") == name)


def test_every_fault_and_every_condition_is_tried() -> None:
    assert list(BY_ID) == [f"P1.{number}" for number in range(1, 7)]
    for identity, check in BY_ID.items():
        assert {check.fault, *check.others} == set(BREAKS[identity])
        tried = {name for names in BREAKS[identity].values() for name in names.split()}
        assert {condition.name for condition in LIMITS[identity].conditions} - tried == (OF_CONTAINERS | {"unseen"} if identity == "P1.1" else set())


def test_a_healthy_stack_passes_and_says_what_was_seen(stage: tuple[Any, Any]) -> None:
    stack, target = stage
    results = {identity: run(identity, target) for identity in BY_ID}
    assert {identity: result.why for identity, result in results.items() if result.state != "pass"} == {}
    assert noted(results["P1.1"], "integrity")["files"] > 5000 and noted(results["P1.1"], "python")["packages"] > 50
    assert "avx" in str(noted(results["P1.1"], "llama.cpp")["built_with"]).lower() or "NEON" in noted(results["P1.1"], "llama.cpp")["built_with"]
    assert noted(results["P1.2"], "profile") == {"name": "profile", "profile": "smoke", "on_a_card": [], "layers": {"inference-chat": 0, "inference-code": 0}}
    assert {item["part"] for item in results["P1.3"].evidence if item.get("name") == "port"} == set(stack.ports)
    assert all(item["ours"] for item in results["P1.3"].evidence if item.get("name") == "port")
    found = [item for item in results["P1.4"].evidence if item.get("name") == "model file"]
    assert [item["part"] for item in found] == ["inference-chat", "inference-code", "embedding"] and results["P1.4"].smoke
    assert {item["vouched_by"] for item in found} == {"catalogue"} and all(item["licence"] == "Apache-2.0" for item in found[:2])
    assert noted(results["P1.5"], "checkout")["commit"] == target.surroundings.commit()
    assert {item["volume"] for item in results["P1.6"].evidence if item.get("name") == "volume"} == {"data", "models", "reports"}


@pytest.mark.parametrize(("identity", "broke", "condition"), [row for row in ROWS if row.values[1].inject is nothing and row.values[0] != "P1.5"])
def test_a_fault_of_the_machine_breaks_its_condition(identity: str, broke: Fault, condition: str, stage: tuple[Any, Any]) -> None:
    _, target = stage
    broke.bend(target)
    result = run(identity, target)
    assert as_meant(result, broke, condition), result.why


@pytest.mark.parametrize(("identity", "broke", "condition"), [row for row in ROWS if row.values[1].inject is not nothing or row.values[0] == "P1.5"])
def test_a_fault_of_the_stack_breaks_its_condition(identity: str, broke: Fault, condition: str, models_dir: Path) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        broke.inject(stack)
        broke.bend(target)
        result = run(identity, target)
    assert as_meant(result, broke, condition), result.why


def as_meant(result: Result, broke: Fault, condition: str) -> bool:
    """Whether it is red for what this fault breaks, by an observation and not by an error, and for nothing else where the fault stands alone."""
    meant, names = set(condition.split()), {item["name"] for item in result.evidence}
    return result.state == "fail" and "error" not in names and (broken(result) == meant if broke in ALONE else meant <= broken(result))


def test_the_owner_of_a_stolen_port_is_named(models_dir: Path) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        env.STOLEN_PORT.inject(stack)
        row = next(item for item in run("P1.3", target).evidence if item.get("name") == "port" and item["part"] == "logs")
    assert row["ours"] is False and len(row["owners"]) == 1 and "python" in row["owners"][0] and row["owners"][0].startswith("pid ")


@pytest.mark.parametrize("settings", [{"monitoring_enabled": False}, {"alertmanager_enabled": False}])
def test_ports_that_the_settings_leave_closed_are_not_missed(settings: dict[str, Any], models_dir: Path) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir), **settings) as (_, target):
        result = run("P1.3", target)
    assert result.state == "pass" and noted(result, "tried")["ports"] < 13


def on_card(stack: Any, target: Any, server: str = "inference-chat inference-code", taken: int = 100 << 20) -> None:
    """Let the stack be one whose models lie on a card, as far as it says so itself."""
    env.claim_layers(stack)
    env.add_card(target)
    for name in ("inference-chat", "inference-code"):
        rows = [ModelMemory(name, "smoke", "gpu", taken, taken if name in server.split() else 0, "process")]
        stack.parts[name].memory = lambda cards, rows=rows: rows


def test_a_profile_with_a_card_passes_where_layers_and_memory_are_on_it(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.serving import doctor

    honest, used = doctor.examine, True
    monkeypatch.setattr(doctor, "examine", lambda cards, folder: replace(honest(cards, folder), used=used))
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        on_card(stack, target)
        result = run("P1.2", target)
        assert result.state == "pass", result.why
        assert noted(result, "card")["driver"] == "581.29" and noted(result, "memory")["bytes_by_server"]["inference-chat"] == 100 << 20
        used = None
        assert broken(run("P1.2", target)) == {"build_without_card"}
        used = True
        on_card(stack, target, server="inference-chat")
        assert broken(run("P1.2", target)) == {"servers_without_memory"}
        stack.parts["inference-code"].unload()
        result = run("P1.2", target)
        assert {"declared", "servers_without_layers", "servers_without_memory"} <= broken(result)


def test_a_profile_that_nobody_knows_does_not_declare_that_there_is_no_card(stage: tuple[Any, Any]) -> None:
    stack, target = stage
    honest = stack._host_facts
    env.tell(stack, profile="gpu-9000")
    try:
        result = run("P1.2", target)
    finally:
        stack._host_facts = honest
    assert "declared" in broken(result) and "gpu-9000" in result.why


def test_a_stack_whose_models_are_down_does_not_say_that_there_is_no_card(models_dir: Path) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        stack.servers.close("inference-chat")
        assert "declared" in broken(run("P1.2", target))


def test_an_installed_package_has_no_commit(stage: tuple[Any, Any], tmp_path: Path) -> None:
    _, target = stage
    result = run("P1.5", replaced(target, root=lambda: tmp_path))
    assert result.state == "not-applicable" and "P1.1 compares" in result.why


def test_a_stack_that_was_started_from_another_commit_is_not_the_one_that_is_checked(stage: tuple[Any, Any]) -> None:
    stack, target = stage
    result = run("P1.5", replaced(target, commit=None))
    assert broken(result) == {"stack_of_this_commit"}
    assert noted(result, "checkout")["started_from"] == stack.record.commit.removesuffix("-dirty")


def replaced(target: Any, **around: Any) -> Any:
    target.surroundings = replace(target.surroundings, **around)
    return target


class Elsewhere(FakeStack):
    """A stack of ours whose process and folders are not on this machine."""

    def __init__(self, pid: int = os.getpid(), data: str = "/nowhere/data") -> None:
        super().__init__()
        self.pid, self.data = pid, data

    def host(self) -> dict[str, Any]:
        return {**super().host(), "pid": self.pid, "data_dir": self.data, "models_dir": "/nowhere/models", "reports_dir": "/nowhere/reports", "ports": {}}


@pytest.mark.parametrize("identity", ["P1.1", "P1.2", "P1.3", "P1.4", "P1.6"])
def test_a_stack_on_another_machine_cannot_be_looked_at_from_here(identity: str, tmp_path: Path) -> None:
    for stack in (Elsewhere(), Elsewhere(pid=2**22 + 1, data=str(tmp_path))):
        target = stack.target()
        result = run(identity, target)
        target.close()
        assert result.state == "not-applicable" and "on another machine" in result.why


@pytest.mark.parametrize("identity", ["P1.2", "P1.3", "P1.4", "P1.6"])
def test_a_stack_of_another_make_does_not_say_what_it_stands_on(identity: str) -> None:
    target = FakeStack(foreign=True).target()
    result = run(identity, target)
    target.close()
    assert result.state == "not-applicable" and "of another make" in result.why


def test_the_code_of_a_checkout_is_looked_at_whatever_stack_is_meant(stage: tuple[Any, Any]) -> None:
    target = FakeStack(foreign=True).target()
    target.surroundings = Surroundings(root=stage[1].surroundings.root)
    result = run("P1.5", target)
    target.close()
    assert result.state == "pass" and noted(result, "checkout")["started_from"] == ""


def test_a_gateway_that_is_out_makes_every_check_red() -> None:
    def refuse(_: Answer) -> Answer:
        return 500, {"error": "out"}

    target = FakeStack().bend("api-gateway GET /v1/parts", refuse).target()
    for identity in BY_ID:
        assert run(identity, target).state == "fail"
    target.close()


def test_a_card_that_nobody_wants_is_only_named(stage: tuple[Any, Any]) -> None:
    _, target = stage
    result = run("P1.2", replaced(target, cards=lambda: (CARD,)))
    assert result.state == "pass" and noted(result, "card")["card"] == "a card"
    assert phase1.ROLES == {"inference-chat": "chat", "inference-code": "code"}
