"""The escape suite for one user: `python sandbox_driver.py FOLDER` prints what became of every attempt, in each sandbox and without one.

A program of its own, because the suite must be tried as an unprivileged user, too, who cannot use the interpreter of the tests.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.tools.sandbox import Limits, Sandbox

SECRET = os.environ.get("SUITE_STAND_IN", "")
SOURCE = Path(__file__).with_name("sandbox_attempts.py").read_text(encoding="utf-8")
FEW = Limits(memory=128 << 20, cpu=1.0, folder=20 << 20, entries=1000)

# programs that use too much, and what must end them; empty for none
GREEDY: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fork bomb": ("python", "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", ("processes",)),
    "fork bomb in bash": ("bash", ":(){ :|:& };:; while true; do :; done", ("processes",)),
    "zombies": ("python", "import os, signal\nfor _ in range(20):\n    os.fork() or os._exit(0)\nsignal.pause()", ("processes",)),
    "threads": ("python", "import threading\nthreading.stack_size(1 << 16)\nstop = threading.Event()\nfor _ in range(200):\n    threading.Thread(target=stop.wait, daemon=True).start()\nprint('made', flush=True)\nstop.wait()",
                ("processes", "")),
    "memory": ("python", "import signal\nx = []\ntry:\n    while True:\n        x.append(b'x' * (1 << 20))\nexcept MemoryError:\n    signal.pause()", ("memory",)),
    "memory of many": ("python", "import os, signal\nfor _ in range(5):\n    if os.fork() == 0:\n        x = b'x' * (50 << 20)\n        signal.pause()\nsignal.pause()",
                       ("memory",)),
    "shared memory": ("python", "import mmap, signal\nm = mmap.mmap(-1, 300 << 20)\nfor i in range(300):\n    m.write(b'x' * (1 << 20))\nsignal.pause()", ("memory",)),
    "one big allocation": ("python", "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('refused')", ("",)),
    "flood": ("bash", "yes", ("output",)),
    "flood of errors": ("bash", "yes >&2", ("output",)),
    "flood behind a closed pipe": ("python", "import os\nos.close(0)\nwhile True:\n    os.write(2, b'x' * 65536)", ("output",)),
    "CPU time": ("python", "while True:\n    pass", ("cpu",)),
    "CPU time of many": ("python", "import os\nfor _ in range(3):\n    os.fork()\nwhile True:\n    pass", ("cpu",)),
    "sleep": ("bash", "sleep 100", ("timeout",)),
    "sleep that ignores signals": ("bash", "trap '' TERM INT HUP; while true; do sleep 100; done", ("timeout",)),
    "stopped": ("python", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", ("timeout",)),
    "big file": ("bash", "head -c 20000000 /dev/zero > big", ("disk",)),
    "big file in python": ("python", "try:\n    open('big', 'wb').write(bytes(11 << 20))\nexcept OSError as error:\n    print('refused')", ("",)),
    "many big files": ("python", "import signal\nfor i in range(4):\n    open(str(i), 'wb').write(b'x' * (8 << 20))\nsignal.pause()", ("disk",)),
    "many files": ("python", "import signal\nfor i in range(1500):\n    open(str(i), 'w').close()\nsignal.pause()", ("disk",)),
    "files without names": ("python", "import os, signal\nkept = []\nfor i in range(4):\n    kept.append(open('f', 'wb', buffering=0))\n    kept[-1].write(b'x' * (8 << 20))\n"
                            "    os.unlink('f')\nsignal.pause()", ("disk",)),
    "deep folders": ("python", "import os, signal\nfor i in range(900):\n    os.mkdir('d')\n    os.chdir('d')\nsignal.pause()", ("disk",)),
    "folders that nobody may enter": ("python", "import os\nos.makedirs('a/b')\nos.mkdir('a/c', 0)\nos.umask(0o777)\nos.mkdir('d')\nprint('made')", ("", "disk")),
    "a folder of its own that nobody may enter": ("bash", "mkdir -m 0 d; chmod 0 . ; echo made", ("", "disk")),
    "links out of the folder": ("python", "import os\nos.symlink(OUTSIDE, 'link')\nos.mkdir('d')\nos.symlink(OUTSIDE, 'd/link')\nprint('made')", ("",)),
    "background": ("bash", "sleep 100 & disown; nohup sleep 100 >/dev/null 2>&1 & echo left", ("",)),
    "background that holds the pipes": ("bash", "sleep 100 & echo left", ("",)),
    "a new session": ("bash", "setsid sleep 100 >/dev/null 2>&1 & echo left", ("",)),
    "a daemon": ("python", "import os, signal\nif os.fork() == 0:\n    try:\n        os.setsid()\n    except OSError:\n        pass\n    if os.fork() == 0:\n"
                 "        for fd in range(3):\n            os.close(fd)\n        signal.pause()\n    os._exit(0)\nos.wait()\nprint('left')", ("",)),
}


@contextmanager
def outside(folder: Path) -> Iterator[dict[str, Any]]:
    """What a program should not reach: files, sockets, a process, a descriptor. Gives what attempts are told."""
    with ExitStack() as stack:
        box = folder / "box"
        box.mkdir()
        away = folder / "away"
        away.mkdir()
        for name in ("host.key", "token", "public"):
            (away / name).write_text(SECRET)
            (away / name).chmod(0o600)
        tcp, udp, unix, abstract, datagram = (stack.enter_context(socket.socket(*kind)) for kind in (
            (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)))
        name = f"suite-attempts-{os.getpid()}"
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(away / "unix"))
        abstract.bind("\0" + name)
        datagram.bind(str(away / "datagram"))
        for listener in (tcp, unix, abstract):
            listener.listen(50)
        inherited = os.open(away / "host.key", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        stack.callback(os.close, inherited)
        victim = stack.enter_context(_victim())
        assert victim.stdout is not None
        yield {"secret": SECRET, "key": str(away / "host.key"), "token": str(away / "token"), "public": str(away / "public"), "outside": str(away),
               "doomed": str(away / "doomed"), "movable": str(away / "movable"), "box": str(box), "tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1],
               "unix": str(away / "unix"), "abstract": name, "datagram": str(away / "datagram"), "suite": os.getpid(), "victim": victim.pid,
               "address": int(victim.stdout.readline()), "handle": _handle(str(away / "host.key"))}


@contextmanager
def _victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that waits, and tells where in its memory eight bytes are."""
    code = "import ctypes, sys; b = ctypes.create_string_buffer(b'memory!!'); print(ctypes.addressof(b), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as victim:
        try:
            yield victim
        finally:
            victim.kill()


def _handle(path: str) -> str:
    handle, mount = ctypes.create_string_buffer(b"\x80\0\0\0\0\0\0\0" + bytes(128)), ctypes.c_int()
    if ctypes.CDLL(None).name_to_handle_at(-100, ctypes.c_char_p(path.encode()), handle, ctypes.byref(mount), 0):
        return ""
    return handle.raw.hex()


def set_out(facts: dict[str, Any]) -> None:
    """The files that attempts remove, move or shorten, as they are at the start; nothing that an attempt left."""
    away = Path(facts["outside"])
    for path in away.iterdir():
        if path.name not in ("host.key", "token", "public", "unix", "datagram"):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("doomed", "doomed-too", "movable", "long"):
        (away / name).write_text(SECRET)


def state_of(folder: Path) -> dict[str, Any]:
    """All that an attempt could have changed outside."""
    found = {}
    for path in sorted(folder.iterdir()):
        facts = path.lstat()
        found[path.name] = (facts.st_size, facts.st_mode, facts.st_mtime_ns, facts.st_uid, facts.st_nlink, facts.st_ctime_ns)
    return found


def in_sandbox(sandbox: Sandbox, facts: dict[str, Any]) -> dict[str, Any]:
    """What became of the attempts in a sandbox, and whether anything outside is another than before."""
    set_out(facts)
    before = state_of(Path(facts["outside"]))
    ran = sandbox.run("python", f"{SOURCE}\nmain({facts | {'boxed': True}!r})\n", timeout=60)
    if ran.ended or ran.returncode:
        raise RuntimeError(f"the attempts did not get to their end: {ran}")
    changed = sorted(name for name, old in (before | state_of(Path(facts["outside"]))).items() if before.get(name) != old)
    return {"attempts": json.loads(ran.stdout), "changed": changed}


def without(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What becomes of the same attempts, by the same user, without a sandbox."""
    set_out(facts)
    (folder / "bare").mkdir()
    ran = subprocess.run([sys.executable, "-c", f"{SOURCE}\nmain({facts | {'boxed': False}!r})\n"], cwd=folder / "bare", capture_output=True, text=True,
                         close_fds=False, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return {"attempts": json.loads(ran.stdout)}


def left_over(box: Path) -> int:
    """Processes that have their home or their folder in the sandbox's."""
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (os.readlink(entry / "cwd").startswith(str(box)) or str(box).encode() in (entry / "environ").read_bytes()):
                count += 1
        except OSError:  # another user's, or just gone
            continue
    return count


def greedy(sandbox: Sandbox, facts: dict[str, Any]) -> dict[str, Any]:
    """How the programs that use too much ended, and what they left."""
    found = {}
    for name, (language, source, _) in GREEDY.items():
        timeout = 0.3 if "timeout" in GREEDY[name][2] else 30.0
        ran = sandbox.run(language, source.replace("OUTSIDE", repr(facts["outside"])), timeout=timeout)
        found[name] = {"ended": ran.ended, "returncode": ran.returncode, "seconds": ran.seconds, "stdout": ran.stdout[:200], "stderr": ran.stderr[-300:],
                       "kept": len(ran.stdout) + len(ran.stderr), "processes": left_over(sandbox.folder), "files": len(list(sandbox.folder.iterdir()))}
    return found


def main(folder: Path) -> dict[str, Any]:
    """Everything, as JSON data."""
    found: dict[str, Any] = {"user": os.getuid()}
    step: Callable[[str], Any] = lambda name: print(f"{time.strftime('%X')} {name}", file=sys.stderr)  # noqa: E731
    with outside(folder) as facts:
        step("without")
        found["without"] = without(folder, facts)
        for bubblewrap in (True, False):
            sandbox = Sandbox(folder / "box", bubblewrap=bubblewrap)
            strength = sandbox.strength()
            step(strength.name)
            key = "inside" if bubblewrap else "alone"
            found[key] = {"strength": strength.name, "weaker": strength.weaker, "ok": strength.ok}
            if strength.ok:
                few = Sandbox(folder / "box", replace(FEW), bubblewrap=bubblewrap)
                found[key] |= in_sandbox(sandbox, facts)
                step("greedy")
                set_out(facts)
                before = state_of(Path(facts["outside"]))
                found[key]["greedy"] = greedy(few, facts)
                found[key]["intact"] = state_of(Path(facts["outside"])) == before
        step("done")
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
