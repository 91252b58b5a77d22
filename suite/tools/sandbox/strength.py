"""How strongly programs are confined on this machine: tried, not assumed."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from suite.errors import ToolFailed
from suite.tools.sandbox import landlock, seccomp
from suite.tools.sandbox.bubblewrap import find_bubblewrap
from suite.tools.sandbox.start import Way

ALONE_FROM = 3  # the ABI of Landlock that is enough without namespaces: older ones let files be truncated

# tried before the first program is: each line of it must fail where the sandbox holds
_TRIAL = """
import json, os, socket
canary, outside = {canary!r}, {outside!r}
found, FORK = {{}}, {fork!r}
def refused(name, attempt):
    try:
        attempt()
        found[name] = False
    except OSError:
        found[name] = True
refused("reading a file outside", lambda: open(canary).read())
refused("writing outside", lambda: open(outside, "w"))
refused("listing /", lambda: os.listdir("/"))  # what Landlock alone forbids inside bubblewrap
refused("a network socket", socket.socket)
refused("a unix socket", lambda: socket.socket(socket.AF_UNIX))
refused("sending signals to the suite", lambda: os.kill({suite}, 0))
open("own", "w").write("own")
reader, writer = os.pipe()
def fork():
    for _ in range(2 * {tasks}):
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)  # until the first process has ended
            os._exit(0)
refused(FORK, fork)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Strength:
    """What confines a program: `name` lists the mechanisms, `weaker` says in a sentence each what is missing, `ok` whether anything is run."""

    name: str
    weaker: tuple[str, ...] = ()
    ok: bool = True


TASKS = 12  # processes and threads that the kernel is to allow in the trial, not counting a few of the sandbox's own
_FORK = "too many processes"
_COUNTED = ("Processes and threads are counted by the supervisor, up to 100 times a second, and not bounded by the kernel: its limit exempts root, "
            "and there is no cgroup to be had; start the suite as another user.")
Trial = Callable[[Way, str], tuple[int, str, str]]  # runs Python source one way: exit status, output, errors


def find_strength(trial: Trial, canary: Path, suite: int, bubblewrap: bool) -> tuple[Strength, Way | None]:
    """The strongest way that really holds here, and None with the reasons when there is none.

    `canary` is an existing file outside of the sandbox's folder, `suite` the process id of the suite.
    """
    try:
        abi = _abi()
    except ToolFailed as error:
        return Strength("none", (str(error),), ok=False), None
    weaker: list[str] = []
    path = find_bubblewrap() if bubblewrap else None
    if path:
        way = Way(abi, path)
        bounded, reason = _try(trial, way, canary, suite)
        if not reason:
            return Strength("bubblewrap, Landlock, seccomp", bounded), way
        weaker.append(f"bubblewrap is installed but does not work here ({reason}); where AppArmor forbids it, load its profile for bwrap.")
    elif bubblewrap:
        weaker.append("bubblewrap is not installed; install the package `bubblewrap`.")
    else:
        weaker.append("bubblewrap is switched off.")
    if abi < ALONE_FROM:
        weaker.append(f"Landlock has version {abi} here, and without bubblewrap {ALONE_FROM} is needed; use Linux 6.2 or newer.")
        return Strength("none", tuple(weaker), ok=False), None
    way = Way(abi)
    bounded, reason = _try(trial, way, canary, suite)
    if reason:
        return Strength("none", (*weaker, f"Landlock and seccomp do not hold here: {reason}."), ok=False), None
    return Strength("Landlock, seccomp", (*weaker, *bounded, *_alone(abi))), way


def _alone(abi: int) -> list[str]:
    """What is missing without namespaces."""
    found = ["Names, sizes and times of files outside can be asked for, though not their content.",
             "When the suite itself is killed, processes that a program has started live on, each until its limit of CPU time.",
             "Modes and times of files cannot be changed, and new sessions and process groups not be made: Landlock does not confine these."]
    silent = "Programs cannot send signals, not even to their own: Landlock is too old to confine them."
    return found if abi >= landlock.SIGNALS_FROM else [*found, silent]


def _abi() -> int:
    """Landlock's version; raises ToolFailed with the reason why nothing can be run here."""
    if sys.platform != "linux":
        raise ToolFailed(f"Programs are run on Linux only, for want of a sandbox on {sys.platform}; use Linux or WSL2.")
    if platform.machine() not in seccomp.MACHINES or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        raise ToolFailed(f"There is no filter of system calls for {platform.machine()} here; use a 64-bit x86_64 or aarch64 Python.")
    try:
        return landlock.abi()
    except OSError as error:
        raise ToolFailed(f"The kernel has no Landlock or it is switched off ({error.strerror}); use Linux 5.13 or newer, booted with `landlock` "
                         "among its `lsm=`.") from None


def _try(trial: Trial, way: Way, canary: Path, suite: int) -> tuple[tuple[str, ...], str]:
    """A sentence where the kernel does not bound the number of processes this way, and what does not hold; empty when everything does."""
    source = _TRIAL.format(canary=str(canary), outside=str(canary.with_suffix(".written")), suite=suite, fork=_FORK, tasks=TASKS)
    try:
        code, out, err = trial(way, source)
    except (ToolFailed, OSError) as error:
        return (), str(error)
    if code != 0:
        return (), err.strip().rpartition("\n")[2][:300] or f"the trial ended with status {code}"
    found = json.loads(out)
    weaker = () if found.pop(_FORK) else (_COUNTED,)
    got_through = [name for name, refused in found.items() if not refused]
    return weaker, f"{' and '.join(got_through)} got through" if got_through else ""
