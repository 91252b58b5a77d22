"""`suite check`: execute a phase's runbook, archive it, say the verdict. Exit 0 all pass, 1 not, 2 could not run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from suite.errors import BadRequest, SuiteError

PHASES = {"phase2": "phase2_health", "phase3": "phase3_monitoring", "phase5": "phase5_validation"}
OTHERS = ("backup", "restore_drill", "review_security", "failover", "load")  # runbooks besides the phases, executed only when they are named


def add(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser("check", help="execute release checks and archive the report", description=__doc__)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"which phases: {', '.join(PHASES)} (default: all); or "
                        f"{', '.join(OTHERS)}")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the runbook; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} of results instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Execute every phase asked for; the exit status is the worst of them."""
    from suite.runbooks.execute import execute

    reports, worst = [], 0
    try:
        names = [_runbook(phase) for phase in args.phases or PHASES]
        parameters = dict(_pair(text) for text in args.parameter)
        for name in names:
            reports.append(execute(name, parameters, progress=not args.json))
            worst = max(worst, 2 if reports[-1].trouble else 0 if reports[-1].verdict == "pass" else 1)
    except SuiteError as error:
        print(f"suite check could not run: {error}", file=sys.stderr)
        worst = 2
    if args.json:
        heads = [{key: value for key, value in report.to_dict().items() if key != "checks"} for report in reports]
        print(json.dumps({"rows": [row for report in reports for row in report.to_dict()["checks"]], "reports": heads}, ensure_ascii=False))
    else:
        for report in reports:
            print(report)
    return worst


def _runbook(phase: str) -> str:
    names = {**PHASES, **{value: value for value in (*PHASES.values(), *OTHERS)}, **{f"p{key[-1]}": value for key, value in PHASES.items()}}
    if phase.lower() not in names:
        raise BadRequest(f"There is no phase {phase!r}; there are: {', '.join((*PHASES, *OTHERS))}.")
    return names[phase.lower()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(f"-p was given {text!r} but needs NAME=VALUE, as in -p budget_s=60.")
    return name.strip(), value
