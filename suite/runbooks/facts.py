"""What a release was made with: commit, dirty diff, packages, machine, models and settings, as digests and plain facts without a secret."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from suite import __version__, checkout
from suite.checks.target import Target
from suite.errors import SuiteError
from suite.monitoring.gpu import gpus
from suite.runbooks.digest import of_json
from suite.runbooks.scrub import scrub
from suite.settings import Settings

MODELS = ("inference-chat", "inference-code")


def packages() -> list[str]:
    """Every installed distribution as `name==version`, in order."""
    return sorted({f"{found.metadata['Name']}=={found.version}" for found in metadata.distributions() if found.metadata["Name"]}, key=str.lower)


def dirty_diff() -> str:
    """sha256 of what the checkout has otherwise than its commit, tracked files only; of nothing where it is clean or no checkout."""
    root = Path(checkout.__file__).resolve().parent.parent
    try:
        diff = subprocess.run(["git", "-C", str(root), "diff", "HEAD", "--binary", "--no-ext-diff"], capture_output=True, timeout=30,
                              check=True).stdout
    except (OSError, subprocess.SubprocessError):
        diff = b""
    return hashlib.sha256(diff).hexdigest()


def machine() -> dict[str, Any]:
    """The machine without its name: system, processor, cores, memory in bytes, cards."""
    return {"system": platform.system(), "release": platform.release(), "architecture": platform.machine(), "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), "memory": psutil.virtual_memory().total,
            "cards": [{"name": card.name, "total": card.total, "driver": card.driver} for card in gpus()]}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def configuration(settings: Settings, criteria: str) -> dict[str, Any]:
    """What stays the same from the beginning of a release to its end, and what a run that is resumed must find again."""
    return {"commit": checkout.commit(), "dirty_diff_sha256": dirty_diff(), "packages_sha256": of_json(packages()), "criteria_sha256": criteria,
            "settings_sha256": settings.digest(), "python": sys.version.split()[0], "suite": __version__}


def without_places(value: Any) -> Any:
    """The value without the folders and names of this machine's user; of settings, secrets are not among the values."""
    return scrub(value)


def stack(target: Target | None) -> dict[str, Any]:
    """What the stack says of itself: `host` and `parts` as `/v1/parts` has them, `models` (sha256 by name); empty where nobody answers.

    What could not be asked stands in `trouble`.
    """
    if target is None:
        return {"trouble": "there is no stack"}
    try:
        record: Mapping[str, Any] = target.parts() or {}
        models = {}
        for part in MODELS:
            for row in target.json("GET", part, "/v1/models").get("data", []):
                models |= {str(row["id"]): str(row["sha256"])} if row.get("id") and row.get("sha256") else {}
        return {**record, "models": models, "trouble": ""}
    except (SuiteError, ValueError, KeyError, AttributeError, TypeError) as error:
        return {"trouble": f"{type(error).__name__}: {error}"}
