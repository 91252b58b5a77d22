"""`suite silences`: alerts of which nobody is told for a while; they go on being looked at."""

from __future__ import annotations

import argparse
import json
from typing import Any

from suite import render
from suite.cli.terminal import joined, when
from suite.errors import BadRequest

COLUMNS = ("id", "state", "alerts", "until", "by", "reason")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("silences", help="keep alerts quiet for a while", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the silences that hold")
    listing.add_argument("--all", action="store_true", help="those that are over too")
    new = group.add_parser("add", help="begin a silence; prints its id")
    new.add_argument("alert", metavar="ALERT", help="the name of its rule, such as GpuHot")
    new.add_argument("labels", nargs="*", metavar="LABEL=VALUE", help="only where these labels are so, such as gpu=0")
    new.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept with the silence")
    new.add_argument("--for", dest="lasting", default="2h", metavar="TIME", help="how long: 30m, 2h, 7d (default: 2h)")
    new.add_argument("--by", default="", metavar="NAME", help="who silences (default: the owner of the stack)")
    expire = group.add_parser("expire", help="end a silence now")
    expire.add_argument("id", metavar="ID")
    for parser, run in ((listing, run_list), (new, run_add), (expire, run_expire)):
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)


def run_list(args: argparse.Namespace) -> int:
    """The silences, the one that ends last first."""
    with joined() as bench:
        found = bench.monitoring.silences(ended=args.all)
    rows: list[dict[str, Any]] = [{**row, "begin": row["begin"].timestamp(), "until": row["until"].timestamp()} for row in found.to_dict("records")]
    if args.json:
        print(json.dumps({"rows": rows}, ensure_ascii=False))
    else:
        shown = [(row["id"], row["state"], ", ".join(row["matchers"]), when(row["until"]), row["by"], row["reason"]) for row in rows]
        print(render.text_table(COLUMNS, shown))
    return 0


def run_add(args: argparse.Namespace) -> int:
    """Begin one."""
    labels = {}
    for text in args.labels:
        label, sign, value = text.partition("=")
        if not sign:
            raise BadRequest(f"{text[:80]!r} is no label; write it as LABEL=VALUE, such as gpu=0.", param="labels")
        labels[label] = value
    with joined() as bench:
        made = bench.monitoring.silence(args.alert, args.reason, args.lasting, args.by, **labels)
    print(json.dumps(made.to_dict(), ensure_ascii=False) if args.json else f"{made.id}: {', '.join(made.matchers)} until {when(made.until)}")
    return 0


def run_expire(args: argparse.Namespace) -> int:
    """End one."""
    with joined() as bench:
        ended = bench.monitoring.unsilence(args.id)
    print(json.dumps(ended.to_dict(), ensure_ascii=False) if args.json else f"{ended.id} is over")
    return 0
