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
found = {{}}
def refused(name, attempt):
    try:
        attempt()
        found[name] = False
    except OSError:
        found[name] = True
refused("reading a file outside", lambda: open(canary).read())
refused("writing outside", lambda: open(outside, "w"))
refused("listing /etc", lambda: os.listdir("/etc/ssl"))
refused("a network socket", socket.socket)
refused("a unix socket", lambda: socket.socket(socket.AF_UNIX))
refused("sending signals to the suite", lambda: os.kill({suite}, 0))
open("own", "w").write("own")
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Strength:
    """What confines a program: `name` lists the mechanisms, `weaker` says in a sentence each what is missing, `ok` whether anything is run."""

    name: str
    weaker: tuple[str, ...] = ()
    ok: bool = True


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
        reason = _try(trial, way, canary, suite)
        if not reason:
            return Strength("bubblewrap, Landlock, seccomp"), way
        weaker.append(f"bubblewrap is installed but does not work here ({reason}); where AppArmor forbids it, load its profile for bwrap.")
    elif bubblewrap:
        weaker.append("bubblewrap is not installed; install the package `bubblewrap`.")
    else:
        weaker.append("bubblewrap is switched off.")
    if abi < ALONE_FROM:
        weaker.append(f"Landlock has version {abi} here, and without bubblewrap {ALONE_FROM} is needed; use Linux 6.2 or newer.")
        return Strength("none", tuple(weaker), ok=False), None
    way = Way(abi)
    reason = _try(trial, way, canary, suite)
    if reason:
        return Strength("none", (*weaker, f"Landlock and seccomp do not hold here: {reason}."), ok=False), None
    return Strength("Landlock, seccomp", (*weaker, *_alone(abi))), way


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


def _try(trial: Trial, way: Way, canary: Path, suite: int) -> str:
    """What does not hold this way; empty when everything does."""
    outside = canary.with_suffix(".written")
    try:
        code, out, err = trial(way, _TRIAL.format(canary=str(canary), outside=str(outside), suite=suite))
    except (ToolFailed, OSError) as error:
        return str(error)
    if code != 0:
        return err.strip().rpartition("\n")[2][:300] or f"the trial ended with status {code}"
    got_through = [name for name, refused in json.loads(out).items() if not refused]
    return f"{' and '.join(got_through)} got through" if got_through else ""
