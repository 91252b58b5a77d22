"""`suite report diff` and `suite report history`: what changed between releases, and how each check stood over all of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from suite.errors import StorageError


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare both verbs."""
    comparing = verbs.add_parser("diff", help="what changed from one release to another; 1 when anything is worse")
    comparing.add_argument("a", metavar="A", help="a release: its name, its folder, or a path")
    comparing.add_argument("b", metavar="B", help="the one to compare with it, usually the newer")
    comparing.add_argument("--history", type=int, default=20, metavar="N", help="how many releases before A tell drift from noise (default 20)")
    past = verbs.add_parser("history", help="per check: flaky, last green, last red; of one check its figures too")
    past.add_argument("check", nargs="?", default="", metavar="CHECK", help="only this one, such as P5.5")
    past.add_argument("--svg", type=Path, metavar="FILE", help="write the plot there")
    for parser, run in ((comparing, run_diff), (past, run_history)):
        parser.add_argument("--reports", type=Path, metavar="DIR", help="another archive than the settings' REPORTS_DIR")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=run)


def run_diff(args: argparse.Namespace) -> int:
    """Compare two releases; 1 when anything is worse."""
    from suite.cli.report import archive_of
    from suite.runbooks.diff import compare

    found = compare(archive_of(args), args.a, args.b, max(0, args.history))
    print(json.dumps(found.to_dict(), ensure_ascii=False) if args.json else found)
    return 1 if found.worse else 0


def run_history(args: argparse.Namespace) -> int:
    """Every check over the releases of the archive, or one of them."""
    from suite.cli.report import archive_of
    from suite.runbooks.history import history

    found = history(archive_of(args), args.check)
    if args.svg:
        try:
            args.svg.write_text(found.plot().svg, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"The plot {args.svg} cannot be written ({error.strerror}); name another file.") from error
    print(json.dumps({"rows": found.rows(), "figures": found.figures}, ensure_ascii=False) if args.json else found)
    return 0
