"""Starting a sandboxed child: the plan it follows, and the process."""

from __future__ import annotations

import json
import marshal
import os
import platform
import struct
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from suite.errors import ToolFailed
from suite.tools.sandbox import bubblewrap, landlock, seccomp
from suite.tools.sandbox.bound import Bound
from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.places import Places
from suite.tools.sandbox.processes import Group, Namespace, Tree, readable

_LAUNCH = "import marshal, sys; stream = open(int(sys.argv[1]), 'rb'); exec(marshal.load(stream))"  # two objects: what runs first, and its plan
_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # the header of capset(): version 3, this process
_BWRAP_WAIT = 10.0  # seconds for bwrap to make its namespaces


@dataclass(frozen=True)
class Way:
    """How programs are confined here: Landlock's version, and bwrap's path, empty where it is not used."""

    abi: int
    bwrap: str = ""

    @cached_property
    def filter(self) -> bytes:
        """The filter of system calls that suits the rest."""
        inside = bool(self.bwrap)
        return seccomp.program(platform.machine(), signals=inside or self.abi >= landlock.SIGNALS_FROM, groups=inside, owners=inside)


@dataclass(frozen=True)
class Program:
    """What is run: Python source, or the source of another language by the command `argv`."""

    source: str = ""
    argv: tuple[str, ...] = ()


@dataclass
class Started:
    """A child on its way: its process, its tree, and the pipe on which it says that it has given up its rights."""

    process: subprocess.Popen[bytes]
    tree: Tree
    ready: int


def start(program: Program, way: Way, places: Places, limits: Limits, bound: Bound, folder: Path) -> Started:
    """The started child; nothing of the program runs before the child has given up its rights.

    Raises ToolFailed when bwrap does not start.
    """
    rules = landlock.ruleset(way.abi, places.readable, places.devices, folder)
    plan = os.memfd_create("plan", os.MFD_CLOEXEC)
    ready, say = os.pipe()
    info, told = os.pipe() if way.bwrap else (-1, -1)
    process = None
    try:
        with open(plan, "wb", closefd=False) as stream:
            stream.write(_first_code())
            marshal.dump(_plan(program, way, places, limits, bound) | {"ruleset": rules, "ready": say}, stream)
        os.lseek(plan, 0, os.SEEK_SET)
        before = bubblewrap.arguments(way.bwrap, places, folder, told) if way.bwrap else []
        process = subprocess.Popen([*before, str(places.interpreter), "-I", "-S", "-c", _LAUNCH, str(plan)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=places.environment(folder),
                                   pass_fds=[fd for fd in (rules, plan, say, told, bound.join) if fd >= 0], start_new_session=True)
        if not way.bwrap:
            return Started(process, Group(process), ready)
        os.close(told)  # the end of what bwrap says is seen only when nobody else can write
        told = -1
        return Started(process, Namespace(process, _first(process, info)), ready)
    except BaseException:
        os.close(ready)
        if process is not None:
            process.kill()
            process.communicate()
        raise
    finally:
        for fd in (rules, plan, say, info, told):
            if fd >= 0:
                os.close(fd)


def _plan(program: Program, way: Way, places: Places, limits: Limits, bound: Bound) -> dict[str, Any]:
    """What the child is to do, as marshal can carry it; launch.py says what each is for."""
    rlimits = limits.rlimits() + ([("RLIMIT_NPROC", bound.nproc)] if bound.nproc else [])
    return {"filter": way.filter, "calls": seccomp.numbers(platform.machine()), "join": bound.join, "rlimits": rlimits, "cores": limits.cores,
            "parent": 0 if way.bwrap else os.getpid(), "capability_header": _CAPABILITIES, "source": program.source, "argv": list(program.argv),
            "executable": str(places.executable)}


@cache
def _first_code() -> bytes:
    """launch.py as code of this Python, which the child's is, too; compiling it there would take longer than all else it does."""
    path = Path(__file__).with_name("launch.py")
    return marshal.dumps(compile(path.read_text(encoding="utf-8"), str(path), "exec", optimize=2))


def _first(process: subprocess.Popen[bytes], info: int) -> int:
    """The process id of the namespace's first process, as bwrap tells it."""
    text = b""  # one JSON object, written piece by piece
    while b"}" not in text and readable(info, _BWRAP_WAIT) and (piece := os.read(info, 4096)):
        text += piece
    if b"}" in text:
        return int(json.loads(text)["child-pid"])
    process.kill()
    reason = process.communicate()[1]
    raise ToolFailed(f"bubblewrap did not start ({reason.decode('utf-8', 'replace').strip()[:300] or 'no reason given'}); run `bwrap --unshare-all "
                     "--ro-bind / / true` to see why.")
