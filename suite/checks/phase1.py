"""Phase 1: what the stack stands on: packages, cards and ports; files, code and disks are in phase1_files."""

from __future__ import annotations

import errno
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from prometheus_client.parser import text_string_to_metric_families

from suite.checks import fault_environment as fault
from suite.checks.check import Check, Observation
from suite.checks.kernelspec import broken_specs
from suite.checks.packages import Package, by_name, digest, everything, installed_since, integrity, starters
from suite.checks.phase1_docker import docker
from suite.checks.phase1_files import FILES
from suite.checks.requirement import LOCK, drift, python_fits, unmet
from suite.checks.target import PORTS, WATCHING, Target
from suite.errors import NotReady, SettingsError, SuiteError, WeightsError
from suite.text.secret import masked_text

ELSEWHERE = "the stack runs on another machine than this check; run it there"
IN_KERNEL = ("same_environment", "python_fits", "files_altered", "packages_unrecorded", "starters_unknown", "requirements_unmet",
             "installed_since_start", "kernelspecs_broken", "llama_works")
ROLES = {"inference-chat": "chat", "inference-code": "code"}
MOST_SHOWN = 20


def packages(target: Target, seen: Observation) -> None:
    """P1.1: the Python packages of a stack in a kernel, the engine and the compose files of one in containers."""
    record = target.parts()
    if record is None:
        docker(target, seen)
        return
    host, around = record["host"], target.surroundings
    if not _here(host):
        seen.not_applicable = ELSEWHERE
        return
    seen.values["same_environment"] = os.path.realpath(str(host.get("python"))) == os.path.realpath(sys.prefix)
    every = everything(around.site())
    there = by_name(every)
    wrong, reached = unmet(there)
    seen.values |= {"python_fits": python_fits(there, platform.python_version()), "requirements_unmet": len(wrong)}
    seen.note("python", version=platform.python_version(), prefix=sys.prefix, of_the_stack=host.get("python"), packages=len(there),
              packages_sha256=digest(there))
    needed = [there[name] for name in sorted(reached)]
    new = installed_since(needed, float(host["started_at"]))
    seen.values["installed_since_start"] = len(new)
    _whole(every, needed, target, seen)
    off = drift(there, reached, around.root() / LOCK)
    seen.values["lock_drift"] = None if off is None else len(off)
    seen.note("demands", unmet=wrong[:MOST_SHOWN], installed_since_start=new, lock=None if off is None else off[:MOST_SHOWN])
    specs, bad = broken_specs(around.kernels())
    seen.values["kernelspecs_broken"] = len(bad)
    seen.note("kernelspecs", found=specs, broken=bad)
    seen.values["llama_works"] = _llama(target, seen)
    seen.values["unseen"] = sum(seen.values.get(name) is None for name in IN_KERNEL)


def _whole(every: list[Package], needed: list[Package], target: Target, seen: Observation) -> None:
    """Files as they were installed, and nothing that would run before them."""
    found, early = integrity(every), starters(every, target.surroundings.site())
    unrecorded = sorted(set(found.unrecorded) & {one.name for one in needed})
    seen.values |= {"files_altered": len(found.altered), "packages_unrecorded": len(unrecorded), "starters_unknown": len(early)}
    seen.note("integrity", files=found.files, altered=found.altered[:MOST_SHOWN], without_record=unrecorded, starters=early,
              certificates_added=found.added)


def _llama(target: Target, seen: Observation) -> bool:
    from suite.serving.doctor import examine

    try:
        build = examine(target.surroundings.cards, target.surroundings.llama)
    except WeightsError as error:
        seen.note("llama.cpp", reason=error.message)
        return False
    seen.note("llama.cpp", version=build.version, built_with=list(build.built_with), unused_features=list(build.unused_features),
              offload=build.offload, devices=[device["name"] for device in build.devices], advice=build.sentence)
    return True


def cards(target: Target, seen: Observation) -> None:
    """P1.2: the profile says whether there is a card; where there is one, each model that belongs on it is really there."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say what it has put onto a card"
        return
    host, around = record["host"], target.surroundings
    if not _here(host):
        seen.not_applicable = ELSEWHERE
        return
    try:
        profile = around.profile(str(host["profile"]))
    except SettingsError as error:
        seen.values["declared"] = False
        seen.note("refused", reason=error.message)
        return
    declared = {part: getattr(profile, role).n_gpu_layers != 0 for part, role in ROLES.items()}
    layers = {part: _layers(target, part, seen) for part in ROLES}
    wanted = [part for part in ROLES if declared[part] or layers[part]]
    there = around.cards()
    seen.values["declared"] = None if None in layers.values() else all(declared[part] == bool(layers[part]) for part in ROLES)
    seen.note("profile", profile=profile.name, on_a_card=[part for part in ROLES if declared[part]], layers=layers)
    for card in there:
        seen.note("card", index=card.index, card=card.name, driver=card.driver, total_bytes=card.total, used_bytes=card.used)
    held = _memory(target) if wanted else {}
    seen.values |= {
        "cards_missing": int(bool(wanted) and not there), "drivers_unknown": sum(not card.driver for card in there) if wanted else 0,
        "servers_without_layers": sum(not layers[part] for part in wanted), "servers_without_memory": sum(not held.get(part) for part in wanted),
        "build_without_card": int(not _build_uses_card(target, seen)) if wanted else 0,
    }
    if wanted:
        seen.note("memory", bytes_by_server=held)


def _layers(target: Target, part: str, seen: Observation) -> int | None:
    """Layers that a server has put onto a card; None when it does not say."""
    try:
        rows = target.json("GET", part, "/v1/models").get("data") or []
    except SuiteError as error:
        seen.note("refused", reason=str(error))
        return None
    return rows[0].get("n_gpu_layers") if rows else None


def _memory(target: Target) -> dict[str, float]:
    """Bytes of cards that were taken around the load of each server's model, as its monitoring saw it."""
    if "monitoring" not in target.urls:
        raise NotReady("Nobody watches this stack, so nobody knows what its models take of a card; set MONITORING_ENABLED=true.")
    answer = target.call("GET", "monitoring", "/metrics/monitoring")
    return {sample.labels["server"]: sample.value for family in text_string_to_metric_families(answer.text) for sample in family.samples
            if sample.name == "suite_model_memory_bytes" and (sample.labels["where"], sample.labels["kind"]) == ("gpu", "seen")}


def _build_uses_card(target: Target, seen: Observation) -> bool:
    """Whether the installed llama.cpp, in a child, puts a tiny model onto a card, and takes memory of it."""
    from suite.serving.doctor import examine

    try:
        build = examine(target.surroundings.cards, target.surroundings.llama)
    except WeightsError as error:
        seen.note("build", reason=error.message)
        return False
    seen.note("build", used=build.used, evidence=build.evidence, advice=build.sentence)
    return build.used is True


def ports(target: Target, seen: Observation) -> None:
    """P1.3: each port of the stack's own definition is tried; whoever has it must be this stack, and nobody else on any address."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say which process has its ports"
        return
    host = record["host"]
    if not _here(host):
        seen.not_applicable = ELSEWHERE
        return
    defined = dict(host["ports"])
    seen.values |= {"ports_missing": len((set(PORTS) | set(WATCHING)) - _switched_off(host) - defined.keys())}
    ours = int(host["pid"])  # a model server in a process of its own listens on no port
    owners = target.surroundings.listeners()
    free, others, nameless = [], [], []
    for part, port in defined.items():
        address = urlsplit(target.urls[part]).hostname or "127.0.0.1"
        if not _busy(address, port):
            free.append(part)
            continue
        who = owners.get(port, set())
        if None in who or not who:
            nameless.append(part)
        strangers = {pid for pid in who if pid is not None} - {ours}
        if strangers:
            others.append(part)
        seen.note("port", part=part, port=port, ours=ours in who, owners=[_named(pid) for pid in strangers])
    seen.values |= {"ports_free": len(free), "ports_of_others": len(others), "owners_unknown": len(nameless)}
    seen.note("tried", ports=len(defined), free=free, of_others=others, owner_unknown=nameless)


def _here(host: dict[str, Any]) -> bool:
    """Whether the stack runs on this machine: its process is there, and so is its data directory."""
    return psutil.pid_exists(int(host["pid"])) and Path(str(host.get("data_dir") or "/none")).is_dir()


def _switched_off(host: dict[str, Any]) -> set[str]:
    """The ports that this stack's settings leave closed."""
    watching = host.get("watching") or {}
    if watching.get("monitoring_enabled") is False:
        return {"monitoring", "alerts", "dashboard"}
    return {"alerts"} if watching.get("alertmanager_enabled") is False else set()


def _busy(address: str, port: int) -> bool:
    """Whether a port cannot be had. Raises NotReady where it cannot be tried."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has just ended keeps no port
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise NotReady(f"Port {port} of {address} cannot be tried ({error.strerror}); run the check on the machine of the stack.") from error
            return True
    return False


def _named(pid: int) -> str:
    """A process for whoever reads the report; what follows on its command line may be a secret, and is left out."""
    try:
        return f"pid {pid} ({masked_text(' '.join(psutil.Process(pid).cmdline()[:2]))})"
    except psutil.Error:
        return f"pid {pid}"


CHECKS = (
    Check("P1.1", "Python and its packages are those that were installed, and whole", 1, "infrastructure", 2, fault.ALTERED_FILE, packages,
          (fault.UNKNOWN_STARTER, fault.UNMET_DEMAND, fault.NEW_PACKAGE, fault.UNRECORDED, fault.OLD_PYTHON, fault.DRIFTED_LOCK, fault.BROKEN_KERNEL,
           fault.BROKEN_LLAMA, fault.OTHER_PYTHON)),
    Check("P1.2", "The models lie where the profile says: on a card, or on none", 1, "infrastructure", 2, fault.CARD_WANTED, cards,
          (fault.UNDECLARED_LAYERS, fault.UNUSED_CARD, fault.SILENT_DRIVER)),
    Check("P1.3", "Every port belongs to this stack", 1, "infrastructure", 1, fault.STOLEN_PORT, ports,
          (fault.FREE_PORT, fault.NEIGHBOUR, fault.MISSING_PORT, fault.NAMELESS_OWNER)),
    *FILES,
)
