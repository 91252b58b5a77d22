"""`suite bench`: measurements, each with the limit it is held to where one is set."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from suite.errors import RunFailed, SuiteError

LIMIT_S = 15.0  # wall time of phase 2 on the smoke profile, cold, on two cores
ROUND_S = 600


def add(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser("bench", help="measure", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    phase2 = kinds.add_parser("phase2", help="wall seconds of the phase 2 runbook, cold, on the smoke profile")
    phase2.add_argument("--rounds", type=int, default=3, metavar="N", help="how many runs the median is taken of (default 3)")
    phase2.add_argument("--json", action="store_true", help="print one object {\"rows\": [...]} instead of lines")
    phase2.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; exit 0 when every limit is met, 1 when not, 2 when it could not be measured."""
    try:
        rows = phase2(max(1, args.rounds))
    except SuiteError as error:
        print(f"suite bench could not measure: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"rows": rows}))
    else:
        for row in rows:
            held = "" if row["limit"] is None else f"  ({row['op']} {row['limit']:g} {row['unit']}: {'met' if row['met'] else 'NOT MET'})"
            print(f"{row['name']}  {row['value']:.2f} {row['unit']}{held}")
    return 0 if all(row["met"] is not False for row in rows) else 1


def phase2(rounds: int) -> list[dict[str, Any]]:
    """Wall seconds of `papermill runbooks/phase2_health.ipynb` in a process of its own: weights cached and converted, nothing else kept.

    Raises RunFailed when a round does not pass, because the time of a failed run means nothing.
    """
    from suite.embedding.embed import Embedder
    from suite.settings import load, package_file

    settings = load({"profile": "smoke"})
    walls = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="suite-bench-") as folder:
            if not walls:  # the weights are fetched and converted before the clock starts
                Embedder(settings, settings.models_dir, Path(folder)).fetch()
            data = Path(folder) / "data"
            own = {"data_dir": str(data), "models_dir": str(settings.models_dir), "port_base": "auto"}
            command = [sys.executable, "-m", "papermill", str(package_file("runbooks/phase2_health.ipynb")), str(Path(folder) / "out.ipynb"),
                       "--no-progress-bar", "-k", "python3", "-y", json.dumps({"profile": "smoke", "settings": own})]
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=ROUND_S)
            walls.append(time.perf_counter() - began)
            if done.returncode:
                raise RunFailed(f"Phase 2 ended with status {done.returncode}, so its time means nothing: {done.stderr.strip()[-600:]}")
    return [_row("phase 2, cold, smoke profile: wall time", statistics.median(walls), LIMIT_S),
            _row("phase 2, cold, smoke profile: slowest round", max(walls), None)]


def _row(name: str, value: float, limit: float | None) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": "s", "op": "<", "limit": limit, "met": None if limit is None else value < limit,
            "peer": None, "ratio": None}
