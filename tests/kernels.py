"""Other processes for tests: a Python that hosts or joins a stack, spoken to line by line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any

LOOP = """
import json, sys, traceback
for line in sys.stdin:
    try:
        code = json.loads(line)
        try:
            value = eval(code, globals())
        except SyntaxError:
            exec(code, globals()); value = None
        print("=" + json.dumps({"value": value}, default=str), flush=True)
    except BaseException as error:
        print("=" + json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
"""


class Raised(Exception):
    """What the other process raised: `kind` is the class name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Process:
    """A Python process that evaluates what it is told; `ask` gives the value as JSON or raises Raised."""

    def __init__(self, env: dict[str, str], cwd: Path) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True, cwd=cwd, env={**os.environ, **env}, bufsize=1)
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid = self._child.pid

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("="):
                self._lines.put(line[1:])
        self._lines.put("")

    def ask(self, code: str, seconds: float = 120) -> Any:
        """Evaluate an expression, or execute statements, there."""
        self.tell(code)
        return self.answer(seconds)

    def tell(self, code: str) -> None:
        """The same without waiting; `answer` must follow."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(code) + "\n")
        self._child.stdin.flush()

    def answer(self, seconds: float = 120) -> Any:
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            raise AssertionError(f"process {self.pid} did not answer within {seconds} s") from None
        if not line:
            raise AssertionError(f"process {self.pid} ended with status {self._child.wait(10)}")
        body = json.loads(line)
        if "error" in body:
            raise Raised(body["error"], body["message"])
        return body["value"]

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def end(self) -> int:
        """Close its input, so that it ends as a kernel does, and give its status."""
        assert self._child.stdin is not None and self._child.stdout is not None
        if not self._child.stdin.closed:
            self._child.stdin.close()
        try:
            status = self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait(10)
        self._let_go()
        return status

    def kill(self) -> None:
        """End it as `kill -9` does; safe to call twice."""
        self._child.kill()
        self._child.wait(10)
        self._let_go()

    def _let_go(self) -> None:
        assert self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._reader.join(10)
        self._child.stdout.close()
