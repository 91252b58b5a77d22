"""`suite mcp`: the tools of the running stack over MCP on standard input and output, for clients that start their servers."""

from __future__ import annotations

import argparse
from pathlib import Path

from suite.errors import StartError
from suite.settings import load


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    commands.add_parser("mcp", help="serve the tools over MCP on stdin and stdout").set_defaults(run=run_mcp)


def run_mcp(_args: argparse.Namespace) -> int:
    """Serve until the client closes the pipe; raises StartError when no stack runs."""
    from suite import host
    from suite.guest import ANSWER_SECONDS
    from suite.http.client import Client
    from suite.http.remote_approvals import RemoteApprovals
    from suite.http.remote_shelf import RemoteShelf
    from suite.http.remote_tools import RemoteTools
    from suite.tools.server import serve_stdio

    record = host.read(load().data_dir / "run")
    if record is None or not record.alive():
        raise StartError("Nothing runs on this data directory; `suite up` starts the stack whose tools are served.")
    with Client(record.url("mcp-server"), record.token(), timeout=ANSWER_SECONDS) as client:
        serve_stdio(RemoteTools(client), RemoteApprovals(client), RemoteShelf(client), Path.cwd())
    return 0
