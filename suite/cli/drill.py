"""`suite drill`: break one thing per check on a throw-away stack and demand that the check turns red; `suite drill alerts`: have each alert rule
fire and end. Exit 0 all red, 1 not, 2 could not run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from suite.errors import SuiteError

ALERTS = "alerts"


def add(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser("drill", help="prove that checks can fail, and alerts fire", description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK",
                        help="a phase (P2) or single checks (P2.3), default: all; or `alerts`, and perhaps names of alert rules (PartDown)")
    parser.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} instead of lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Drill what was asked for, one stack per check or rule; the record of checks is kept in the reports directory."""
    return _alerts(args, args.checks[1:]) if args.checks[:1] == [ALERTS] else _checks(args)


def _checks(args: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from suite.bench import throwaway
    from suite.checks import criteria
    from suite.checks.drill import choose, drills
    from suite.runbooks.catalog import RUNBOOKS, STRESSED, stressing
    from suite.settings import load

    try:
        stress = stressing(args.checks)
        others = [name for name in args.checks if name.upper() not in {check.id.upper() for check in stress}]
        known = {check.id: check for checks in RUNBOOKS.values() for check in checks}.values()
        chosen = [*(choose(others, known) if others or not stress else []), *stress]
        settings = load()
        with tqdm(total=len(chosen), desc="drill", unit="check", disable=args.json) as bar:
            def announce(done: Any) -> None:
                bar.update()
                if not args.json:
                    bar.write(f"{done.id}  {'red' if done.red else 'NOT RED'} on {', '.join(done.on)}  {done.fault}: {done.why}")

            small = partial(throwaway, profile="smoke", models_dir=str(settings.models_dir), monitoring_interval=1)
            small = partial(small, **STRESSED) if stress else small
            rows = drills(chosen, small, criteria.load().under("smoke"), settings.reports_dir, announce)
    except SuiteError as error:
        print(f"suite drill could not run: {error}", file=sys.stderr)
        return 2
    return _told(rows, args.json, "was not proven red", f"proven red; recorded in {settings.reports_dir / 'drills.json'}")


def _alerts(args: argparse.Namespace, names: list[str]) -> int:
    from tqdm.auto import tqdm

    from suite.bench import throwaway
    from suite.checks.fire_drill import choose_fires, fire_drills
    from suite.settings import load

    try:
        chosen = choose_fires(names)
        with tqdm(total=len(chosen), desc="drill", unit="rule", disable=args.json) as bar:
            def announce(done: Any) -> None:
                bar.update()
                if not args.json:
                    fire = done.fire
                    bar.write(f"{fire.rule}  {'fired and ended' if done.red else 'NOT PROVEN'}  {fire.how}: {fire.sentence}: {done.why}")

            rows = fire_drills(chosen, partial(throwaway, profile="smoke", models_dir=str(load().models_dir)), announce)
    except SuiteError as error:
        print(f"suite drill could not run: {error}", file=sys.stderr)
        return 2
    return _told(rows, args.json, "was not proven", "alert rules fired, were told, and ended")


def _told(rows: Sequence[Any], as_json: bool, wrong: str, right: str) -> int:
    """Print the outcome, and give the exit status: 0 when all of them were proven."""
    failed = [row for row in rows if not row.red]
    if as_json:
        print(json.dumps({"rows": [row.to_dict() for row in rows]}, ensure_ascii=False))
        for row in failed:
            print(f"{row.to_dict()['id']} {wrong}: {row.why}", file=sys.stderr)
    else:
        print(f"{len(rows) - len(failed)} of {len(rows)} {right}")
    return 1 if failed else 0
