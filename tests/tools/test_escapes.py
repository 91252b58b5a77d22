"""Nothing gets out of the sandbox: every attempt is made in each kind of sandbox, as root and as an unprivileged user, and without one for comparison."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sandbox_attempts import ATTEMPTS
from sandbox_driver import FEW, GREEDY

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests" / "sandbox_driver.py"
USERS = ("root", "unprivileged")
NOBODY = 65534
KINDS = {"inside": "bubblewrap, Landlock, seccomp", "alone": "Landlock, seccomp"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are run on Linux only")


def _as_nobody() -> dict[str, Any]:
    """How to start a process as a user without rights."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/", "env": {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}}


@cache
def _interpreter(user: str) -> str:
    """A Python that the user can run the suite with; empty when there is none."""
    if user == "root" or os.getuid() != 0:
        return sys.executable
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        code = f"import sys; assert sys.version_info >= (3, 11); import suite.tools.sandbox; open({str(DRIVER)!r})"
        try:
            if subprocess.run([path, "-c", code], capture_output=True, check=False, **_as_nobody()).returncode == 0:
                return path
        except OSError:
            continue
    return ""


@cache
def _outcomes() -> dict[str, dict[str, Any] | str]:
    """What `_outcome` gives for each user; both at a time, because much of it waits."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(USERS, pool.map(_outcome, USERS), strict=True))


def _outcome(user: str) -> dict[str, Any] | str:
    """All that the driver found as a user, or why it could not be run."""
    if user == "root" and os.getuid() != 0:
        return "these tests do not run as root"
    if not (python := _interpreter(user)):
        return "no Python of version 3.11 or newer and this checkout can be read by an unprivileged user"
    folder = Path(tempfile.mkdtemp(prefix="suite-escapes-"))
    how: dict[str, Any] = {"env": {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}}
    if user == "unprivileged" and os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        how = _as_nobody()
    how["env"]["SUITE_STAND_IN"] = secrets.token_hex(16)
    try:
        ran = subprocess.run([python, "-W", "error", str(DRIVER), str(folder)], capture_output=True, text=True, timeout=250, check=False, **how)
    finally:
        shutil.rmtree(folder)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(params=USERS)
def outcome(request: pytest.FixtureRequest) -> dict[str, Any]:
    found = _outcomes()[request.param]
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, outcome: dict[str, Any]) -> str:
    found = outcome[request.param]
    if found["strength"] != KINDS[request.param]:
        said = " ".join(found["weaker"])
        assert "got through" not in said and "did not get ready" not in said, said  # that is not a machine without it, but a broken sandbox
        pytest.skip(f"not to be had here: {said}")
    return request.param


def test_there_are_many_attempts() -> None:
    assert len(ATTEMPTS) >= 60
    assert len(GREEDY) >= 20


def test_the_kernel_bounds_the_number_of_processes(outcome: dict[str, Any], kind: str) -> None:
    if outcome["user"] == 0 and not os.access("/sys/fs/cgroup/pids/cgroup.procs", os.W_OK):
        pytest.skip("root is exempt from the kernel's limit, and there is no cgroup of version 1 here")
    assert not any("not bounded by the kernel" in sentence for sentence in outcome[kind]["weaker"])


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_fails_in_the_sandbox_and_works_without(outcome: dict[str, Any], kind: str, name: str) -> None:
    works = ATTEMPTS[name][1]
    if works == "all" or (works == "root" and outcome["user"] == 0):
        assert outcome["without"]["attempts"][name] == "worked"
    assert outcome[kind]["attempts"][name] not in ("worked", "")


def test_the_attempts_change_nothing_outside(outcome: dict[str, Any], kind: str) -> None:
    assert outcome[kind]["changed"] == []
    assert outcome[kind]["intact"]


@pytest.mark.parametrize("name", GREEDY)
def test_a_program_that_takes_too_much_is_ended_and_leaves_nothing(outcome: dict[str, Any], kind: str, name: str) -> None:
    found = outcome[kind]["greedy"][name]
    assert found["ended"] in GREEDY[name][2], found
    assert (found["processes"], found["files"]) == (0, 0), found
    assert found["kept"] <= 2 * FEW.output + 400
    if found["ended"]:
        # by the kernel, at the moment when the supervisor looked: it has ended by itself, as a program without room for threads does
        refused = name == "threads" and found["returncode"] == 1 and "can't start new thread" in found["stderr"]
        assert found["returncode"] > 128 or found["ended"] == "disk" or refused, found
    elif name == "threads":  # refused by the kernel before the supervisor has looked
        assert found["stdout"] == "" and "can't start new thread" in found["stderr"], found
    else:
        assert found["stdout"].strip() in ("refused", "made", "left"), found
