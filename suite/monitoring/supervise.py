"""The installed Prometheus and Alertmanager as children: started, started again when they die, ended together."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from suite.errors import StartError
from suite.monitoring.bundle import ALERTMANAGER, SCRAPE

NAMES = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
PACKAGES = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
BIN = "/usr/bin"  # looked into besides PATH, which may be short where this is started by something else
MOST, WITHIN = 5, 600.0  # deaths of one program within so many seconds after which it is not started again
LOOK = 0.2  # seconds between two looks
END_SECONDS = 20.0  # Prometheus writes what it holds before it goes
START_SECONDS = 60.0
AGAIN = "--rules.alert.resend-delay=10s"  # an Alertmanager that was away for a moment need not wait a minute, as by default, for what it missed


@dataclass
class Program:
    """One of them: what is run, where it answers, and where its output goes."""

    name: str
    command: list[str]
    url: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    died: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it. Raises StartError."""
        try:
            with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab") as log:
                # in a session of its own, so that Ctrl-C reaches this process alone
                self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                                preexec_fn=_dies_with_us if sys.platform == "linux" else None)
        except OSError as error:
            raise StartError(f"{self.command[0]} cannot be started ({error.strerror or error}); install {PACKAGES[self.name]} anew.") from error

    def ended(self) -> bool:
        """Whether it is not there any more."""
        return self.process is None or self.process.poll() is not None

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(self.url + "/-/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def last_words(self) -> str:
        """The last line of its output."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else "it said nothing"


def find(name: str) -> str:
    """The installed program of that name. Raises StartError that says which package has it."""
    for one in NAMES[name]:
        found = shutil.which(one) or shutil.which(one, path=BIN)
        if found:
            return found
    raise StartError(f"There is no program {NAMES[name][0]} on PATH or in {BIN}; install Debian's package {PACKAGES[name]} "
                     f"(`apt install {' '.join(PACKAGES.values())}`).")


def prometheus(program: str, folder: Path, place: str, days: float) -> Program:
    """Prometheus about the bundle in `folder`, its data beside it."""
    return Program("prometheus", [program, f"--config.file={folder}/bundle/{SCRAPE}", f"--storage.tsdb.path={folder}/prometheus",
                                  f"--storage.tsdb.retention.time={max(1, round(days))}d", f"--web.listen-address={place}", AGAIN],
                   f"http://{place}", folder / "prometheus.log")


def alertmanager(program: str, folder: Path, place: str) -> Program:
    """Alertmanager about the bundle in `folder`, its data beside it; without the cluster, which would listen to the network."""
    return Program("alertmanager", [program, f"--config.file={folder}/bundle/{ALERTMANAGER}", f"--storage.path={folder}/alertmanager",
                                    f"--web.listen-address={place}", "--cluster.listen-address="], f"http://{place}", folder / "alertmanager.log")


def supervise(programs: Sequence[Program], ending: threading.Event, told: Callable[[str], None]) -> None:
    """Run the programs until `ending` is set; then none of them is left. `told` hears what a person should know.

    Raises StartError when one of them cannot be kept running.
    """
    try:
        for one in programs:
            one.start()
        _wait_until_ready(programs, ending)
        if not ending.is_set():
            told("\n".join([*(f"{one.name:<13} {one.url}" for one in programs), "Ctrl-C ends both."]))
        while not ending.wait(LOOK):
            for one in programs:
                if one.ended():
                    _start_again(one, told)
    finally:
        _end(programs)


def _wait_until_ready(programs: Sequence[Program], ending: threading.Event) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ending.is_set() and not all(one.ready() for one in programs):
        gone = next((one for one in programs if one.ended()), None)
        if gone is not None or time.monotonic() > deadline:
            late = gone or next((one for one in programs if not one.ready()), programs[0])
            raise StartError(f"{late.name} {'ended at its start' if gone else f'is not ready after {START_SECONDS:.0f} s'}: {late.last_words()} "
                             f"(all of it is in {late.log})")
        ending.wait(LOOK)


def _start_again(one: Program, told: Callable[[str], None]) -> None:
    now = time.monotonic()
    one.died = [*(at for at in one.died if now - at < WITHIN), now]
    if len(one.died) > MOST:
        raise StartError(f"{one.name} died {len(one.died)} times within {WITHIN / 60:.0f} minutes, so it is not started again: {one.last_words()} "
                         f"(all of it is in {one.log})")
    told(f"{one.name} died (status {one.process.returncode if one.process else 0}) and is started again.")
    one.start()


def _end(programs: Sequence[Program]) -> None:
    there = [one.process for one in programs if one.process is not None]
    for process in there:
        process.terminate()
    deadline = time.monotonic() + END_SECONDS
    for process in there:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _dies_with_us() -> None:
    """Runs in the child: when this process is killed, so that it can end nobody, the kernel ends the child."""
    _libc.prctl(1, signal.SIGTERM)  # type: ignore[union-attr]  # PR_SET_PDEATHSIG
