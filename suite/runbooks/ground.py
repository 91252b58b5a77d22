"""What a release stands on: the code, the inputs and the environment of a run, and the load that its figures were measured under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CODE = ("commit", "dirty_diff_sha256")
INPUTS = ("criteria_sha256", "settings_sha256", "models", "profile", "smoke")
ENVIRONMENT = ("packages_sha256", "machine", "python", "suite")
SHAPE = ("profile", "smoke", "models", "machine")
LOAD = ("route", "tokens", "levels", "users", "mix", "seed", "repeats")  # of a check's evidence: how the load was made
_WORDS = {"dirty_diff_sha256": "uncommitted changes", "criteria_sha256": "criteria", "settings_sha256": "settings", "packages_sha256": "packages",
          "smoke": "smoke models"}


def ground(results: Mapping[str, Any]) -> dict[str, Any]:
    """All that the outcome of the checks may depend on, by name."""
    return {_WORDS.get(key, key): _fact(results, key) for key in (*CODE, *INPUTS, *ENVIRONMENT)}


def shape(results: Mapping[str, Any]) -> dict[str, Any]:
    """What figures must share to be compared: profile, models, machine, and how the load was made."""
    found = {_WORDS.get(key, key): _fact(results, key) for key in SHAPE}
    for check in results["checks"]:
        for item in check.get("evidence") or []:
            load = {key: item[key] for key in LOAD if key in item}
            if load:
                found[f"load of {check['id']}"] = load
    return found


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two grounds, or two shapes, differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def known(ground: Mapping[str, Any]) -> bool:
    """Whether enough is recorded to say that two grounds are the same: a commit, and the digests of packages and criteria."""
    return all(ground.get(name) for name in ("commit", "packages", "criteria"))


def _fact(results: Mapping[str, Any], key: str) -> Any:
    """A fact as it was recorded; nothing recorded is the same as empty."""
    return (results.get("facts") or {}).get(key) or None
