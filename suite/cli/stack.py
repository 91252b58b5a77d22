"""`suite up`, `suite down`, `suite status`: the stack of the data directory, hosted by a process of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from suite import render
from suite.errors import DataDirError, HostGone, StartError, SuiteError
from suite.settings import Settings, load

UP_SECONDS = 600
DOWN_SECONDS = 30


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three commands."""
    up = commands.add_parser("up", help="start the stack in the background, or say that it runs")
    up.add_argument("--profile", help="which models on which hardware")
    up.add_argument("--stage", help="dev, staging or prod")
    up.add_argument("--port-base", help="added to every port; `auto` finds free ones")
    up.add_argument("--foreground", action="store_true", help="stay, and stop with Ctrl-C")
    up.set_defaults(run=run_up)
    down = commands.add_parser("down", help="end the running stack, wherever it is hosted")
    down.set_defaults(run=run_down)
    status = commands.add_parser("status", help="the nine parts and their state")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=run_status)


def run_up(args: argparse.Namespace) -> int:
    """Start a host and wait until it answers; 0 when all nine parts are ready, 1 when some are not."""
    wanted = {name: getattr(args, name) for name in ("profile", "stage", "port_base") if getattr(args, name)}
    if args.foreground:
        return _stay(wanted)
    settings = load(wanted)
    if _record(settings) is None:
        _spawn(settings, wanted)
    return _show(settings, as_json=False)


def _stay(wanted: dict[str, Any]) -> int:
    from suite.bench import start

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    os.umask(0o077)  # this process is ours alone, so nothing that it writes is anybody else's to read
    signal.signal(signal.SIGTERM, interrupt)  # `kill` and Ctrl-C end the stack in the same orderly way
    bench = start(**wanted)
    if not bench.hosting:
        print(f"suite: already running.\n{bench!r}")
        return 0
    try:
        print(repr(bench), flush=True)
        bench.wait()
    except KeyboardInterrupt:
        print("suite: stopping.")
    finally:
        bench.stop()
    return 0


def _spawn(settings: Settings, wanted: dict[str, Any]) -> None:
    from suite.storage.place import open_data_dir

    log = open_data_dir(settings.data_dir) / "logs" / "up.log"
    flags = [part for name, value in wanted.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    log.touch(mode=0o600)
    with log.open("w", encoding="utf-8") as output, _held_interrupt() as let_go:
        child = subprocess.Popen([sys.executable, "-m", "suite", "up", "--foreground", *flags], stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            let_go()
            up = _wait_until_up(child, settings)
        except BaseException:  # Ctrl-C here is meant for the start, and the child is in a session of its own
            _end(child)
            raise
    if up:
        child.returncode = 0  # it goes on without us: nothing to wait for
        return
    _end(child)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise StartError(lines[-1].removeprefix("suite: ") if lines else f"The host did not start within {UP_SECONDS} s; its output is in {log}.")


@contextmanager
def _held_interrupt() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until what this gives is called: in the midst of Popen there is a child already that nobody could end yet."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[bool] = []

    def let_go() -> None:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield let_go
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_until_up(child: subprocess.Popen[bytes], settings: Settings) -> bool:
    """Whether the child hosts the stack, or found another that was quicker."""
    deadline = time.monotonic() + UP_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        record = _record(settings)
        if record is not None and record.pid == child.pid:
            with contextlib.suppress(SuiteError):  # not listening yet, or ended just now: the next look at the child tells
                if not _status(settings)["host"]["starting"]:
                    return True
        time.sleep(0.1)
    return child.returncode == 0 and _record(settings) is not None


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(DOWN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def run_down(_args: argparse.Namespace) -> int:
    """Ask the host to stop and wait until it has."""
    settings = load()
    record = _record(settings)
    if record is None:
        print("suite: nothing runs on this data directory.")
        return 0
    try:
        with _client(record) as client:
            client.post("/v1/stop")
    except (HostGone, DataDirError):  # it is ending already; whether it has is seen below
        pass
    deadline = time.monotonic() + DOWN_SECONDS
    while _record(settings) is not None:
        if time.monotonic() > deadline:
            raise HostGone(f"The host (pid {record.pid}) did not stop within {DOWN_SECONDS} s; end it with `kill {record.pid}`.")
        time.sleep(0.05)
    print(f"suite: stopped (pid {record.pid}).")
    return 0


def run_status(args: argparse.Namespace) -> int:
    """Print the parts; 0 when all are ready, 1 when some are not or nothing runs."""
    settings = load()
    if _record(settings) is None:
        print(json.dumps({"rows": []}) if args.json else "suite: nothing runs on this data directory; `suite up` starts it.")
        return 1
    return _show(settings, args.json)


def _show(settings: Settings, as_json: bool) -> int:
    body = _status(settings)
    parts = body["parts"]
    if as_json:
        print(json.dumps({"rows": parts, "host": body["host"]}, ensure_ascii=False))
    else:
        rows = [[part["name"], part["port"], "ready" if part["ready"] else "not ready", "; ".join(part["reasons"])] for part in parts]
        print(f"host pid {body['host']['pid']}, profile {body['host']['profile']}, stage {body['host']['stage']}")
        print(render.text_table(["part", "port", "state", "why"], rows))
        if body["host"]["smoke"]:
            print("Smoke profile: bundled models, which only copy from passages.")
    return 0 if all(part["ready"] for part in parts) else 1


def _record(settings: Settings) -> Any:
    from suite import host

    record = host.read(settings.data_dir / "run")
    return record if record is not None and record.alive() else None


def _client(record: Any) -> Any:
    from suite.http.client import Client

    return Client(record.url("api-gateway"), record.token(), timeout=10)


def _status(settings: Settings) -> Any:
    record = _record(settings)
    if record is None:
        raise HostGone("The host ended while it was being asked; call `suite up` again.")
    with _client(record) as client:
        return client.get("/v1/parts").json()
