"""Which role holds which permission: read from policy.toml, never from code."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from suite.access.permission import Effect, Permission, Sensitivity
from suite.errors import SettingsError

_EFFECTS = get_args(Effect)


class Policy:
    """The loaded policy: tools' permissions, `acts` that are permissions without a tool, roles' holdings, and the actors of a new database.

    `digest` is the sha256 of the file that it was read from, as 64 hex digits.
    """

    def __init__(self, tools: Mapping[str, Permission], roles: Mapping[str, frozenset[str]], actors: Mapping[str, str],
                 acts: Mapping[str, str] | None = None, digest: str = "") -> None:
        self.digest = digest
        self.tools, self.roles, self.actors, self.acts = dict(tools), dict(roles), dict(actors), dict(acts or {})

    def __repr__(self) -> str:
        return f"Policy({len(self.roles)} roles, {len(self.tools)} tools)"

    @property
    def permissions(self) -> tuple[str, ...]:
        """Every permission that there is, those of tools first."""
        return (*(row.name for row in self.tools.values()), *self.acts)

    def permission(self, tool: str) -> Permission | None:
        """The row of a tool; None when it has none."""
        return self.tools.get(tool)

    def holds(self, role: str, permission: str) -> bool:
        """Whether a role holds a permission; an unknown role holds nothing."""
        return permission in self.roles.get(role, frozenset())

    def covers(self, role: str, other: str) -> bool:
        """Whether `role` may do all that `other` may; false when either is unknown."""
        return role in self.roles and other in self.roles and self.roles[other] <= self.roles[role]


def load_policy(file: Path | None = None) -> Policy:
    """Read a policy file, the packaged one when none is named.

    Raises SettingsError when it is missing, malformed, or speaks of roles or permissions that it does not define.
    """
    where = str(file) if file else "the packaged policy.toml"
    try:
        text = file.read_text(encoding="utf-8") if file else resources.files("suite.access").joinpath("policy.toml").read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The policy {where} cannot be read ({error}); mend the file or reinstall local-ai-suite.") from error
    try:
        return _policy(data, where, hashlib.sha256(text.encode()).hexdigest())
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"The policy {where} is malformed near {error}; compare it with the packaged policy.toml.") from error


def _policy(data: Mapping[str, Any], where: str, digest: str) -> Policy:
    tools = {tool: _row(tool, row, where) for tool, row in data["tools"].items()}
    acts = {str(name): str(sentence) for name, sentence in data.get("acts", {}).items()}
    known = {row.name for row in tools.values()} | acts.keys()
    roles = {name: _holdings(name, data["roles"], where) for name in data["roles"]}
    for role, holdings in roles.items():
        if strange := sorted(holdings - known):
            raise SettingsError(f"Role {role!r} in {where} holds {strange[0]!r}, which no tool and no act asks for; mend the name.")
    for actor, role in data.get("actors", {}).items():
        if role not in roles:
            raise SettingsError(f"Actor {actor!r} in {where} has the unknown role {role!r}; known are {', '.join(roles)}.")
    return Policy(tools, roles, data.get("actors", {}), acts, digest)


def _row(tool: str, row: Mapping[str, Any], where: str) -> Permission:
    numbers = {name: row.get(name, getattr(Permission, name)) for name in ("calls", "seconds", "burst")}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < (name == "seconds"):
            raise SettingsError(f"The row of {tool} in {where} has {name} = {value!r}; it must be a whole number from {int(name == 'seconds')} on.")
    effect, web, quick = row.get("effect", "changes"), row.get("web", False), row.get("quick", False)
    if effect not in _EFFECTS or not isinstance(web, bool) or not isinstance(quick, bool):
        raise SettingsError(f"The row of {tool} in {where} has effect = {effect!r}, web = {web!r}; use one of {', '.join(_EFFECTS)}, and true or "
                            "false.")
    if strange := sorted(row.keys() - {"permission", "sensitivity", "effect", "web", "quick", *numbers}):
        raise SettingsError(f"The row of {tool} in {where} has {strange[0]!r}, which means nothing; remove it.")
    return Permission(tool, row["permission"], Sensitivity.parse(row["sensitivity"]), **numbers, effect=effect, web=web, quick=quick)


def _holdings(name: str, roles: Mapping[str, Any], where: str) -> frozenset[str]:
    found: set[str] = set()
    seen: list[str] = []
    while name:
        if name not in roles or name in seen:
            raise SettingsError(f"Roles in {where} include {name!r}, which is unknown or a circle ({' → '.join([*seen, name])}); mend `includes`.")
        seen.append(name)
        found |= set(roles[name]["permissions"])
        name = roles[name].get("includes", "")
    return frozenset(found)
