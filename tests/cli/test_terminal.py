"""A process that a stack may run in ends in order when it is told to, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

CHILD = """
import readline
from suite.cli.terminal import own_process
try:
    with own_process():
        input("x" * 8_000 + "you> ")
finally:
    print("in order", flush=True)
"""
BUSY = """
import os, signal, sys, time
from suite.cli.terminal import own_process
before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
told = []
try:
    with own_process():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            told.append("cleaned")
except SystemExit as error:
    told.append(error.code)
after = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
print(told, before == after)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_a_prompt_is_written_is_not_kept_until_a_key_is_pressed(number: signal.Signals) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env={**os.environ, "TERM": "dumb"}) as child:
        os.close(slave)
        try:
            seen = b""
            while b"x" not in seen:  # the first of a prompt on which readline works for a while
                seen += os.read(master, 1)
            child.send_signal(number)
            with contextlib.suppress(OSError):  # Linux says so when the last one has closed its side
                while select.select([master], [], [], 30)[0]:
                    seen += os.read(master, 65536)
            assert child.wait(30) == 128 + number and seen.endswith(b"in order\r\n")
        finally:
            child.kill()
            os.close(master)


def test_it_ends_once_and_leaves_the_signals_as_they_were() -> None:
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (f"['cleaned', {128 + signal.SIGTERM}] True\n", "", 0)
