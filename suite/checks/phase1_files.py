"""Phase 1, what lies on disk: the model files against their lock, the code against its commit, and the room that is left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from suite import checkout
from suite.checks import fault_files as fault
from suite.checks.check import Check, Observation
from suite.checks.growth import growth
from suite.checks.surroundings import LAYOUT
from suite.checks.target import Target
from suite.errors import SuiteError, WeightsError

SERVERS = ("inference-chat", "inference-code")
ELSEWHERE = "the stack runs on another machine than this check; run it there"
OF_ANOTHER_MAKE = "this stack is of another make and does not say where its files lie"


def models(target: Target, seen: Observation) -> None:
    """P1.4: the file of each model server and of the embedder is whole, is the one of the lock, and generates."""
    host = host_here(target, seen)
    if host is None:
        return
    rows = {part: _served(target, part, seen) for part in SERVERS}
    wrong: dict[str, list[str]] = {name: [] for name in ("damaged", "unlocked", "different", "unlicensed", "silent")}
    for part, row in rows.items():
        if row:
            _file(target, part, row, host, wrong, seen)
            if not _one_token(target, part, row, seen):
                wrong["silent"].append(part)
    _embedder(target, host, wrong, seen)
    seen.values |= {"models_missing": sum(not row for row in rows.values()), "files_damaged": len(wrong["damaged"]),
                    "files_unlocked": len(wrong["unlocked"]), "files_different": len(wrong["different"]),
                    "licences_missing": len(wrong["unlicensed"]), "models_silent": len(wrong["silent"])}
    seen.note("wrong", **wrong)
    smoke = any(row.get("smoke") for row in rows.values())
    seen.note("smoke", observed=smoke)


def _served(target: Target, part: str, seen: Observation) -> dict[str, Any]:
    """What a server says of the file that it has loaded; nothing when it has none."""
    try:
        found = target.json("GET", part, "/v1/models").get("data") or []
    except SuiteError as error:
        seen.note("refused", reason=str(error))
        return {}
    return found[0] if found and found[0].get("path") else {}


def _file(target: Target, part: str, row: dict[str, Any], host: dict[str, Any], wrong: dict[str, list[str]], seen: Observation) -> None:
    """One model file, read whole: its form, its hash, its size and its licence against the catalogue, and against what was loaded."""
    from suite.serving.pull import proof
    from suite.serving.weights import check

    path = Path(str(row["path"]))
    try:
        found = check(path)
    except WeightsError as error:
        wrong["damaged"].append(part)
        seen.note("refused", reason=error.message)
        return
    expected = (host.get("expected") or {}).get(part.removeprefix("inference-")) or {}
    entries = target.surroundings.catalog().values()
    entry = next((one for one in entries if one.sha256 == found.sha256), None) or next((one for one in entries if one.file == path.name), None)
    vouched = proof(entry, path.name, found.sha256, Path(str(host.get("models_dir") or path.parent)))
    size_off = entry is not None and not entry.approximate and entry.bytes != found.bytes
    if entry is None or not vouched:
        wrong["unlocked"].append(part)
    if found.sha256 != row.get("sha256") or size_off or path.name != (expected.get("file") or path.name):
        wrong["different"].append(part)
    if entry is not None and not entry.licence:
        wrong["unlicensed"].append(part)
    seen.note("model file", part=part, path=str(path), bytes=found.bytes, sha256=found.sha256, vouched_by=vouched or "nobody",
              licence=entry.licence if entry else "", restricted=bool(entry and entry.restricted), tensors=found.tensors,
              architecture=found.meta.get("general.architecture"), loaded_sha256=row.get("sha256"), expected=expected)


def _one_token(target: Target, part: str, row: dict[str, Any], seen: Observation) -> bool:
    """Whether the model that was loaded from the file generates one token."""
    body = {"model": row["id"], "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 1, "temperature": 0}
    try:
        usage = target.json("POST", part, "/v1/chat/completions", json=body).get("usage") or {}
    except SuiteError as error:
        seen.note("refused", reason=str(error))
        return False
    return int(usage.get("completion_tokens") or 0) >= 1


def _embedder(target: Target, host: dict[str, Any], wrong: dict[str, list[str]], seen: Observation) -> None:
    """The files of the embedding model, each with the hash that is pinned or was recorded."""
    from suite.embedding.model import embedding_models
    from suite.embedding.verify import proof, verify

    facts = target.json("GET", "embedding", "/health").get("facts") or {}
    folder = Path(str(host["models_dir"]))
    model = embedding_models(folder).get(str(facts.get("model")))
    if model is None:
        wrong["unlocked"].append("embedding")
        return
    try:
        hashes = verify(model, folder / model.id)
    except WeightsError as error:
        wrong["damaged"].append("embedding")
        seen.note("refused", reason=error.message)
        return
    vouched = proof(model, folder / model.id, hashes)
    if not vouched:
        wrong["unlocked"].append("embedding")
    if not model.licence:
        wrong["unlicensed"].append("embedding")
    seen.note("model file", part="embedding", path=str(folder / model.id), files=hashes, vouched_by=vouched or "nobody", licence=model.licence)


def code(target: Target, seen: Observation) -> None:
    """P1.5: the code is that of one commit, which the stack was started from, and the checkout is laid out as the design has it."""
    around = target.surroundings
    state = checkout.look(around.root())
    if state is None:
        seen.not_applicable = "this is no checkout but an installed package, whose files P1.1 compares with what was installed"
        return
    if state.trouble:
        seen.note("refused", reason=state.trouble)
    strange = [name for name in state.top if not name.startswith(".") and name not in LAYOUT]
    missing = [name for name in LAYOUT if name not in state.top]
    record = target.parts()
    started_from = around.commit() if around.commit else str(((record or {}).get("host") or {}).get("commit") or "").removesuffix("-dirty")
    seen.values |= {
        "commit_known": bool(state.commit), "changed_files": None if state.trouble else len(state.changed),
        "untracked_files": None if state.trouble else len(state.untracked), "submodules_off": None if state.trouble else len(state.submodules),
        "names_strange": None if state.trouble else len(strange), "names_missing": None if state.trouble else len(missing),
        "stack_of_this_commit": None if record is None else started_from == state.commit,
    }
    seen.note("checkout", commit=state.commit, started_from=started_from, diff_sha256=state.diff_sha256, changed=list(state.changed[:50]),
              untracked=list(state.untracked[:50]), submodules=list(state.submodules), strange=strange, missing=missing)


def disks(target: Target, seen: Observation) -> None:
    """P1.6: bytes and inodes that are free where data, reports and models lie, and what is left when all has grown as the settings let it."""
    host = host_here(target, seen)
    if host is None:
        return
    places = {"data": Path(str(host["data_dir"])), "models": Path(str(host["models_dir"])), "reports": Path(str(host["reports_dir"]))}
    free, inodes = {}, {}
    for name, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        found = target.surroundings.volume(there)
        free[name] = found.f_bavail * found.f_frsize
        inodes[name] = found.f_favail / found.f_files if found.f_files else None  # some filesystems have as many as fit
        seen.note("volume", volume=name, path=str(place), free_bytes=free[name], total_bytes=found.f_blocks * found.f_frsize,
                  free_inodes=found.f_favail, total_inodes=found.f_files)
    more = growth(places["data"], float((host.get("watching") or {}).get("loki_retention") or 0))
    known = [share for share in inodes.values() if share is not None]
    seen.values |= {"data_free": free["data"] / 1e9, "models_free": free["models"] / 1e9, "reports_free": free["reports"] / 1e9,
                    "left_after_growth": (free["data"] - sum(more.values())) / 1e9, "inodes_free": min(known) * 100 if known else None}
    seen.note("growth", **{f"{name}_bytes": size for name, size in more.items()})


def host_here(target: Target, seen: Observation) -> dict[str, Any] | None:
    """The record of a stack of ours on this machine; else None, and why the check does not apply."""
    record = target.parts()
    if record is None:
        seen.not_applicable = OF_ANOTHER_MAKE
        return None
    host = record["host"]
    if not psutil.pid_exists(int(host["pid"])) or not os.path.isdir(str(host.get("data_dir") or "/none")):
        seen.not_applicable = ELSEWHERE
        return None
    return host


FILES = (
    Check("P1.4", "Every model file is whole, is the one of the lock, and generates", 1, "infrastructure", 3, fault.TURNED_BIT, models,
          (fault.CUT_FILE, fault.UNPINNED, fault.UNLICENSED, fault.UNLOADED, fault.SILENT_MODEL, fault.ALTERED_EMBEDDER)),
    Check("P1.5", "The code is that of one commit, and the stack runs it", 1, "infrastructure", 2, fault.CHANGED_FILE, code,
          (fault.NEW_FILE, fault.STRANGE_NAME, fault.MISSING_NAME, fault.MOVED_ON, fault.MOVED_SUBMODULE, fault.NO_COMMIT)),
    Check("P1.6", "Data, reports and models have room, now and when they have grown", 1, "infrastructure", 2, fault.HUGE_BACKUP, disks,
          (fault.NO_ROOM, fault.NO_INODES)),
)
