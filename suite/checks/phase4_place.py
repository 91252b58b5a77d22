"""Phase 4, the part about MODELS_DIR and DATA_DIR: the weights are the catalogue's, and data lies where it can be written, by its owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.checks.check import Observation
from suite.checks.ground import mount, on_this_machine, user_of
from suite.checks.target import Target
from suite.checks.tested import hashed
from suite.checks.trace import MARK, marker
from suite.storage.place import FOLDERS

SERVERS = ("inference-chat", "inference-code")
MOST = 20  # names of one kind in the evidence
GONE = -1  # whose a file is that went while it was looked at


def places(target: Target, seen: Observation) -> None:
    """P4.3, on the machine of the stack and as its user: what is stored where, on what and whose it is, and whether weights are the catalogue's."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say where its models and data are"
        return
    host = record["host"]
    data = on_this_machine(host)
    if data is None:
        seen.not_run = f"the stack's data directory {host.get('data_dir')} is not on this machine, or its user's alone; run this there, as that user"
        return
    user, models = user_of(host), Path(str(host.get("models_dir") or "/none"))
    seen.values["same_user"] = user == os.geteuid()
    _folders(data, user, host, seen)
    _weights(models, seen)
    _served(target, host, seen)
    open_ones = [path.name for path in (models, *_files(models)) if path.stat().st_mode & 0o022]
    seen.values["models_open"] = len(open_ones)
    seen.note("models_dir", path=str(models), writable_by_others=open_ones[:MOST], **_facts(models))


def _folders(data: Path, user: int | None, host: dict[str, Any], seen: Observation) -> None:
    """Each folder of the data directory: there, written to and read back, its owner's alone, and on a filesystem that is for data."""
    missing, dumb, loose, strange, unfit, volatile = [], [], [], [], [], []
    for name in ("", *FOLDERS):
        folder = data / name
        if not folder.is_dir():
            missing.append(name)
            continue
        if not _keeps(folder):
            dumb.append(name)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            loose.append(name)
        strange += [str(path.relative_to(data)) for path in (folder, *(_files(folder) if name else ())) if _owner(path) not in (user, GONE)]
        ground = mount(folder)
        unfit += [] if ground.fit else [f"{name}: {ground.kind} {ground.options}"]
        volatile += [name] if ground.volatile else []
        seen.note("folder", folder=name or str(data), keeps=FOLDERS.get(name, "all of it"), **_facts(folder))
    dev = host.get("stage") == "dev"
    seen.values |= {"folders_missing": len(missing), "not_kept": len(dumb), "folders_open": len(loose), "owned_by_others": len(strange),
                    "unfit_filesystems": len(unfit), "volatile_filesystems": None if dev else len(volatile)}
    outside = str(host.get("database_url") or "")
    seen.values["database_there"] = None if outside else _size(data / "sqlite" / "suite.db") > 0
    seen.note("data_dir", user=user, missing=missing, not_kept=dumb, open=loose, owned_by_others=strange[:MOST], unfit=unfit, volatile=volatile,
              database=outside or "sqlite/suite.db")


def _weights(models: Path, seen: Observation) -> None:
    """Every model of the catalogues whose files are here is read and hashed."""
    from suite.embedding.pull import encoders, verdict  # here, as below: whoever only lists the checks needs neither ONNX nor llama.cpp
    from suite.serving.verify import present, verify

    own = encoders(models)
    verdicts = [verify(entry.name, models) for entry in present(models)] + [verdict(model, models) for model in own.values() if model.here(models)]
    seen.values |= {"models_found": len(verdicts), "models_altered": sum(row.state in ("damaged", "missing") for row in verdicts)}
    for row in verdicts:
        seen.note("model", model=row.name, state=row.state, sha256=row.sha256, bytes=row.bytes, said=row.sentence)


def _served(target: Target, host: dict[str, Any], seen: Observation) -> None:
    """The files that the two servers answer from: what lies on the disk is what they loaded, and what the profile pins where it pins it."""
    altered = []
    for part in SERVERS:
        pinned = ((host.get("expected") or {}).get(part.removeprefix("inference-")) or {}).get("sha256")
        for row in target.json("GET", part, "/v1/models").get("data") or []:
            now = hashed(Path(str(row.get("path") or "/none")))
            if not now or now != row.get("sha256") or (pinned and now != pinned):
                altered.append(part)
            seen.note("served", part=part, path=row.get("path"), on_disk=now, loaded=row.get("sha256"), pinned=pinned or "nobody pinned it")
    seen.values["served_altered"] = len(altered)


def _keeps(folder: Path) -> bool:
    """Whether a few bytes that are written there come back, and go again."""
    probe, text = folder / f".{MARK}-{marker()}", marker().encode()
    try:
        try:
            fd = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            return probe.read_bytes() == text
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        return False


def _facts(folder: Path) -> dict[str, Any]:
    ground, sizes = mount(folder), [_size(path) for path in _files(folder)]
    about = folder.stat() if folder.is_dir() else None
    whose = {"mode": f"{stat.S_IMODE(about.st_mode):04o}", "owner": about.st_uid} if about else {}
    return {"files": len(sizes), "bytes": sum(sizes), **whose, "filesystem": ground.kind, "device": ground.device, "mounted": ground.place}


def _owner(path: Path) -> int:
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return GONE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not name.startswith(f".{MARK}") and path.exists():
                yield path
