"""How long the release check of the nine parts takes from cold."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from suite.benchmark.row import Limit
from suite.embedding.embed import Embedder
from suite.errors import RunFailed
from suite.settings import load, package_file

WALL = Limit("phase 2, cold, smoke profile: wall time", "s", "<", 15.0)  # on two cores
SLOWEST = Limit("phase 2, cold, smoke profile: slowest round", "s", "<")
ROUND_S = 600


def phase2(rounds: int) -> list[dict[str, Any]]:
    """Wall seconds of `papermill runbooks/phase2_health.ipynb` in a process of its own: weights cached and converted, nothing else kept.

    Raises RunFailed when a round does not pass, because the time of a failed run means nothing.
    """
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
    return [WALL.row(statistics.median(walls)), SLOWEST.row(max(walls))]
