"""The rules that say what to change at which load: runbooks/scaling.toml, looked at like the alert rules."""

from __future__ import annotations

from collections.abc import Mapping

from suite.monitoring.load_rules import INTERVAL, load_rules
from suite.monitoring.load_value import Known
from suite.monitoring.rule import Rule
from suite.settings import package_file


def scaling_rules(table: Mapping[str, Known] | None = None, interval: float = INTERVAL) -> tuple[Rule, ...]:
    """The rules, with severity info. `table` and `interval` are those of `load_rules`; raises SettingsError as it does."""
    return load_rules(package_file("runbooks/scaling.toml"), table, interval)
