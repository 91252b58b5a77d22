"""What running a release takes: all 33 checks from nothing on the smoke profile, and what the suite's engine adds to plain papermill."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.benchmark.row import SHARE, Limit
from suite.benchmark.scene import Scene
from suite.embedding.embed import Embedder
from suite.errors import RunFailed
from suite.runbooks.execute import execute
from suite.runbooks.plain import papermill_alone
from suite.settings import Settings, kernel_environment, load

WHOLE = Limit("33 checks of a release, cold, smoke profile: wall time", "s", "<=", 60.0)  # on two cores, weights included
SLOWEST = Limit("33 checks of a release: slowest round", "s", "<=")
ENGINE = Limit("executing phase 2 in the suite's engine", SHARE, "<=", 1.05, "papermill's own engine")
EXECUTED = Limit("executing phase 2 in the suite's engine: wall time", "s", "<=")
ROUND_S = 900
ENDS = (0, 3)  # READY and REHEARSAL: the time of a run that failed means nothing
STACK = "a stack for runbooks"


def whole(settings: Settings, rounds: int) -> list[dict[str, Any]]:
    """Wall seconds of `suite check --release` in a process of its own, each round on an empty data directory.

    What may stand against the release is that the tree was changed. Raises RunFailed when a round ends otherwise.
    """
    walls = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="suite-bench-") as folder:
            if not walls:  # the weights are fetched and converted before the clock starts
                Embedder(load({"profile": "smoke"}), settings.models_dir, Path(folder)).fetch()
            env = kernel_environment({"DATA_DIR": str(Path(folder) / "data"), "MODELS_DIR": str(settings.models_dir), "PORT_BASE": "auto",
                                      "SUITE_PROFILE": "smoke", "REPORTS_DIR": ""})
            command = [sys.executable, "-m", "suite", "check", "--release", "bench", "--stage", "dev", "--json"]
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=ROUND_S, env=env)
            walls.append(time.perf_counter() - began)
            _demand(done.returncode, done.stdout, done.stderr)
    return [WHOLE.row(statistics.median(walls)), SLOWEST.row(max(walls))]


def _demand(status: int, out: str, errors: str) -> None:
    """Whether what was timed is a release that went through. Raises RunFailed."""
    if status in ENDS:
        return
    try:
        results = json.loads(out)["results"]
        dirty = "-dirty" in results["facts"]["commit"] or any(row["id"] == "P1.5" and row["state"] == "fail" for row in results["checks"])
        others = [sentence for sentence in results["blocking"] if not sentence.startswith(("P1.5 ", "gate evidence: the tree"))]
    except (ValueError, KeyError) as error:
        raise RunFailed(f"the release ended with status {status}, so its time means nothing: {errors.strip()[-600:]}") from error
    if not dirty or others:
        raise RunFailed(f"the release did not go through, so its time means nothing: {'; '.join(others)[:600] or results['line']}")


def engine(scene: Scene, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The time of one runbook in the suite's engine beside papermill's own, in turns, on one stack that runs. Raises RunFailed when one fails."""
    scene.stack(STACK, reports_dir=str(scene.scratch / "executed"))
    given = {"settings": {"data_dir": str(scene.scratch / STACK.replace(" ", "-"))}}  # the runbook joins the stack of that folder
    settings = load({**given["settings"], "reports_dir": str(scene.scratch / "executed")})
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}

    def ours(number: int) -> None:
        report = execute("phase2_health", given, settings, progress=False)
        if report.verdict != "pass":
            raise RunFailed(f"phase 2 did not pass, so its time means nothing: {report.line}")

    def plain(number: int) -> None:
        papermill_alone("phase2_health", given, scene.scratch / f"plain-{number}.ipynb")

    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "a round to warm up")
        for name, run in (("ours", ours), ("plain", plain)) if number % 2 else (("plain", plain), ("ours", ours)):
            began = time.perf_counter()
            run(number)
            if number:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return [ENGINE.row(medians["ours"] / medians["plain"]), EXECUTED.row(medians["ours"], medians["ours"] / medians["plain"])]
