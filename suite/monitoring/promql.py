"""Alert rules in Prometheus' own language, and as the rule file that it loads."""

from __future__ import annotations

import json
from collections.abc import Sequence

from suite.monitoring.rule import Matcher, Query, Rule, duration
from suite.monitoring.sentence import template

FILE = "suite.rules.yml"
GROUP = "suite"


def expression(rule: Rule) -> str:
    """The rule's condition in PromQL: the series it gives are the alerts."""
    if rule.always:
        return "vector(1)"
    if rule.absent:
        return " or ".join(f"absent({selector(rule.metric, matchers)})" for matchers in rule.missing())
    condition = f"{_value(rule)} {rule.op} {number(rule.threshold)}"
    if rule.minimum:
        counted = rule.counted()
        traffic = f"sum by ({', '.join(rule.by)}) (increase({selector(counted.metric, counted.matchers)}[{duration(rule.window)}]))"
        condition += f" and {traffic} >= {number(rule.minimum)}"
    return condition


def query_expression(query: Query) -> str:
    """What a chart's query asks, in PromQL."""
    return f"1 - {_value(query)}" if query.rest else _value(query)


def rule_file(rules: Sequence[Rule], interval: float = 15.0) -> str:
    """YAML of a Prometheus rule file: one group, evaluated every `interval` seconds. Save it under a name that ends in `rules.yml`, like `FILE`."""
    lines = ["# Written by `suite monitoring export`; change suite/monitoring/rules.toml instead.", "groups:", f"  - name: {GROUP}",
             f"    interval: {duration(interval)}", "    rules:"]
    for rule in rules:
        lines += [f"      - alert: {rule.name}", f"        expr: {_quoted(expression(rule))}"]
        lines += [f"        for: {duration(rule.hold)}"] if rule.hold else []
        lines += ["        labels:", f"          severity: {rule.severity}", "        annotations:",
                  f"          summary: {_quoted(template(rule.sentence, rule.unit))}"]
    return "\n".join(lines) + "\n"


def selector(metric: str, matchers: Sequence[Matcher]) -> str:
    """A metric and the conditions on its labels."""
    return metric + (f"{{{', '.join(str(matcher) for matcher in matchers)}}}" if matchers else "")


def number(value: float) -> str:
    """A number as PromQL reads it, exactly."""
    return str(int(value)) if value == int(value) else repr(value)


def _value(rule: Rule | Query) -> str:
    if rule.quantile is not None:
        return _quantile(rule)
    value = _aggregated(rule, _reduced(rule, rule.metric, rule.matchers))
    if rule.ratio:
        divisors = [_aggregated(rule, _reduced(rule, one.metric, one.matchers)) for one in rule.ratio.sums()]
        value += f" / {divisors[0]}" if len(divisors) == 1 else f" / ({' + '.join(divisors)})"
    return value


def _reduced(rule: Rule | Query, metric: str, matchers: Sequence[Matcher]) -> str:
    series = selector(metric, matchers)
    if rule.function:
        return f"{rule.function}({series}[{duration(rule.window)}])"
    return f"time() - {series}" if rule.age else series


def _aggregated(rule: Rule | Query, series: str) -> str:
    if not rule.aggregate:
        return series
    return f"{rule.aggregate} by ({', '.join(rule.by)}) ({series})"


def _quantile(rule: Rule | Query) -> str:
    rates = f"rate({selector(f'{rule.metric}_bucket', rule.matchers)}[{duration(rule.window)}])"
    return f"histogram_quantile({number(rule.quantile or 0.0)}, sum by ({', '.join(('le', *rule.by))}) ({rates}))"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a YAML string in double quotes reads what JSON writes
