"""`suite monitoring`: what Prometheus, Alertmanager and Grafana need of this stack, and the first two of them, watched over."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from suite.errors import PortBusy, SettingsError, StartError
from suite.settings import Settings, load

PROMETHEUS, ALERTMANAGER = "127.0.0.1:19090", "127.0.0.1:19093"  # 9090 and 9093 are the suite's own


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    parser = commands.add_parser("monitoring", help="configuration for Prometheus, Alertmanager and Grafana", description=__doc__)
    group = parser.add_subparsers(dest="action", required=True, metavar="action")
    export = group.add_parser("export", help="write the configuration into a folder")
    export.add_argument("folder", type=Path, metavar="DIR")
    for name, place in (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER)):
        export.add_argument(f"--{name}", metavar="HOST:PORT", help=f"where it will listen; default: that of {name.upper()}_URL, else {place}")
    export.add_argument("--force", action="store_true", help="move aside what is in the folder and not from an earlier export")
    export.add_argument("--json", action="store_true")
    export.set_defaults(run=run_export)
    up = group.add_parser("up", help="run the installed Prometheus and Alertmanager about this stack, until Ctrl-C")
    for name, place in (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER)):
        up.add_argument(f"--{name}", metavar="HOST:PORT", help=f"where it listens; {place} when that is free, else a free port")
    up.set_defaults(run=run_up)


def run_export(args: argparse.Namespace) -> int:
    """Write the bundle and say what is in it."""
    folder, settings = Path(os.path.abspath(args.folder)), load()
    files, aside = export(folder, settings, args.prometheus or _at(settings.prometheus_url, PROMETHEUS),
                          args.alertmanager or _at(settings.alertmanager_url, ALERTMANAGER), args.force)
    if args.json:
        print(json.dumps({"rows": [{"file": name} for name in sorted(files)], "folder": str(folder), "aside": None if aside is None else str(aside)}))
        return 0
    print("\n".join(str(folder / name) for name in sorted(files)))
    if aside is not None:
        print(f"What was there is in {aside} now.")
    return 0


def run_up(args: argparse.Namespace) -> int:
    """Run both programs and start again the one that dies; 0 once they were told to end, and have."""
    import filelock

    from suite.monitoring.supervise import alertmanager, find, prometheus, supervise
    from suite.storage.place import open_data_dir

    settings, ending = load(), threading.Event()
    found = {name: find(name) for name in ("prometheus", "alertmanager")}
    places = {name: _free(getattr(args, name), place) for name, place in (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER))}
    folder = open_data_dir(settings.data_dir) / "monitoring"
    try:
        lock = filelock.FileLock(folder / "up.lock", mode=0o600).acquire(timeout=0)
    except filelock.Timeout:
        raise StartError(f"`suite monitoring up` already runs about {settings.data_dir}; end it first.") from None
    with lock, _ended_by_signals(ending):
        export(folder / "bundle", settings, places["prometheus"], places["alertmanager"], force=True)
        programs = [prometheus(found["prometheus"], folder, places["prometheus"], settings.monitoring_days),
                    alertmanager(found["alertmanager"], folder, places["alertmanager"])]
        supervise(programs, ending, lambda text: print(text, flush=True))
    return 0


@contextmanager
def _ended_by_signals(ending: threading.Event) -> Iterator[None]:
    """Ctrl-C, `kill` and a closed terminal set the event instead of breaking off whatever is being done."""
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free(wanted: str | None, usual: str) -> str:
    """The HOST:PORT that is wanted, else the usual one, else a free port. Raises PortBusy, StartError or SettingsError for one that is wanted."""
    from suite.http.serve import bind

    host, _, port = _place(wanted or usual).rpartition(":")
    try:
        with bind(host, int(port), "monitoring up"):
            return f"{host}:{port}"
    except PortBusy:
        if wanted:
            raise
    with bind(host, 0, "monitoring up") as sock:
        return f"{host}:{sock.getsockname()[1]}"


def export(folder: Path, settings: Settings, prometheus: str, alertmanager: str, force: bool = False) -> tuple[list[str], Path | None]:
    """Write a bundle about the stack that runs, or would by these settings; the names of its files, and where what was there went.

    Raises SettingsError, BadRequest or StorageError.
    """
    from suite.monitoring.bundle import bundle
    from suite.monitoring.load_dashboards import load_dashboards
    from suite.monitoring.load_rules import load_rules
    from suite.monitoring.scaling import scaling_rules
    from suite.monitoring.table import ROWS
    from suite.monitoring.write_bundle import write_bundle

    interval = settings.monitoring_interval
    rules = load_rules(table=ROWS, interval=interval, thresholds={"ApprovalOverdue": settings.approval_timeout})
    rules += scaling_rules(ROWS, interval)
    files = bundle(folder, _where(settings, _place(prometheus), _place(alertmanager)), settings, rules, load_dashboards(ROWS, interval=interval))
    return list(files), write_bundle(folder, files, force)


def _where(settings: Settings, prometheus: str, alertmanager: str) -> Any:
    from suite.host import choose_ports, read
    from suite.monitoring.bundle import Where
    from suite.series import LOGS, SILENT, unwatched

    record = read(settings.data_dir / "run")
    if record is not None and record.alive():
        ports, bind, token = record.ports, record.bind, Path(record.token_file)  # the next stack on this directory has its token there too
    elif settings.port_base == "auto":
        raise SettingsError("SUITE_PORT_BASE is `auto`, so the ports are known only while a stack runs; start it with `suite up`, then export.")
    else:
        ports = {name: port for name, port in choose_ports(settings.port_base).items() if name not in unwatched(settings)}
        bind, token = settings.bind, None
    host = "127.0.0.1" if bind in ("0.0.0.0", "") else bind
    targets = {name: f"{host}:{port}" for name, port in ports.items() if name not in SILENT}
    return Where(targets, token, f"{host}:{ports[LOGS]}", prometheus, alertmanager)


def _at(url: str, usual: str) -> str:
    """The HOST:PORT of a URL, or the usual one when there is none."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 80}" if parts.scheme == "http" and parts.hostname else usual


def _place(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536 or any(char in host for char in "/@ \"'"):
        raise SettingsError(f"{text[:80]!r} is no HOST:PORT, such as {PROMETHEUS}.")
    return text
