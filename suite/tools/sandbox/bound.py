"""The kernel's bound on how many processes and threads there are: RLIMIT_NPROC, or for root, whom that exempts, a cgroup."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from suite.errors import ToolFailed
from suite.tools.sandbox.processes import every_process

_BWRAP = 4  # its own processes count, too
_NAME = "suite-sandbox-"
_LAST_WAIT = 1.0  # seconds until the last of killed processes has left its cgroup


@dataclass(frozen=True)
class Bound:
    """`nproc` is RLIMIT_NPROC, 0 for none; `join` a descriptor by which a process puts itself into the cgroup, -1 for none."""

    nproc: int = 0
    join: int = -1


@contextmanager
def bounded(threads: int, namespaces: bool) -> Iterator[Bound]:
    """A bound for one run. In a user namespace only its own processes count, else all of the user; root has a cgroup, or none."""
    if os.geteuid() != 0:
        yield Bound(nproc=threads + (_BWRAP if namespaces else _tasks_of_this_user()))
        return
    if (group := _make_group(threads)) is None:
        yield Bound()
        return
    try:
        # a lone thread that moves itself, which only version 1 knows, need not wait for all other processors
        name = "tasks" if (group / "tasks").exists() else "cgroup.procs"
        join = os.open(group / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield Bound(join=join)
        finally:
            os.close(join)
    finally:
        _remove_group(group)


def _tasks_of_this_user() -> int:
    found, user = 0, os.getuid()
    for one in every_process():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += one.threads if os.stat(f"/proc/{one.pid}").st_uid == user else 0
    return found


def sweep_groups() -> None:
    """Remove the cgroups of suites that were killed."""
    for parent in _parents():
        for group in parent.glob(f"{_NAME}*"):
            if not Path("/proc", group.name.removeprefix(_NAME).partition("-")[0]).exists():
                with suppress(OSError):  # not this user's, or removed just now
                    group.rmdir()


def _parents() -> list[Path]:
    """This process's own cgroups that may have a pids controller: of version 1, and of version 2."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    return [Path("/sys/fs/cgroup", controllers, own.lstrip("/")) for _, controllers, own in lines if controllers in ("", "pids")]


def _make_group(threads: int) -> Path | None:
    """A new cgroup below this process's own that holds so many; None where no pids controller may be used."""
    for parent in _parents():
        group = parent / f"{_NAME}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text(str(threads), encoding="ascii")
            return group
        except OSError:
            group.rmdir()
    return None


def _remove_group(group: Path) -> None:
    until = time.monotonic() + _LAST_WAIT
    while True:
        try:
            group.rmdir()
            return
        except OSError:  # an orphan that was killed is there until the first process of the machine has taken note of it
            if time.monotonic() > until:
                raise ToolFailed(f"The cgroup {group} of a run cannot be removed; look at what its `cgroup.procs` names.") from None
        time.sleep(0.001)
