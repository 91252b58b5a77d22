"""Phase 1 where the stack runs in containers: the engine that holds them, asked and not only found on PATH."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from urllib.parse import urlsplit

from suite.checks.check import Observation
from suite.checks.target import Target

ENGINE, COMPOSE = (20, 10), (2, 0)  # the first versions that are good enough
IN_CONTAINERS = ("engine_too_old", "compose_too_old", "daemon_silent", "compose_invalid")
SECONDS = 30


def docker(target: Target, seen: Observation) -> None:
    """P1.1 of a deployment by base_urls: versions as numbers, the daemon answers, and every compose file that is in use can be rendered."""
    if any(urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1") for url in target.urls.values()):
        seen.not_applicable = "the containers run on another machine, whose engine cannot be asked from here; run this check there"
        return
    engine = _asked(target, seen, "version", "--format", "{{json .}}")
    server = str(((engine or {}).get("Server") or {}).get("Version") or "")
    compose = _asked(target, seen, "compose", "version", "--format", "json") or {}
    seen.values |= {"daemon_silent": int(not server), "engine_too_old": _too_old(server, ENGINE),
                    "compose_too_old": _too_old(str(compose.get("version") or ""), COMPOSE)}
    about = _asked(target, seen, "info", "--format", "{{json .}}") or {}
    seen.note("engine", version=server, compose=compose.get("version"), kernel=about.get("KernelVersion"), cgroup=about.get("CgroupVersion"),
              runtimes=sorted(about.get("Runtimes") or {}))
    projects = _asked(target, seen, "compose", "ls", "--format", "json")
    if projects is not None:
        files = {row.get("Name"): str(row.get("ConfigFiles") or "").split(",") for row in projects}
        invalid = [name for name, paths in files.items()
                   if not _ran(target, seen, "compose", *[part for path in paths for part in ("-f", path)], "config", "--quiet")[0]]
        seen.values["compose_invalid"] = len(invalid) if files else None
        seen.note("compose", projects=files, invalid=invalid)
    seen.values["unseen"] = sum(seen.values.get(name) is None for name in IN_CONTAINERS)


def _too_old(version: str, least: tuple[int, int]) -> int | None:
    """1 for a version below the least, 0 for another, None for one that cannot be read."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return None if found is None else int(tuple(map(int, found.groups())) < least)


def _asked(target: Target, seen: Observation, *arguments: str) -> Any:
    """The JSON that docker prints, or None."""
    worked, text = _ran(target, seen, *arguments)
    try:
        return json.loads(text) if worked else None
    except ValueError:
        seen.note("refused", reason=f"docker {' '.join(arguments)} printed no JSON: {text[:200]}")
        return None


def _ran(target: Target, seen: Observation, *arguments: str) -> tuple[bool, str]:
    try:
        done = subprocess.run([*target.surroundings.docker, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        seen.note("refused", reason=f"docker {arguments[0]} could not be asked: {error}")
        return False, ""
    if done.returncode:
        seen.note("refused", reason=f"docker {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[:300]}")
    return not done.returncode, done.stdout
