"""`suite check`: execute a phase's runbook, archive it, say the verdict. Exit 0 all pass, 1 not, 2 could not run.

With `--release NAME` all phases run on one stack and end in one sealed report: 0 READY, 1 NOT READY, 2 could not run, 3 REHEARSAL.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from suite.cli.signing import add_key_options, key_of
from suite.errors import BadRequest, SuiteError

ORDER = ("phase1_environment", "phase2_health", "phase3_monitoring", "phase4_configuration", "phase5_validation")
PHASES = {name.partition("_")[0]: name for name in ORDER}
OTHERS = ("backup", "restore_drill", "review_security", "failover", "load")  # runbooks besides the phases, executed only when they are named
RELEASE_ONLY = ("stage", "reports", "strict", "resume", "language", "key", "key_fd", "passphrase_fd", "time_limit")


def add(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser("check", help="execute release checks and archive the report", description=__doc__)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"which phases: {', '.join(PHASES)} (default: all); or "
                        f"{', '.join(OTHERS)}")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the runbook; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} of results instead of the table")
    parser.add_argument("--cell-limit", type=_seconds, default=0.0, metavar="SECONDS", help="how long one cell may take (default: half an hour)")
    group = parser.add_argument_group("a release")
    group.add_argument("--release", metavar="NAME", help="run all phases on one stack and seal the report under this name")
    group.add_argument("--stage", choices=("dev", "staging", "prod"), help="what the release is for (default: the stage of the settings)")
    group.add_argument("--reports", type=Path, metavar="DIR", help="the archive (default: the reports directory)")
    group.add_argument("--strict", action="store_true", default=None, help="a check that was not proven able to fail counts nothing")
    group.add_argument("--resume", nargs="?", const="last", metavar="FOLDER", help="go on with a release that was broken off, after its last "
                       "finished phase (default: the newest of this name)")
    group.add_argument("--time-limit", type=_seconds, metavar="SECONDS", help="how long all phases together may take (default: no limit)")
    group.add_argument("--language", choices=("en", "ko"), help="of the final report (default: en)")
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Execute every phase asked for; the exit status is the worst of them, or the verdict of the release."""
    if args.release is not None:
        return _release(args)
    alone = [name for name in RELEASE_ONLY if getattr(args, name) is not None]
    if alone:
        raise BadRequest(f"--{alone[0].replace('_', '-')} is for a release; name it, as in --release R1.")
    return _phases(args)


def _phases(args: argparse.Namespace) -> int:
    from suite.runbooks.execute import Ways, execute

    reports, worst = [], 0
    try:
        names = [_runbook(phase) for phase in args.phases or PHASES]
        parameters = dict(_pair(text) for text in args.parameter)
        for name in names:
            reports.append(execute(name, parameters, progress=not args.json, ways=Ways(cell_limit=args.cell_limit)))
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


def _release(args: argparse.Namespace) -> int:
    from suite.bench import start
    from suite.runbooks.release import check_release
    from suite.settings import load

    os.umask(0o077)  # this process hosts the stack and is ours alone, so nothing that it writes is anybody else's to read
    try:
        settings = load()
        done = check_release(args.release, args.stage or settings.stage, settings, reports=args.reports,
                             phases=[_runbook(phase) for phase in args.phases] or None, parameters=dict(_pair(text) for text in args.parameter),
                             strict=bool(args.strict), resume=args.resume or "", progress=not args.json, language=args.language or "en",
                             key=key_of(args, settings), start=start, cell_limit=args.cell_limit, time_limit=args.time_limit or 0.0)
    except SuiteError as error:
        print(f"suite check could not run: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"rows": done.results["checks"], **done.to_dict()}, ensure_ascii=False))
    else:
        print(done)
    return done.exit


def _runbook(phase: str) -> str:
    names = {**PHASES, **{value: value for value in (*PHASES.values(), *OTHERS)}, **{f"p{key[-1]}": value for key, value in PHASES.items()}}
    if phase.lower() not in names:
        raise BadRequest(f"There is no phase {phase!r}; there are: {', '.join((*PHASES, *OTHERS))}.")
    return names[phase.lower()]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(f"-p was given {text!r} but needs NAME=VALUE, as in -p budget_s=60.")
    return name.strip(), value
