"""`suite approvals`: calls that wait for an approval. The key of whoever decides is read from --key-file or SUITE_API_KEY, never from the command."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from suite import render
from suite.cli.access import VARIABLE, opened

SHOWN = 60  # characters of the arguments in a table


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("approvals", help="list, approve and reject calls that wait", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the calls that wait, or waited")
    listing.add_argument("--state", default="pending", metavar="STATE", help="pending, approved, rejected, cancelled, used, expired, or all")
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    show = group.add_parser("show", help="one call with all of its arguments, secrets masked")
    approve = group.add_parser("approve", help="let a call go ahead once; it must be made again, exactly as it was")
    reject = group.add_parser("reject", help="refuse a call")
    cancel = group.add_parser("cancel", help="withdraw a call of your own")
    everything = group.add_parser("open", help="emergency: approve everything for some minutes (needs an administrator's key)")
    everything.add_argument("minutes", type=float, metavar="MINUTES")
    close = group.add_parser("close", help="end that everything is approved")
    for parser in (show, approve, reject, cancel):
        parser.add_argument("id", metavar="ID", help="or its first 8 characters")
    for parser in (approve, reject, everything):
        parser.add_argument("--reason", required=True, metavar="TEXT", help="it is part of the record")
    for parser, run in ((listing, run_list), (show, run_show), (approve, run_decide), (reject, run_decide), (cancel, run_cancel),
                        (everything, run_open), (close, run_close)):
        parser.add_argument("--key-file", default="", metavar="FILE", help=f"whose API key to use (default: that in {VARIABLE}, else none)")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)


def run_list(args: argparse.Namespace) -> int:
    """The approvals of a state."""
    with opened() as access:
        state = "" if args.state == "all" else args.state
        rows = access.approver.list(access.caller(args.key_file), state=state, limit=args.limit)
    if args.json:
        print(json.dumps([row.to_dict() for row in rows], ensure_ascii=False))
        return 0
    print(_table(rows))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """One approval, whole."""
    with opened() as access:
        row = access.approver.look(args.id, access.caller(args.key_file))
    print(json.dumps(row.to_dict(), ensure_ascii=False, indent=None if args.json else 2))
    return 0


def run_decide(args: argparse.Namespace) -> int:
    """Approve or reject."""
    with opened() as access:
        decide = access.approver.approve if args.verb == "approve" else access.approver.reject
        return _said(decide(args.id, args.reason, access.caller(args.key_file)), args)


def run_cancel(args: argparse.Namespace) -> int:
    """Withdraw."""
    with opened() as access:
        return _said(access.approver.cancel(args.id, access.caller(args.key_file)), args)


def run_open(args: argparse.Namespace) -> int:
    """Approve everything for a time."""
    with opened() as access:
        found = access.openings.open(args.minutes, args.reason, access.caller(args.key_file))
    print(json.dumps(found.to_dict(), ensure_ascii=False) if args.json else f"everything is approved for {args.minutes:g} minutes; "
          "`suite approvals close` ends it")
    return 0


def run_close(args: argparse.Namespace) -> int:
    """End that."""
    with opened() as access:
        found = access.openings.close(access.caller(args.key_file))
    print(json.dumps(found.to_dict() if found else None, ensure_ascii=False) if args.json else
          "calls need their approvals again" if found else "nothing was open")
    return 0


def _said(row: Any, args: argparse.Namespace) -> int:
    once = f" ({row.rule}); it may run once within {round(row.expires - row.decided)} s" if row.state == "approved" else ""
    said = f"{row.tool} by {row.actor} ({row.id[:8]}) is {row.state} by {row.decided_by}{once}"
    print(json.dumps(row.to_dict(), ensure_ascii=False) if args.json else said)
    return 0


def _table(rows: Sequence[Any]) -> str:
    now, lines = time.time(), []
    for row in rows:
        arguments = json.dumps(row.arguments, ensure_ascii=False)
        left = f"{max(0, round(row.expires - now))} s" if row.state in ("pending", "approved") else ""
        lines.append([row.id[:8], row.state, row.tool, row.actor, left, arguments if len(arguments) <= SHOWN else arguments[:SHOWN] + "…"])
    return render.text_table(("id", "state", "tool", "actor", "ends in", "arguments"), lines)
