"""The `suite` command: one file per group, one sentence per error."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from suite import __version__
from suite.errors import SuiteError

GROUPS = ("stack", "chat", "index", "ask", "memory", "tools", "keys", "approvals", "audit", "check", "drill", "report", "ci", "bench", "models",
          "evaluate", "usage", "kernels", "mcp", "backup", "logs", "silences", "monitoring", "schedule")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status (0 good, 1 the answer is no, 2 it could not be done)."""
    parser = argparse.ArgumentParser(prog="suite", description="The Local AI Suite workbench.")
    parser.add_argument("--version", action="version", version=f"local-ai-suite {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for group in GROUPS:
        importlib.import_module(f"suite.cli.{group}").add(commands)
    parsed = parser.parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone (`| head -1`) can still be met
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more when it ends
        return 141
    except SuiteError as error:
        if parsed.debug:
            raise
        print(f"suite: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("suite: interrupted.", file=sys.stderr)
        return 130
