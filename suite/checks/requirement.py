"""Whether the installed packages are those that are demanded: by the suite itself and all that it needs, and by a lock where there is one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from suite.checks.packages import Package, canonical
from suite.errors import SettingsError

OURS = "local-ai-suite"
LOCK = "pylock.toml"  # the form that all installers share


def unmet(packages: Mapping[str, Package], start: str = OURS) -> tuple[list[str], set[str]]:
    """What `start` and all that it needs demand and do not get, in sentences, and the names of all these packages."""
    wrong, reached, waiting = [], {start}, [(start, frozenset({""}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    if start not in packages:
        return [f"{start} is not installed"], reached
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or name not in packages:
            continue
        seen.add((name, extras))
        for text in packages[name].requires:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                wrong.append(f"{name} demands {text!r}, which cannot be read")
                continue
            if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            other = canonical(wanted.name)
            reached.add(other)
            if other not in packages:
                wrong.append(f"{name} demands {text}, which is not installed")
            elif not _within(wanted.specifier, packages[other].version):
                wrong.append(f"{name} demands {text}, installed is {packages[other].version}")
            waiting.append((other, frozenset({"", *wanted.extras})))
    return sorted(set(wrong)), reached & packages.keys()


def python_fits(packages: Mapping[str, Package], version: str, start: str = OURS) -> bool:
    """Whether this version of Python is one that the suite is made for."""
    return start in packages and _within(SpecifierSet(packages[start].python), version)


def drift(packages: Mapping[str, Package], reached: set[str], lock: Path) -> list[str] | None:
    """How the installed packages differ from a lock file, in sentences; None when there is no such file.

    Each package of the lock that is for this machine must be there in its version, and each of `reached` must be in the lock. Raises SettingsError
    for a lock that cannot be read.
    """
    if not lock.is_file():
        return None
    try:
        rows = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
        locked = {canonical(row["name"]): str(row.get("version", "")) for row in rows if "marker" not in row or Marker(row["marker"]).evaluate()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"The lock {lock} cannot be read ({type(error).__name__}: {error}); write it anew with `pip lock`.") from error
    found = [f"{name} is not installed, locked is {version}" for name, version in locked.items() if name not in packages]
    found += [f"{name} is {packages[name].version}, locked is {version}" for name, version in locked.items()
              if name in packages and version and packages[name].version != version]
    return found + [f"{name} is not in the lock" for name in sorted(reached - locked.keys() - {OURS})]


def _within(wanted: SpecifierSet, version: str) -> bool:
    try:
        return wanted.contains(version, prereleases=True)
    except (InvalidVersion, InvalidSpecifier):
        return False
