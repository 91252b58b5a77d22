"""`suite keys`: the API keys of actors, who use them on port 8020. A key is shown once, when it is made."""

from __future__ import annotations

import argparse
import json

from suite import render
from suite.cli.access import Access, opened
from suite.cli.terminal import when


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("keys", help="make, list and revoke the API keys of actors", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    create = group.add_parser("create", help="make a key of an actor and show it, once")
    create.add_argument("actor", metavar="ACTOR", help="whose it is: local-owner, dev_user, admin_user …")
    create.add_argument("--label", default="", metavar="TEXT", help="what it is for")
    create.add_argument("--days", type=float, metavar="N", help="how long it opens anything (default: until it is revoked)")
    create.set_defaults(run=run_create)
    listing = group.add_parser("list", help="whose keys there are; never the keys themselves")
    listing.set_defaults(run=run_list)
    revoke = group.add_parser("revoke", help="let a key open nothing any longer")
    revoke.add_argument("id", metavar="ID")
    revoke.set_defaults(run=run_revoke)
    for parser in (create, listing, revoke):
        parser.add_argument("--json", action="store_true")


def run_create(args: argparse.Namespace) -> int:
    """Make a key; only its text goes to standard output, so that it can be sent straight into a file."""
    import sys

    with opened() as access:
        key, text = access.keys.create(args.actor, args.label, args.days)
        _record(access, "create", key.id, f"A key was made for {key.actor!r}.", key.to_dict())
    if args.json:
        print(json.dumps({**key.to_dict(), "key": text}, ensure_ascii=False))
        return 0
    print(text)
    until = f"until {when(key.expires)}" if key.expires else "until it is revoked"
    print(f"suite: key {key.id} of {key.actor}, {until}. It is shown this once: keep it where only its owner reads it.", file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Every key that there is or was."""
    with opened() as access:
        keys = access.keys.list()
    if args.json:
        print(json.dumps([key.to_dict() for key in keys], ensure_ascii=False))
    else:
        rows = [[key.id, key.actor, key.label, when(key.created), when(key.expires) if key.expires else "never",
                 when(key.revoked) if key.revoked else ""] for key in keys]
        print(render.text_table(("id", "actor", "label", "made", "ends", "revoked"), rows))
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke a key, at once and for every process."""
    with opened() as access:
        key = access.keys.revoke(args.id)
        _record(access, "revoke", key.id, f"The key of {key.actor!r} was revoked.", key.to_dict())
    print(json.dumps(key.to_dict(), ensure_ascii=False) if args.json else f"key {key.id} of {key.actor} opens nothing any longer")
    return 0


def _record(access: Access, deed: str, id: str, reason: str, detail: dict[str, object]) -> None:
    from suite.access.event import Event

    access.audit.record(Event(access.settings.mcp_user_id, f"key_{deed}", id, "done", reason, {**detail, "client": "cli"}))
