"""`suite audit`: the trail of every decision, call, approval and key; whether it is whole; and all of it as JSON lines."""

from __future__ import annotations

import argparse
import json

from suite import render
from suite.cli.access import Access, opened
from suite.cli.terminal import when
from suite.errors import Denied

PERMISSION = "audit.read"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("audit", help="read the audit trail and verify that nobody changed it", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the newest entries, the oldest of them first")
    listing.add_argument("--limit", type=int, default=20, metavar="N")
    listing.add_argument("--actor", default="", metavar="NAME")
    listing.add_argument("--subject", default="", metavar="NAME", help="a tool, or what else the entry is about")
    verify = group.add_parser("verify", help="read the whole chain; 0 when it is whole, 1 when it was edited, cut or put in another order")
    export = group.add_parser("export", help="every entry as a JSON line, oldest first")
    for parser, run in ((listing, run_list), (verify, run_verify), (export, run_export)):
        parser.add_argument("--key-file", default="", metavar="FILE", help="the API key of somebody who holds `audit.read`; the owner of the data "
                            "directory needs none")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)


def run_list(args: argparse.Namespace) -> int:
    """The newest entries."""
    with opened() as access:
        _may(access, args)
        events = access.audit.find(args.limit, actor=args.actor, subject=args.subject)
    if args.json:
        print(json.dumps([event.to_dict() for event in events], ensure_ascii=False))
    else:
        rows = [[event.seq, when(event.at), event.actor, event.kind, event.subject, event.outcome, event.reason] for event in events]
        print(render.text_table(("entry", "when", "actor", "kind", "subject", "outcome", "reason"), rows))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Whether the chain is whole."""
    with opened() as access:
        _may(access, args)
        found = access.audit.verify()
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        for finding in found.findings:
            print(finding)
        print(f"{found.entries} entries, " + (f"whole; the last has the digest {found.head}" if found.ok else "NOT as they were written"))
    return 0 if found.ok else 1


def run_export(args: argparse.Namespace) -> int:
    """All of it."""
    with opened() as access:
        _may(access, args)
        for event in access.audit.every():
            print(json.dumps(event.to_dict(), ensure_ascii=False))
    return 0


def _may(access: Access, args: argparse.Namespace) -> None:
    """Whoever can read the data directory can read the trail in it; a key that is named must allow it all the same."""
    from suite.access.decide import decide_act

    caller = access.caller(args.key_file)
    if not caller.owner:
        decision = decide_act(access.actors.find(caller.actor), PERMISSION, access.actors.policy, asked=caller.actor)
        if not decision.allowed:
            raise Denied(decision.reason)
