"""Which role holds which permission: read from policy.toml, never from code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from suite.access.permission import Permission, Sensitivity
from suite.errors import SettingsError

ASK_FROM = {"normal": Sensitivity.HIGH, "strict": Sensitivity.MEDIUM}  # SECURITY_MODE -> where approval begins


class Policy:
    """The loaded policy: tools' permissions, roles' holdings, and the actors of a new database."""

    def __init__(self, tools: Mapping[str, Permission], roles: Mapping[str, frozenset[str]], actors: Mapping[str, str]) -> None:
        self.tools, self.roles, self.actors = dict(tools), dict(roles), dict(actors)

    def __repr__(self) -> str:
        return f"Policy({len(self.roles)} roles, {len(self.tools)} tools)"

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
        return _policy(data, where)
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"The policy {where} is malformed near {error}; compare it with the packaged policy.toml.") from error


def _policy(data: Mapping[str, Any], where: str) -> Policy:
    tools = {tool: Permission(tool, row["permission"], Sensitivity.parse(row["sensitivity"])) for tool, row in data["tools"].items()}
    known = {row.name for row in tools.values()}
    roles = {name: _holdings(name, data["roles"], where) for name in data["roles"]}
    for role, holdings in roles.items():
        if strange := sorted(holdings - known):
            raise SettingsError(f"Role {role!r} in {where} holds {strange[0]!r}, which no tool asks for; mend the name.")
    for actor, role in data.get("actors", {}).items():
        if role not in roles:
            raise SettingsError(f"Actor {actor!r} in {where} has the unknown role {role!r}; known are {', '.join(roles)}.")
    return Policy(tools, roles, data.get("actors", {}))


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
