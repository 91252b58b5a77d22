"""`suite ci`: what a CI job says of itself: `record` the result of the tests for check P4.2, `drills` which drills this commit is given.
Exit 0 good, 1 tests failed, 2 nothing could be recorded."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from suite.errors import BadRequest


def add(subparsers: Any) -> None:
    """Declare the commands and their options."""
    group = subparsers.add_parser("ci", help="record the result of the tests, choose drills by the commit", description=__doc__).add_subparsers(
        dest="action", required=True, metavar="action")
    record = group.add_parser("record", help="write the result file of the tests that have ended, for CI_RESULT; reports are copied beside it")
    record.add_argument("out", metavar="FILE", type=Path, help="the result file")
    record.add_argument("reports", metavar="STAGE=REPORT", nargs="+", help="a stage and its JUnit report, as in pytest=pytest.xml nbval=nbval.xml")
    record.add_argument("--commit", required=True, help="what was checked out when the tests began (git rev-parse HEAD)")
    record.add_argument("--started-at", required=True, help="when they began, UTC, ISO 8601 (date -u +%%Y-%%m-%%dT%%H:%%M:%%S+00:00)")
    record.add_argument("--job", default="", help="the job's number at the CI, for whoever looks for its log; a random one when empty")
    record.set_defaults(run=run_record)
    drills = group.add_parser("drills", help="the checks whose drills this commit is given, one per phase")
    drills.add_argument("--commit", default="", help="another commit than the one that is checked out")
    drills.set_defaults(run=run_drills)
    for parser in (record, drills):
        parser.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} instead of a line")


def run_record(args: argparse.Namespace) -> int:
    """Write the file; the status is 1 when a test failed or a stage ran none, and the file says so too."""
    from suite import checkout
    from suite.checks.tested import FINISHED, record

    args.out.unlink(missing_ok=True)  # of an earlier job, whatever is wrong with what was asked now
    done = record(args.out, args.commit, args.started_at, dict(_pair(text) for text in args.reports), args.job, commit_now=checkout.commit())
    if args.json:
        print(json.dumps({"rows": [done.to_dict()]}, ensure_ascii=False))
    else:
        stages = ", ".join(f"{stage.name} {stage.tests} tests, {stage.failed} failed, {stage.skipped} skipped" for stage in done.stages)
        print(f"{done.state}: {stages}; commit {done.commit}; written to {args.out}")
    return 0 if done.state == FINISHED else 1


def run_drills(args: argparse.Namespace) -> int:
    """Print the ids on one line, for `suite drill $(suite ci drills)`."""
    from suite import checkout
    from suite.checks.rotate import rotating
    from suite.runbooks.catalog import RUNBOOKS

    chosen = rotating((check for checks in RUNBOOKS.values() for check in checks), args.commit or checkout.commit())
    if args.json:
        print(json.dumps({"rows": [{"id": check.id, "phase": check.phase, "title": check.title} for check in chosen]}, ensure_ascii=False))
    else:
        print(" ".join(check.id for check in chosen))
    return 0


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name.isidentifier() or not path:
        raise BadRequest(f"A report was given as {text!r} but needs STAGE=REPORT, as in pytest=pytest.xml.")
    return name, Path(path)
