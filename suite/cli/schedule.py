"""`suite schedule`: have a Jupyter server with jupyter-scheduler check a release every night."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from suite import render

COLUMNS = ("id", "name", "at", "time zone", "state", "parameters")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the group."""
    verbs = commands.add_parser("schedule", help="have release checks run at a Jupyter server", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    nightly = verbs.add_parser("nightly", help="check a release every day; the job fails unless it is READY, or a REHEARSAL")
    nightly.add_argument("phases", nargs="*", metavar="PHASE", help="which runbooks, such as phase2_health (default: all five)")
    nightly.add_argument("--at", default="02:00", metavar="HH:MM", help="when (default 02:00)")
    nightly.add_argument("--timezone", default="UTC", metavar="ZONE", help="in which time zone, such as Asia/Seoul (default UTC)")
    nightly.add_argument("--release", default="nightly", metavar="NAME", help="the name that the reports get (default nightly)")
    nightly.add_argument("--stage", default="", choices=("", "dev", "staging", "prod"), help="default: that of the settings over there")
    nightly.add_argument("--reports", default="", metavar="DIR", help="the archive, on the machine of the server (default: the settings' over there)")
    nightly.add_argument("--language", default="en", choices=("en", "ko"), help="of the final report (default en)")
    nightly.add_argument("--folder", default="", metavar="PATH", help="where below the server's root the notebook is put")
    listing = verbs.add_parser("list", help="what this command has scheduled")
    removing = verbs.add_parser("remove", help="take it back; sealed reports stay")
    for parser, run in ((nightly, run_nightly), (listing, run_list), (removing, run_remove)):
        parser.add_argument("--server", default="", metavar="URL", help="the Jupyter server (default: the only one that runs here)")
        parser.add_argument("--token-env", default="", metavar="NAME", help="the environment variable that holds its token")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)


def run_nightly(args: argparse.Namespace) -> int:
    """Make the job definition, or change the one that is there."""
    reports = str(Path(args.reports).expanduser().absolute()) if args.reports else ""
    parameters = {"release": args.release, "stage": args.stage, "reports": reports, "language": args.language, "phases": list(args.phases)}
    with _scheduler(args) as scheduler:
        done = scheduler.nightly(args.at, args.timezone, parameters, args.folder)
    if args.json:
        print(json.dumps(done.to_dict(), ensure_ascii=False))
    else:
        print(f"{'Made' if done.made else 'Changed'} at {done.url}: {done.name}, {_at(done.schedule)} {done.timezone} every day ({done.id})")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """The definitions."""
    with _scheduler(args) as scheduler:
        found = scheduler.list()
    if args.json:
        print(json.dumps({"rows": [row.to_dict() for row in found]}, ensure_ascii=False))
        return 0
    print(render.text_table(COLUMNS, [(row.id, row.name, _at(row.schedule), row.timezone, "active" if row.active else "paused",
                                       ", ".join(f"{name}={value}" for name, value in row.parameters.items())) for row in found]))
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Take the definitions away; 1 when there was none."""
    with _scheduler(args) as scheduler:
        gone = scheduler.remove()
    print(json.dumps({"removed": gone}) if args.json else f"{gone} removed")
    return 0 if gone else 1


def _scheduler(args: argparse.Namespace) -> Any:
    from suite.runbooks.schedule import Scheduler, choose
    from suite.settings import secret

    return Scheduler(*choose(args.server, secret(args.token_env) if args.token_env else ""))


def _at(schedule: str) -> str:
    """The time of day in a crontab line of ours; another line as it is."""
    minute, hour, *rest = schedule.split()
    return f"{int(hour):02d}:{int(minute):02d}" if rest == ["*", "*", "*"] and minute.isdigit() and hour.isdigit() else schedule
