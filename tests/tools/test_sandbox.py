"""Programs run in the sandbox as they would elsewhere, within limits, or they do not run at all."""

from __future__ import annotations

import errno
import os
import platform
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from suite.errors import BadRequest, Denied, NotReady, TimedOut, ToolFailed, TooMany
from suite.tools.builtin.run import sandbox_tools
from suite.tools.sandbox import Limits, Ran, Sandbox, Sessions, landlock, limits, places, processes, seccomp, start, strength, supervise, syscalls
from suite.tools.sandbox import sandbox as sandbox_module
from suite.tools.sandbox.bound import Bound
from suite.tools.schema import check_arguments
from suite.tools.tool import Place, Tool, Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are run on Linux only")
ROOT = Path(__file__).resolve().parents[2]
INSIDE, ALONE = "bubblewrap, Landlock, seccomp", "Landlock, seccomp"


@pytest.fixture(params=["inside", "alone"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    """Both kinds of sandbox, where they are to be had."""
    made = Sandbox(tmp_path / "box", bubblewrap=request.param == "inside")
    found = made.strength()
    if found.name != (INSIDE if request.param == "inside" else ALONE):
        skip(made)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Sandbox:
    made = Sandbox(tmp_path / "box", bubblewrap=False)
    if not made.strength().ok:
        skip(made)
    return made


def skip(sandbox: Sandbox) -> None:
    """For a machine that has no such sandbox; where one is broken, the test fails."""
    said = " ".join(sandbox.strength().weaker)
    assert "got through" not in said and "did not get ready" not in said, said
    pytest.skip(f"not to be had here: {said}")


def python(sandbox: Sandbox, source: str, **more: Any) -> Ran:
    return sandbox.run("python", source, **more)


def printed(ran: Ran) -> str:
    assert (ran.stderr, ran.returncode, ran.ended) == ("", 0, ""), ran
    return ran.stdout


@pytest.fixture
def typed() -> Iterator[None]:
    """Something lies in the standard input of the suite."""
    reader, writer = os.pipe()
    os.write(writer, b"typed")
    kept = os.dup(0)
    os.dup2(reader, 0)
    for fd in (reader, writer):
        os.close(fd)
    yield
    os.dup2(kept, 0)
    os.close(kept)


# ---- what works ----

def test_python_prints_and_the_result_says_what_confined_it(sandbox: Sandbox) -> None:
    ran = python(sandbox, "print('안녕')")
    assert (ran.stdout, ran.stderr, ran.returncode, ran.ended, ran.sandbox) == ("안녕\n", "", 0, "", sandbox.strength().name)
    assert 0 < ran.seconds < 60
    assert list(sandbox.folder.iterdir()) == []


def test_an_exit_status_is_a_result(sandbox: Sandbox) -> None:
    assert python(sandbox, "import sys; sys.exit(3)").returncode == 3
    assert python(sandbox, "exit()").returncode == 0
    assert sandbox.run("bash", "echo out; echo err >&2; exit 7") .returncode == 7
    assert sandbox.run("bash", "kill -9 $$").returncode == 137


def test_a_traceback_shows_the_program_and_nothing_of_the_sandbox(sandbox: Sandbox) -> None:
    ran = python(sandbox, "def divide(x):\n    return 1 / x\n\ndivide(0)\n")
    assert ran.returncode == 1
    lines = ran.stderr.splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", '  File "<code>", line 4, in <module>']
    assert "    return 1 / x" in lines and lines[-1] == "ZeroDivisionError: division by zero"
    assert "SyntaxError" in python(sandbox, "def").stderr


def test_the_environment_is_five_variables_and_the_folder_is_home(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_SECRET", "s3cret")
    source = "import os, stat; print(sorted(os.environ)); print(len({os.getcwd(), os.environ['HOME'], os.environ['TMPDIR']})); print(oct(os.stat('.').st_mode))"
    assert printed(python(sandbox, source)).splitlines() == ["['HOME', 'LANG', 'PATH', 'PWD', 'TMPDIR']", "1", "0o40700"]
    assert "s3cret" not in sandbox.run("bash", "env").stdout
    assert printed(sandbox.run("bash", "echo > made; stat -c %a made")) == "600\n"


def test_standard_input_is_empty_and_nothing_else_is_open(sandbox: Sandbox, typed: None) -> None:
    source = "import os, sys\nprint(repr(sys.stdin.read()))\nfor fd in range(3, 64):\n    try:\n        os.fstat(fd)\n        print(fd)\n    except OSError:\n        pass"
    assert printed(python(sandbox, source)) == "''\n"


def test_packages_of_this_interpreter_can_be_imported(sandbox: Sandbox) -> None:
    assert printed(python(sandbox, "import psutil, json, sqlite3, ssl, sys; print(sys.prefix)")) == f"{sys.prefix}\n"


def test_threads_and_asyncio_and_pipes_work(sandbox: Sandbox) -> None:
    assert printed(python(sandbox, "import threading\nx = []\nt = [threading.Thread(target=x.append, args=(i,)) for i in range(8)]\n"
                                   "[one.start() for one in t]; [one.join() for one in t]\nprint(sorted(x))")) == "[0, 1, 2, 3, 4, 5, 6, 7]\n"
    assert printed(python(sandbox, "import asyncio\nasync def f():\n    return await asyncio.to_thread(sum, [1, 2])\nprint(asyncio.run(f()))")) == "3\n"
    assert printed(python(sandbox, "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, "
                                   "text=True, check=True).stdout)")) == "42\n\n"
    assert printed(python(sandbox, "import os\nprint(os.popen('echo a | tr a b').read())")) == "b\n\n"


def test_a_file_of_the_program_can_be_written_and_read(sandbox: Sandbox) -> None:
    assert printed(python(sandbox, "import pathlib, sqlite3\npathlib.Path('d/e').mkdir(parents=True)\npathlib.Path('d/e/f').write_text('x')\n"
                                   "d = sqlite3.connect('a.db')\nd.execute('create table t (x)')\nd.execute('insert into t values (1)')\nd.commit()\n"
                                   "print(d.execute('select * from t').fetchall(), *sorted(p.name for p in pathlib.Path().rglob('*')))")) == "[(1,)] a.db d e f\n"


def test_bash_has_pipelines_here_documents_and_coreutils(sandbox: Sandbox) -> None:
    assert printed(sandbox.run("bash", "cat <<X | tr a-z A-Z | sort -r\nb\na\nX")) == "B\nA\n"
    assert printed(sandbox.run("bash", "yes | head -2; seq 3 | wc -l; echo $(( 2 ** 10 ))")) == "y\ny\n3\n1024\n"
    assert printed(sandbox.run("bash", "mkdir d; echo hi > d/f; cp d/f g; mv g h; grep -c hi h; find . -type f | sort; rm -r d; ls")) == "1\n./d/f\n./h\nh\n"
    assert printed(sandbox.run("bash", f"cat <<X | wc -c\n{'long ' * 20_000}\nX")) == "100001\n"
    assert printed(sandbox.run("bash", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do /bin/true; done; sleep 0.01 & wait; echo done")) == "done\n"


def test_what_no_program_can_be_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(BadRequest, match="NUL"):
        python(sandbox, "print('\0')")
    with pytest.raises(BadRequest, match="surrogate"):
        python(sandbox, "print('\ud800')")
    with pytest.raises(BadRequest, match="120000"):
        sandbox.run("bash", "echo " + "x" * 120_000)


def test_a_long_program_is_passed_on_whole(sandbox: Sandbox) -> None:
    assert printed(python(sandbox, f"x = '''{'y' * 190_000}'''\nprint(len(x))")) == "190000\n"


def test_programs_run_beside_each_other(sandbox: Sandbox) -> None:
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: python(sandbox, f"open('own', 'x').close(); print({i})").stdout})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: f"{i}\n" for i in range(4)}


def test_no_descriptor_and_no_child_is_left(sandbox: Sandbox) -> None:
    python(sandbox, "print(1)")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        python(sandbox, "print(1)")
    python(sandbox, "while True: pass", timeout=0.2)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# ---- limits ----

def test_output_is_cut_and_says_so(sandbox: Sandbox) -> None:
    ran = python(sandbox, "import sys; sys.stdout.write('x' * 1_500_000); sys.stderr.write('y')")
    assert (ran.ended, ran.returncode, ran.stdout_cut, ran.stderr_cut, ran.stderr) == ("", 0, True, False, "y")
    assert ran.stdout == "x" * (1 << 20) + "\n[cut: only the first 1048576 of 1500000 bytes or more are shown]\n"


def test_a_flood_is_ended(sandbox: Sandbox) -> None:
    ran = sandbox.run("bash", "yes")
    assert (ran.ended, ran.returncode, ran.stdout_cut) == ("output", 137, True)
    assert len(ran.stdout) < (1 << 20) + 200
    both = python(sandbox, "import os, signal\nfor fd in (1, 2):\n    for _ in range(80):\n        os.write(fd, b'x' * 65_536)\nsignal.pause()", timeout=20)
    assert (both.ended, both.stdout_cut, both.stderr_cut) == ("output", True, True)  # 5 MiB in each


def test_a_program_that_takes_too_long_is_ended_and_keeps_what_it_printed(sandbox: Sandbox) -> None:
    ran = sandbox.run("bash", "echo begun; sleep 10", timeout=1.5)
    assert (ran.ended, ran.returncode, ran.stdout) == ("timeout", 137, "begun\n")


def test_a_run_is_ended_when_nobody_waits_any_longer(sandbox: Sandbox) -> None:
    asked: list[int] = []
    ran = python(sandbox, "while True: pass", halted=lambda: asked.append(1) or len(asked) > 5)
    assert (ran.ended, ran.returncode) == ("halted", 137)


def test_a_fault_of_the_caller_ends_the_run_too(sandbox: Sandbox) -> None:
    def fail() -> bool:
        raise KeyError("caller")

    with pytest.raises(KeyError):
        python(sandbox, "while True: pass", halted=fail)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert list(sandbox.folder.iterdir()) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has a second way to make system calls")
def test_a_call_of_another_architecture_ends_the_program(sandbox: Sandbox) -> None:
    assert python(sandbox, "import ctypes; ctypes.CDLL(None).syscall(0x40000027)").ended == "syscall"


def test_limits_are_those_that_were_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    source = ("import os, resource as r\nfor n in ('CPU', 'FSIZE', 'NOFILE', 'CORE', 'AS', 'DATA', 'MEMLOCK', 'MSGQUEUE'):\n"
              "    print(n, *r.getrlimit(getattr(r, 'RLIMIT_' + n)))\nprint(len(os.sched_getaffinity(0)))")
    sizes = {"CPU": 31, "FSIZE": 10 << 20, "NOFILE": 64, "CORE": 0, "AS": 4 << 30, "DATA": 1 << 30, "MEMLOCK": 0, "MSGQUEUE": 0}
    cores = min(4, len(os.sched_getaffinity(0)))
    assert printed(python(sandbox, source)).splitlines() == [*(f"{name} {size} {size}" for name, size in sizes.items()), str(cores)]
    small = Sandbox(tmp_path / "small", Limits(descriptors=32, cores=1), bubblewrap=sandbox.strength().name == INSIDE)
    found = printed(python(small, source)).splitlines()
    assert "NOFILE 32 32" in found and found[-1] == "1"


def test_a_run_may_use_what_the_readme_says() -> None:
    """512 MB, 30 s of processor time, 10 processes, 1 MiB of output; and what it does not say."""
    assert Limits() == Limits(memory=512 << 20, cpu=30.0, output=1 << 20, flood=8 << 20, file=10 << 20, folder=100 << 20, entries=10_000, processes=10,
                              threads=64, descriptors=64, cores=4)


def test_ten_processes_may_be_and_not_one_more(sandbox: Sandbox) -> None:
    source = "import os, signal\nfor _ in range({}):\n    if os.fork() == 0:\n        signal.pause()\nsignal.pause()"
    assert python(sandbox, source.format(9), timeout=1).ended == "timeout"
    assert python(sandbox, source.format(10)).ended == "processes"
    chain = "import os, signal\nfor _ in range(10):\n    if os.fork():\n        signal.pause()\nsignal.pause()"  # each the child of the one before
    assert python(sandbox, chain, timeout=20).ended == "processes"


def test_threads_are_counted_where_the_kernel_does_not_bound_them(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "bounded", lambda *_: nullcontext(Bound()))
    source = ("import threading\nthreading.stack_size(1 << 16)\nstop = threading.Event()\nfor _ in range({}):\n"
              "    threading.Thread(target=stop.wait, daemon=True).start()\nprint('made', flush=True)\nstop.wait({})")
    assert printed(python(sandbox, source.format(63, 0.2))) == "made\n"
    assert python(sandbox, source.format(64, 20)).ended == "processes"


def test_processor_time_is_that_of_all_processes(alone: Sandbox, tmp_path: Path) -> None:
    small = Sandbox(tmp_path / "small", Limits(cpu=0.4), bubblewrap=False)
    source = ("import os, signal, time\nfor _ in range(3):\n    if os.fork() == 0:\n        while time.process_time() < 0.2:\n            pass\n        {}\n"
              "    {}\nsignal.pause()")
    assert python(small, source.format("signal.pause()", "pass"), timeout=20).ended == "cpu"
    assert python(small, source.format("os._exit(0)", "os.wait()"), timeout=20).ended == "cpu"  # one after the other, each over when the next begins
    system = "import os, signal\nzeros = os.open('/dev/zero', os.O_RDONLY)\nwhile os.times().system < 0.6:\n    os.read(zeros, 1 << 20)\nsignal.pause()"
    assert python(small, system, timeout=20).ended == "cpu"


def test_the_kernel_bounds_processes_and_threads_where_the_strength_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    if any("not bounded by the kernel" in sentence for sentence in sandbox.strength().weaker):
        pytest.skip("the kernel has no bound here that holds for this user")
    source = ("import os, time\ncount = 0\ntry:\n    while count < 500:\n        if os.fork() == 0:\n            time.sleep(100)\n        count += 1\n"
              "except OSError:\n    pass\nprint(count, flush=True)")
    monkeypatch.setattr(supervise.Watched, "_over", lambda *_: "")  # the supervisor looks away
    assert 30 < int(printed(python(sandbox, source))) <= 70


# ---- the end of the suite ----

def test_a_program_dies_with_the_suite(sandbox: Sandbox) -> None:
    inside = sandbox.strength().name == INSIDE
    code = (f"from pathlib import Path\nfrom suite.tools.sandbox import Sandbox\n"
            f"Sandbox(Path({str(sandbox.folder)!r}), bubblewrap={inside}).run('python', 'import signal; print(1); signal.pause()')")
    with subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}) as suite:
        try:
            program = _find(lambda: _sleepers(suite.pid, sandbox.folder))
            watched = os.pidfd_open(program)
        finally:
            suite.kill()
    try:
        assert select.select([watched], [], [], 30)[0], "the program outlived the suite"
    finally:
        os.close(watched)
    assert sandbox.sweep() == 1
    assert not list(Path("/sys/fs/cgroup").rglob(f"suite-sandbox-{suite.pid}-*"))


def _sleepers(suite: int, folder: Path) -> list[int]:
    """Descendants of a process that wait for a signal in a folder of the sandbox."""
    found = []
    for one in processes.every_process():
        try:
            where = os.readlink(f"/proc/{one.pid}/cwd")
            call = Path(f"/proc/{one.pid}/syscall").read_text().split()[0]
        except OSError:
            continue
        if one.pid != suite and where.startswith(str(folder / "run-")) and call in {str(n) for n in syscalls.ALLOWED["pause"]} | {"73"}:
            found.append(one.pid)
    return found


def _find(look: Callable[[], list[int]]) -> int:
    """The first of what is looked for, as soon as there is one."""
    until = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < until
        select.select([], [], [], 0.01)
    return found[0]


# ---- strength: nothing is run where a protection does not hold ----

def open_ruleset(*_: Any) -> int:
    """Rules that allow everything below /."""
    handled = struct.pack("=Q", 1 << 2)
    rules = landlock._call(landlock.CREATE, handled, 8, 0)
    landlock._allow(rules, Path("/"), 1 << 2)
    return rules


def open_filter(*_: Any, **__: Any) -> bytes:
    """A filter that allows everything."""
    return struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)


def refusal(sandbox: Sandbox) -> str:
    with pytest.raises(NotReady) as caught:
        python(sandbox, "open('ran', 'w')")
    assert sandbox.strength().ok is False and sandbox.strength().name == "none"
    assert caught.value.facts["part"] == "sandbox"
    assert list(sandbox.folder.iterdir()) == []
    return str(caught.value)


def test_without_landlock_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(landlock, "abi", missing)
    assert "no Landlock or it is switched off (Operation not supported); use Linux 5.13" in refusal(Sandbox(tmp_path / "box"))


def test_an_old_landlock_is_not_enough_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 2)
    assert "Landlock has version 2 here, and without bubblewrap 3 is needed" in refusal(Sandbox(tmp_path / "box", bubblewrap=False))


def test_rules_that_do_not_hold_are_found_by_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "ruleset", open_ruleset)
    assert "do not hold here: reading a file outside and writing outside and listing /" in refusal(Sandbox(tmp_path / "box", bubblewrap=False))


def test_a_filter_that_does_not_hold_is_found_by_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "program", open_filter)
    assert "do not hold here: a network socket and a unix socket got through" in refusal(Sandbox(tmp_path / "box", bubblewrap=False))


def test_a_child_that_cannot_be_confined_runs_nothing(alone: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    real = seccomp.numbers
    for name in ("landlock_restrict_self", "seccomp", "capset", "prctl"):
        monkeypatch.setattr(seccomp, "numbers", lambda machine, name=name: real(machine) | {name: 9999})
        with pytest.raises(ToolFailed, match=rf"did not get ready, so nothing was run \(OSError: .*{name}"):
            python(alone, "print('ran')")


@pytest.mark.parametrize("script, reason", [
    ("echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "bwrap: setting up uid map: Permission denied"), ("exit 0", "no reason given")])
def test_where_bubblewrap_is_forbidden_the_weaker_kind_says_so(alone: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str,
                                                              reason: str) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    monkeypatch.setattr(strength, "find_bubblewrap", lambda: str(bwrap))
    sandbox = Sandbox(tmp_path / "other")
    assert sandbox.strength().name == ALONE
    assert reason in sandbox.strength().weaker[0] and "AppArmor" in sandbox.strength().weaker[0]
    assert python(sandbox, "print(1)").sandbox == ALONE


def test_without_bubblewrap_the_weaker_kind_says_so(alone: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strength, "find_bubblewrap", lambda: None)
    found = Sandbox(tmp_path / "other").strength()
    assert found.name == ALONE and found.weaker[0] == "bubblewrap is not installed; install the package `bubblewrap`."
    assert all(sentence.endswith(".") for sentence in found.weaker)


def test_a_bubblewrap_that_confines_nothing_is_found_out(alone: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "ruleset", open_ruleset)
    monkeypatch.setattr(seccomp, "program", open_filter)
    found = Sandbox(tmp_path / "other").strength()
    assert not found.ok


def test_an_older_landlock_forbids_signals_in_the_filter(tmp_path: Path) -> None:
    old, new = start.Way(4).filter, start.Way(6).filter
    kill = syscalls.SIGNALS["kill"][seccomp.MACHINES[platform.machine()][0]]
    assert verdict(old, kill) == ("refused", errno.EPERM) and verdict(new, kill) == ("allowed", 0)
    assert "cannot send signals" in strength._alone(4)[-1] and "cannot send signals" not in strength._alone(6)[-1]


def test_only_parts_of_a_prefix_are_shown() -> None:
    shown = places.find_places().readable
    assert Path(sys.prefix) not in shown and Path.home() not in shown and Path("/") not in shown and Path("/etc") not in shown


def test_leftovers_of_an_earlier_suite_are_swept(tmp_path: Path) -> None:
    (tmp_path / "box" / "run-old" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "keep").write_text("x")
    (tmp_path / "box" / "run-old" / "link").symlink_to(tmp_path)
    sandbox = Sandbox(tmp_path / "box")
    assert sandbox.sweep() == 1 and sandbox.sweep() == 0
    assert (tmp_path / "keep").exists() and list(sandbox.folder.iterdir()) == []
    assert Sandbox(tmp_path / "none").sweep() == 0


# ---- the filter, run instruction by instruction, on both machines ----

def verdict(program: bytes, number: int | None, *arguments: int, machine: str = platform.machine()) -> tuple[str, int]:
    """What a filter answers to a call: allowed, refused with an errno, killed."""
    assert number is not None
    data = struct.pack("=iIQ6Q", number, seccomp.MACHINES[machine][1], 0, *arguments, *[0] * (6 - len(arguments)))
    steps, at, held = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)], 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            held &= value
        elif code == 0x06:
            kinds = {0x7FFF0000: "allowed", 0x00050000: "refused", 0x80000000: "killed"}
            return kinds[value & 0xFFFF0000], value & 0xFFFF
        else:
            at += yes if {0x15: held == value, 0x25: held > value, 0x35: held >= value, 0x45: held & value != 0}[code] else no


MACHINES = sorted(seccomp.MACHINES)


def numbered(name: str, machine: str) -> int | None:
    tables = (syscalls.ALLOWED, syscalls.SIGNALS, syscalls.GROUPS, syscalls.OWNERS, syscalls.BOUNDED, syscalls.ABSENT, syscalls.ATTRIBUTES, syscalls.GIVING_UP)
    return next(table[name] for table in tables if name in table)[seccomp.MACHINES[machine][0]]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name, arguments, expected", [
    ("read", (), "allowed"), ("openat", (), "allowed"), ("execve", (), "allowed"), ("futex", (), "allowed"),
    ("clone", (0x3D0F00,), "allowed"), ("clone", (17,), "allowed"), ("clone", (0x10000011,), "refused"), ("clone", (0x20000011,), "refused"),
    ("clone", (0x40000011,), "refused"), ("clone", (0x20011,), "refused"), ("clone", (0x8011,), "refused"), ("clone3", (), "refused"),
    ("prctl", (15,), "allowed"), ("prctl", (22,), "refused"), ("prctl", (4,), "refused"), ("seccomp", (), "refused"), ("capset", (), "refused"),
    ("landlock_restrict_self", (), "refused"), ("prlimit64", (0,), "allowed"), ("prlimit64", (1,), "refused"),
    ("ioctl", (0, 0x5401), "allowed"), ("ioctl", (0, 0x5412), "refused"), ("fcntl", (0, 3), "allowed"), ("fcntl", (0, 8), "refused"), ("fcntl", (0, 10), "refused"),
    ("socketpair", (1, 1), "allowed"), ("socketpair", (1, 0o2000001), "allowed"), ("socketpair", (1, 2), "refused"), ("socketpair", (2, 1), "refused"),
    ("sendto", (0, 0, 0, 0, 0), "allowed"), ("sendto", (0, 0, 0, 0, 1), "refused"), ("sendto", (0, 0, 0, 0, 1 << 32), "refused"),
    ("setxattr", (), "refused"), ("setsid", (), "refused"), ("fchmodat", (), "refused"), ("utimensat", (), "refused")])
def test_the_filter_answers_as_it_should_on_each_machine(machine: str, name: str, arguments: tuple[int, ...], expected: str) -> None:
    program = seccomp.program(machine, signals=True, groups=False, owners=False)
    assert verdict(program, numbered(name, machine), *arguments, machine=machine)[0] == expected
    with_all = seccomp.program(machine, signals=True, groups=True, owners=True)
    for opened in ("setsid", "setpgid", "fchmod", "fchownat", "utimensat", "kill"):
        assert verdict(with_all, numbered(opened, machine), machine=machine)[0] == "allowed"


@pytest.mark.parametrize("machine", MACHINES)
def test_all_that_is_not_listed_is_refused_on_each_machine(machine: str) -> None:
    program = seccomp.program(machine, signals=False, groups=False, owners=False)
    column = seccomp.MACHINES[machine][0]
    known = {pair[column] for table in (syscalls.ALLOWED, syscalls.BOUNDED) for pair in table.values()}
    assert {verdict(program, number, machine=machine)[0] for number in range(600) if number not in known} == {"refused"}
    assert verdict(program, 500, machine=machine) == ("refused", errno.ENOSYS)
    other = next(name for name in MACHINES if name != machine)
    foreign = struct.pack("=iIQ6Q", 0, seccomp.MACHINES[other][1], 0, *[0] * 6)
    assert struct.unpack_from("=I", foreign, 4)[0] != seccomp.MACHINES[machine][1]
    assert verdict(program, 0, machine=other)[0] == "killed"
    if machine == "x86_64":
        assert verdict(program, 0x40000000, machine=machine)[0] == "killed"


@pytest.mark.skipif(not Path("/usr/include/asm-generic/unistd.h").exists(), reason="the kernel's headers are not installed")
def test_the_numbers_are_those_of_the_kernel_s_headers() -> None:
    tables = {**syscalls.ALLOWED, **syscalls.SIGNALS, **syscalls.GROUPS, **syscalls.OWNERS, **syscalls.BOUNDED, **syscalls.ABSENT, **syscalls.ATTRIBUTES,
              **syscalls.GIVING_UP}
    generic = dict(line.split()[1:3] for line in Path("/usr/include/asm-generic/unistd.h").read_text().splitlines() if line.startswith("#define __NR"))
    checked = 0
    for name, (_, number) in tables.items():
        for said in (generic.get(f"__NR_{name}"), generic.get(f"__NR3264_{name}")):
            if said is not None and said.isdigit():
                assert int(said) == number, name
                checked += 1
    assert checked > 100
    assert len({number for _, number in tables.values() if number is not None}) == sum(number is not None for _, number in tables.values())
    assert len({number for number, _ in tables.values() if number is not None}) == sum(number is not None for number, _ in tables.values())


def test_the_kernel_s_limits_of_one_process_are_looser() -> None:
    found = dict(limits.Limits().rlimits())
    assert found["RLIMIT_DATA"] > limits.Limits().memory and found["RLIMIT_AS"] > found["RLIMIT_DATA"]


def test_a_look_at_the_processes_takes_a_tenth_of_the_time_at_most(alone: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    real = processes.Group.members

    def slow(self: processes.Group) -> list[processes.Process]:
        looks.append(time.monotonic())
        select.select([], [], [], 0.05)
        return real(self)

    monkeypatch.setattr(processes.Group, "members", slow)
    python(alone, "while True: pass", timeout=0.4)
    assert len(looks) <= 2
    assert supervise.TICK <= 0.02


# ---- sessions ----

class Clock:
    """A clock that goes when it is told to."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(alone: Sandbox, clock: Clock) -> Iterator[Sessions]:
    made = Sessions(alone, clock=clock)
    yield made
    made.close()
    assert list(alone.folder.iterdir()) == []


def test_a_session_keeps_its_folder_and_another_one_has_its_own(sessions: Sessions, clock: Clock) -> None:
    printed(sessions.run("one", "python", "import os\nopen('kept.py', 'w').write('x = 41')\nopen('at', 'w').write(os.getcwd())"))
    clock.now += 5
    assert printed(sessions.run("one", "python", "import kept; print(kept.x + 1)")) == "42\n"
    assert printed(sessions.run("one", "bash", "cat kept.py")) == "x = 41"
    where = printed(sessions.run("one", "bash", "cat at"))
    assert sessions.run("two", "bash", f"cat '{where}/kept.py'").returncode == 1
    assert printed(sessions.run("two", "bash", "ls")) == ""
    one, two = sessions.list()
    assert (one.session_id, one.created_at, one.last_activity, one.execution_count, one.security_violations, one.is_active) == (
        "one", 1_000_000.0, 1_000_005.0, 4, 0, True)
    assert two.to_dict() == {"session_id": "two", "created_at": "1970-01-12T13:46:45+00:00", "last_activity": "1970-01-12T13:46:45+00:00",
                             "execution_count": 2, "security_violations": 0, "is_active": True}


def test_there_are_at_most_ten_sessions_and_idle_ones_end(sessions: Sessions, alone: Sandbox, clock: Clock) -> None:
    for number in range(10):
        sessions.run(f"s{number}", "bash", "true")
    with pytest.raises(TooMany, match="10 sessions are open"):
        sessions.run("s10", "bash", "true")
    clock.now += 3599
    sessions.run("s3", "bash", "echo > kept")
    clock.now += 1
    assert [one.session_id for one in sessions.list()] == ["s3"]
    assert len(list(alone.folder.iterdir())) == 1
    assert printed(sessions.run("s10", "bash", "echo new")) == "new\n"
    assert sessions.end("s3") is True and sessions.end("s3") is False
    assert printed(sessions.run("s3", "bash", "ls")) == ""


def test_a_session_is_blocked_after_five_broken_limits(sessions: Sessions, clock: Clock) -> None:
    refused = "import socket\nsocket.socket()"
    assert sessions.run("s", "python", refused).returncode == 1  # a refused call is no violation
    sessions.run("s", "bash", "sleep 100", halted=lambda: True)  # nor is that nobody waited
    for count in range(5):
        assert sessions.list()[0].security_violations == count and sessions.list()[0].is_active
        sessions.run("s", "bash", "sleep 100", timeout=0.05)
    with pytest.raises(Denied, match="blocked after 5 runs"):
        sessions.run("s", "bash", "true")
    assert sessions.list()[0].is_active is False
    assert sessions.run("t", "bash", "true").returncode == 0
    clock.now += 3600
    assert sessions.run("s", "bash", "true").returncode == 0


def test_a_session_runs_one_program_at_a_time(sessions: Sessions, clock: Clock) -> None:
    begun, stop = threading.Event(), threading.Event()

    def halted() -> bool:
        begun.set()
        return stop.is_set()

    thread = threading.Thread(target=sessions.run, args=("s", "bash", "sleep 100"), kwargs={"halted": halted})
    thread.start()
    assert begun.wait(60)
    clock.now += 10_000
    for attempt in (lambda: sessions.run("s", "bash", "true"), lambda: sessions.end("s")):
        with pytest.raises(TooMany, match="runs a program already"):
            attempt()
    assert sessions.cleanup() == 0  # it is not idle
    stop.set()
    thread.join()
    assert sessions.run("s", "bash", "true").returncode == 0


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 161, "세션", "a b", "a\n"])
def test_a_session_has_a_plain_name(sessions: Sessions, name: str) -> None:
    with pytest.raises(BadRequest, match="not a name"):
        sessions.run(name, "bash", "true")


def test_a_folder_that_a_program_closed_is_opened_again(sessions: Sessions, tmp_path: Path) -> None:
    printed(sessions.run("s", "bash", "echo x > f; mkdir -m 0 closed; ls"))
    assert "f" in sessions.run("s", "bash", "ls").stdout


# ---- tools ----

@pytest.fixture
def tools(alone: Sandbox, sessions: Sessions) -> dict[str, Tool]:
    return {tool.name: tool for tool in sandbox_tools(alone, sessions)}


def call(tool: Tool, watch: Watch | None = None, **arguments: Any) -> Any:
    assert tool.run is not None
    return tool.run(Place(Path("/"), Path("/")), watch or Watch(), **check_arguments(tool.name, tool.schema, arguments))


def test_the_tools_say_what_they_take_and_give(tools: dict[str, Tool]) -> None:
    assert sorted(tools) == ["execute_bash", "execute_python"]
    schema = tools["execute_python"].schema
    assert schema["required"] == ["code"] and sorted(schema["properties"]) == ["code", "session", "timeout"]
    assert (schema["properties"]["timeout"]["minimum"], schema["properties"]["timeout"]["maximum"], schema["properties"]["timeout"]["default"]) == (1, 300, 30)
    assert (schema["properties"]["code"]["minLength"], schema["properties"]["code"]["maxLength"]) == (1, 200_000)
    assert tools["execute_bash"].schema["required"] == ["command"]
    assert sorted(tools["execute_bash"].output["properties"]) == ["ended", "returncode", "sandbox", "seconds", "stderr", "stdout", "success"]
    for wrong in ({"code": ""}, {"code": "1", "timeout": 0}, {"code": "1", "timeout": 301}, {"code": "x" * 200_001}, {}):
        with pytest.raises(BadRequest):
            call(tools["execute_python"], **wrong)


def test_a_tool_gives_what_the_program_did(tools: dict[str, Tool], alone: Sandbox) -> None:
    found = call(tools["execute_python"], code="print(6 * 7)")
    assert found.pop("seconds") > 0
    assert found == {"stdout": "42\n", "stderr": "", "returncode": 0, "success": True, "ended": "", "sandbox": alone.strength().name}
    found = call(tools["execute_bash"], command="echo no >&2; exit 4")
    assert (found["stderr"], found["returncode"], found["success"]) == ("no\n", 4, False)
    found = call(tools["execute_bash"], command="yes")
    assert (found["ended"], found["success"]) == ("output", False)


def test_the_tools_share_a_session(tools: dict[str, Tool], sessions: Sessions) -> None:
    call(tools["execute_python"], code="open('f', 'w').write('kept')", session="s")
    assert call(tools["execute_bash"], command="cat f", session="s")["stdout"] == "kept"
    assert call(tools["execute_bash"], command="ls")["stdout"] == ""
    assert sessions.list()[0].execution_count == 2


def test_a_tool_that_takes_too_long_is_an_error(tools: dict[str, Tool]) -> None:
    with pytest.raises(TimedOut, match="longer than 2 s") as caught:
        call(tools["execute_bash"], command="echo begun; sleep 100", timeout=2)
    assert caught.value.facts == {"seconds": 2, "stdout": "begun\n", "stderr": ""}


def test_a_tool_ends_when_nobody_waits(tools: dict[str, Tool]) -> None:
    with pytest.raises(ToolFailed, match="nobody waits"):
        call(tools["execute_bash"], Watch(halted=lambda: True), command="sleep 100")


def test_the_signal_that_ends_a_program_is_named_as_a_shell_does(alone: Sandbox) -> None:
    assert python(alone, f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})").returncode == 128 + signal.SIGTERM
