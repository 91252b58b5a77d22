"""A process that seals, prunes or makes a key in a child of its own, which is killed (kill -9) at the step that is asked for.

A step is a call that changes a file or has it written to the disk. It is asked over standard input, one JSON object per line:
{"do": "seal" | "prune" | "key", "folder", "step", "half"}; the answer is {"steps", "killed"}, where steps is a letter each, w for a write. With `half` a write is killed after half its bytes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHANGING = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "ftruncate", "link")


class Driver:
    """The process; `run` does one thing and gives the steps that it came to, and whether it was killed."""

    def __enter__(self) -> Driver:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: Any) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, do: str, folder: Path, step: int = 0, half: bool = False) -> tuple[str, bool]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "folder": str(folder), "step": step, "half": half}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["steps"], answer["killed"]


def serve() -> None:
    from suite.runbooks.archive import unfinished
    from suite.runbooks.prune import prune
    from suite.runbooks.seal import seal
    from suite.runbooks.sign import load_key, make_key

    def act(do: str, folder: Path) -> None:
        if do == "seal":
            seal(unfinished(folder / "reports")[0], folder / "reports", load_key(folder / "key.pem"), runbooks=folder / "runbooks")
        elif do == "prune":
            prune(folder / "reports", load_key(folder / "key.pem"), 1, dry_run=False)
        else:
            make_key(folder / "fresh" / "key.pem")

    with tempfile.TemporaryDirectory() as warm:
        make_key(Path(warm) / "key.pem")  # loads what a key needs, before anybody is counted
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _count(asked["step"], asked["half"], writing)
            act(asked["do"], Path(asked["folder"]))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as counted:
            steps = counted.read().decode("ascii")
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0, status
        print(json.dumps({"steps": steps, "killed": killed}), flush=True)


def _count(step: int, half: bool, told: int) -> None:
    """From here on each changing call is told by one byte, and the one of the number `step` is not done any more."""
    done, say = 0, os.write

    def counted(name: str) -> Any:
        real = getattr(os, name)

        def call(*given: Any, **more: Any) -> Any:
            nonlocal done
            if name == "open" and not (given[1] if len(given) > 1 else more.get("flags", 0)) & (os.O_CREAT | os.O_TRUNC):
                return real(*given, **more)
            done += 1
            say(told, name[:1].encode("ascii"))
            if done == step:
                if half and name == "write":
                    real(given[0], bytes(given[1])[:len(given[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return call

    for name in CHANGING:
        setattr(os, name, counted(name))


if __name__ == "__main__":
    serve()
