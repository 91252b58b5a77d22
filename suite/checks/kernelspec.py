"""The kernels that Jupyter would start for this stack's notebooks and runbooks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

OURS = ("python3", "suite", "suite-gpu")  # runbooks run in the first; others are not this stack's


def broken_specs(folders: tuple[Path, ...]) -> tuple[list[str], list[str]]:
    """The kernelspecs of this stack that Jupyter finds, and those of them that could start nothing, in sentences."""
    found: dict[str, Path] = {}
    for folder in folders:
        for name in OURS:
            if (folder / name / "kernel.json").is_file():
                found.setdefault(name, folder / name / "kernel.json")
    broken = [f"{path}: {why}" for path in found.values() if (why := _wrong(path))]
    return [f"{name}: {path}" for name, path in found.items()], broken


def _wrong(path: Path) -> str:
    try:
        argv = json.loads(path.read_text(encoding="utf-8"))["argv"]
        program = str(argv[0])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    place = program if os.sep in program else shutil.which(program)
    if not place or not os.access(place, os.X_OK):
        return f"it would start {program}, which is no program here"
    return ""
