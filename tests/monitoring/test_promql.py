"""Rules in Prometheus' language; test_rules_prometheus.py lets the real one read them."""

from __future__ import annotations

import pytest

from suite.monitoring.load_rules import load_rules
from suite.monitoring.promql import FILE, expression, rule_file
from suite.monitoring.rule import Divisor, Matcher, Rule


def rule(**more: object) -> Rule:
    return Rule("R", "Look.", "info", **{"metric": "m", "threshold": 5.0} | more)  # type: ignore[arg-type]


BAD = (Matcher("status", "=~", "5.."),)


@pytest.mark.parametrize(("made", "text"), [
    (rule(), "m > 5"), (rule(op="==", threshold=0.05, matchers=BAD), 'm{status=~"5.."} == 0.05'), (rule(age=True), "time() - m > 5"),
    (rule(function="increase", window=5400), "increase(m[1h30m]) > 5"), (rule(aggregate="max", by=("a", "b")), "max by (a, b) (m) > 5"),
    (rule(function="rate", window=300, aggregate="sum", by=("a",), matchers=BAD, ratio=Divisor("m"), minimum=20),
     'sum by (a) (rate(m{status=~"5.."}[5m])) / sum by (a) (rate(m[5m])) > 5 and sum by (a) (increase(m[5m])) >= 20'),
    (rule(quantile=0.95, window=300, by=("a",), minimum=2.5), "histogram_quantile(0.95, sum by (le, a) (rate(m_bucket[5m]))) > 5"
                                                              " and sum by (a) (increase(m_count[5m])) >= 2.5"),
    (rule(absent=True), "absent(m)"), (rule(absent=True, each=("job", ("x", "y"))), 'absent(m{job="x"}) or absent(m{job="y"})'),
    (Rule("W", "Works.", "none", always=True), "vector(1)"), (rule(threshold=2e10), "m > 20000000000"), (rule(threshold=1e-7), "m > 1e-07"),
])
def test_a_rule_in_promql(made: Rule, text: str) -> None:
    assert expression(made) == text


def test_the_rule_file_holds_every_rule_with_its_severity_and_sentence() -> None:
    text = rule_file(load_rules(), interval=30)
    assert text.count("- alert: ") == len(load_rules()) and "interval: 30s" in text and FILE.endswith("rules.yml")
    assert '      - alert: GpuHot\n        expr: "suite_gpu_temperature_celsius > 87"\n        for: 5m\n        labels:\n          severity: warning\n' in text
    assert 'summary: "GPU {{ $labels.gpu }} is at {{ $value | printf \\"%.4g\\" }} °C and will slow down' in text
