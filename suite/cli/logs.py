"""`suite logs`: the log of the data directory, whether a stack runs or not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from suite.cli.terminal import write
from suite.settings import load


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("logs", help="the newest lines of the log, and with --follow those that come", description=__doc__)
    parser.add_argument("--since", default="", metavar="WHEN", help="30m, 12h, 7d, or a local time such as 2026-01-31T08:00; default: any")
    parser.add_argument("--until", default="", metavar="WHEN", help="the same; the end of what is shown")
    parser.add_argument("--level", default="", help="the least level: debug, info, warning, error or critical")
    parser.add_argument("--service", default="", help="one of the nine parts, or `stack`")
    parser.add_argument("--contains", default="", metavar="TEXT", help="a text that stands in the line")
    parser.add_argument("--request-id", default="", metavar="ID", help="what the response header X-Request-Id said")
    parser.add_argument("-n", type=int, default=100, metavar="N", help="how many lines at most (default: 100)")
    parser.add_argument("--follow", action="store_true", help="go on with lines as they come, until it is interrupted")
    parser.add_argument("--json", action="store_true", help="all keys; with --follow a JSON object for each line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the lines, the oldest first."""
    from suite.monitoring.log_query import Query
    from suite.monitoring.log_read import LogReader
    from suite.monitoring.logs import Logs

    asked = {name: getattr(args, name) for name in ("since", "until", "level", "service", "contains", "request_id", "n")}
    settings = load()
    reader = LogReader(settings.data_dir / "logs", settings.loki_retention)
    if args.follow:
        with Logs(reader).follow(**asked) as lines:
            for row in reader.newest(Query.of(**asked), before=lines.cursor):
                _show(row, args.json)
            for row in lines:
                _show(row, args.json)
        return 0
    rows = reader.newest(Query.of(**asked))
    if args.json:
        print(json.dumps({"rows": rows}))
    else:
        for row in rows:
            _show(row, False)
    return 0


def _show(row: Mapping[str, Any], whole: bool) -> None:
    if whole:
        write(json.dumps(row) + "\n")
        return
    when = datetime.fromisoformat(row["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    lines = [row["message"], *(row["error"] or "").splitlines()]
    write(f"{when} {row['level']:<8} {row['service']:<17} " + "\n    ".join(line for text in lines for line in text.splitlines()) + "\n")
