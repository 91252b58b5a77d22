"""`suite bench`: measurements, each with the limit it is held to where one is set."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.errors import SuiteError

KINDS = {
    "phase2": ("wall seconds of the phase 2 runbook, cold, on the smoke profile", 3),
    "serving": ("model servers beside llama.cpp alone and llama_cpp.server, on a random model of half a billion numbers", 3),
    "gateway": ("the gateway beside the same calls without it, and beside the LiteLLM proxy", 5),
    "memory": ("saving and recalling at up to a million turns, recall on a question set, and a backup while people write", 3),
    "tools": ("securing a tool call: in process, over MCP beside a bare server of the SDK, in the sandbox; and kills amid calls", 5),
    "monitoring": ("what watching costs and how soon it tells: rounds, counted requests beside uncounted, thirty days on disk, alerts, log lines", 5),
    "durability": ("kills at random moments, the same on SQLite and PostgreSQL, and the restore drill: nothing may be lost", 10),
    "release": ("what a release check costs: all checks from cold, the engine, sealing, verifying, an archive of a thousand releases", 3),
    "knowledge": ("indexing beside bare fastembed, retrieval among 100,000 chunks, memory, and the same job by LlamaIndex", 3),
}


def add(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    for kind, (sentence, rounds) in KINDS.items():
        one = kinds.add_parser(kind, help=sentence, description=sentence)
        counted = "how many kills there are" if kind == "durability" else "how many rounds the median is taken of"
        one.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"{counted} (default {rounds})")
        one.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} instead of lines")
        if kind not in ("phase2", "durability"):
            one.add_argument("--quick", action="store_true", help="less of everything in each round; the rows say so")
        if kind == "knowledge":
            one.add_argument("--data", type=Path, metavar="DIR", help="folder with question sets in SQuAD's format (*.json), such as KorQuAD and "
                             "XQuAD; without it quality is not measured, and the exit status is 2 at best")
            one.add_argument("--million", action="store_true", help="retrieval among a million chunks too: a quarter of an hour more, and "
                             "8 GB of disk in TMPDIR and 9 GB of memory meanwhile")
        one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; exit 0 when every limit is met, 1 when not, 2 when it could not be measured."""
    from suite.benchmark.row import line, status

    try:
        rows = _measured(args)
    except SuiteError as error:
        print(f"suite bench could not measure: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"rows": rows}) if args.json else "\n".join(line(row) for row in rows))
    return status(rows)


def _measured(args: argparse.Namespace) -> list[dict[str, Any]]:
    from suite.settings import load

    rounds = max(1, args.rounds)
    if args.kind == "phase2":
        from suite.benchmark.phase2 import phase2

        return phase2(rounds)
    measure: Callable[..., list[dict[str, Any]]]
    more: dict[str, Any] = {}
    if args.kind == "serving":
        from suite.benchmark.serving import serving as measure
    elif args.kind == "knowledge":
        from suite.benchmark.knowledge import knowledge as measure

        more = {"data": args.data, "million": args.million}
    elif args.kind == "memory":
        from suite.benchmark.memory import memory as measure
    elif args.kind == "tools":
        from suite.benchmark.tools import tools as measure
    elif args.kind == "monitoring":
        from suite.benchmark.monitoring import monitoring as measure
    elif args.kind == "durability":
        from suite.benchmark.durability import durability as measure
    elif args.kind == "release":
        from suite.benchmark.release import release as measure
    else:
        from suite.benchmark.gateway import gateway as measure
    return measure(load(), rounds, getattr(args, "quick", False), lambda text: print(f"suite bench: {text}", file=sys.stderr, flush=True), **more)
