"""`suite tools`: the tools of the stack, and calling one; decided, approved where it must be, and recorded like every call."""

from __future__ import annotations

import argparse
import json
from typing import Any

from suite import render
from suite.cli.terminal import joined, write
from suite.errors import BadRequest


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("tools", help="list the tools and call one", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    listing = group.add_parser("list", help="the tools, how sensitive each is, and what it takes")
    listing.set_defaults(run=run_list)
    call = group.add_parser("call", help="call a tool and print what it gives as JSON")
    call.add_argument("name", metavar="TOOL")
    call.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="VALUE is JSON where it is that (3, true, [\"a\"]), else text")
    call.add_argument("--actor", metavar="NAME", help="somebody who may do no more than MCP_USER_ID")
    call.set_defaults(run=run_call)
    for parser in (listing, call):
        parser.add_argument("--json", action="store_true")


def run_list(args: argparse.Namespace) -> int:
    """Every tool."""
    with joined() as bench:
        tools = bench.tools.list()
    if args.json:
        print(json.dumps([tool.to_dict() for tool in tools], ensure_ascii=False))
    else:
        rows = [[tool.name, tool.sensitivity, tool.permission, ", ".join(tool.schema.get("properties", {})), tool.description] for tool in tools]
        print(render.text_table(("tool", "sensitivity", "permission", "takes", "does"), rows))
    return 0


def run_call(args: argparse.Namespace) -> int:
    """Call one."""
    arguments = dict(_argument(text) for text in args.arguments)
    with joined() as bench:
        result = bench.tools.call(args.name, actor=args.actor, **arguments)
    write(json.dumps(result.to_dict() if args.json else result.value, ensure_ascii=False, indent=None if args.json else 2) + "\n")
    return 0


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(f"Argument {text[:80]!r} is not NAME=VALUE; write for example path=README.md.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
