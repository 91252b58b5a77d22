"""One alert rule as data: which series, over which window, compared with which limit, for how long it must last."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from suite.errors import SettingsError

OPS: dict[str, Callable[[float, float], bool]] = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq,
                                                 "!=": operator.ne}
SEVERITIES = ("critical", "warning", "info", "none")  # `none`: nobody is to act, it is the dead man's switch
UNITS = ("count", "state", "ratio", "seconds", "bytes", "celsius", "watts", "per_second")
_MATCHER = re.compile(r'^([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)"([^"\\\n]*)"$')
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Matcher:
    """A condition on one label, as Prometheus writes it: `=`, `!=`, `=~`, `!~`; a label that a series has not counts as empty."""

    label: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels meets it. Patterns cover the whole value."""
        value = labels.get(self.label, "")
        same = re.fullmatch(self.value, value) is not None if "~" in self.op else value == self.value
        return same != self.op.startswith("!")

    def __str__(self) -> str:
        return f'{self.label}{self.op}"{self.value}"'

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read `label="value"`. Raises SettingsError when it is written otherwise, or its pattern is none."""
        found = _MATCHER.match(text)
        if not found:
            raise SettingsError(f"The matcher {text!r} cannot be read; write it like status=~\"5..\", without backslashes.")
        matcher = cls(*found.groups())
        if "~" in matcher.op:
            if "(?" in matcher.value:
                raise SettingsError(f"The matcher {text!r} holds (?, which Prometheus has not all of; write it without.")
            try:
                re.compile(matcher.value)
            except re.error as error:
                raise SettingsError(f"The matcher {text!r} holds no pattern ({error}); mend it.") from error
        return matcher


@dataclass(frozen=True)
class Divisor:
    """What a ratio is divided by, and what is added to that; window, function, aggregate and `by` are the rule's."""

    metric: str
    matchers: tuple[Matcher, ...] = ()
    plus: Divisor | None = None

    def sums(self) -> tuple[Divisor, ...]:
        """All that is added up."""
        return (self, *(self.plus.sums() if self.plus else ()))


@dataclass(frozen=True)
class Query:
    """What a chart shows, calculated as the value of a rule is; `rest` is what is missing from it to 1, and `legend` names its lines: `{part}`."""

    metric: str
    matchers: tuple[Matcher, ...] = ()
    function: str = ""
    window: float = 0.0
    aggregate: str = ""
    by: tuple[str, ...] = ()
    ratio: Divisor | None = None
    quantile: float | None = None
    age: bool = False
    rest: bool = False
    legend: str = ""


@dataclass(frozen=True)
class Rule:
    """An alert rule. `window` and `hold` (the file's `for`) are seconds, `threshold` is in `unit`, `minimum` counts events in the window.

    The value is that of `metric` where `matchers` hold: as it is, its `function` (rate, increase) over the window, a `quantile` of a histogram over
    the window, or its age when it is a moment; then aggregated `by` labels, then divided by `ratio`. Each label set for which `value op threshold`
    holds makes an alert. `absent` is true when there is no series, once for each value of the label `each`; `always` is true.
    """

    name: str
    sentence: str
    severity: str
    metric: str = ""
    matchers: tuple[Matcher, ...] = ()
    function: str = ""
    window: float = 0.0
    aggregate: str = ""
    by: tuple[str, ...] = ()
    ratio: Divisor | None = None
    quantile: float | None = None
    absent: bool = False
    each: tuple[str, tuple[str, ...]] = ("", ())
    age: bool = False
    always: bool = False
    op: str = ">"
    threshold: float = 0.0
    unit: str = "count"
    hold: float = 0.0
    minimum: float = 0.0

    @property
    def key(self) -> str:
        """What tells this rule from all others: a name may be there once for each severity."""
        return f"{self.name}/{self.severity}"

    def counted(self) -> Divisor:
        """The series whose increase over the window is the traffic that `minimum` speaks of."""
        return self.ratio or Divisor(f"{self.metric}_count", self.matchers)

    def missing(self) -> tuple[tuple[Matcher, ...], ...]:
        """The matchers of each series that `absent` looks for."""
        label, values = self.each
        return tuple((*self.matchers, Matcher(label, "=", value)) for value in values) if label else (self.matchers,)


def parse_duration(text: str) -> float:
    """Seconds of a duration like `90s`, `5m` or `1h30m`. Raises SettingsError when it is written otherwise."""
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SettingsError(f"The duration {text!r} cannot be read; write it like 90s, 5m or 1h30m.")
    return sum(int(number) * (0.001 if unit == "ms" else _SECONDS[unit]) for number, unit in parts)


def duration(seconds: float) -> str:
    """A duration as Prometheus writes it, in the largest units that are whole: 5400 is `1h30m`."""
    left, text = round(seconds * 1000), ""
    for unit, size in _SECONDS.items():
        whole, left = divmod(left, size * 1000)
        text += f"{whole}{unit}" if whole else ""
    return text + (f"{left}ms" if left else "") or "0s"
