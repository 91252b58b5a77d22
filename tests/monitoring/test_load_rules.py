"""A rule that could never fire, or always would, is refused with one sentence that says which, what and what next."""

from __future__ import annotations

from pathlib import Path

import pytest
from rule_scene import TABLE, Metric

from suite.errors import SettingsError
from suite.monitoring.load_rules import load_rules
from suite.monitoring.rule import Matcher, duration, parse_duration
from suite.monitoring.table import ROWS

GOOD = {"name": '"Slow"', "sentence": '"{part} is slow; look."', "severity": '"warning"', "metric": '"suite_request_seconds"', "quantile": "0.95",
        "window": '"5m"', "by": '["part"]', "op": '">"', "threshold": "2", "unit": '"seconds"', "minimum": "20"}
COUNT = {"metric": '"suite_requests_total"', "function": '"increase"', "quantile": None, "minimum": None, "aggregate": '"sum"', "unit": '"count"'}
LEVEL = {"metric": '"suite_host_cpu_ratio"', "quantile": None, "minimum": None, "window": None, "by": None, "unit": '"ratio"', "threshold": "0.8",
         "sentence": '"Busy; look."'}


def written(tmp_path: Path, changes: dict[str, str | None], text: str = "") -> Path:
    """A file with one rule: the good one, changed."""
    rule = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    file = tmp_path / "rules.toml"
    file.write_text("[[rule]]\n" + "".join(f"{key} = {value}\n" for key, value in rule.items()) + text, encoding="utf-8")
    return file


@pytest.mark.parametrize("changes", [{}, COUNT, LEVEL])
def test_a_good_rule_is_read(tmp_path: Path, changes: dict[str, str | None]) -> None:
    assert [rule.key for rule in load_rules(written(tmp_path, changes), TABLE)] == ["Slow/warning"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"treshold": "2"}, "has 'treshold', which means nothing"),
    ({"name": '"slow answers"'}, "has a name with other than letters"),
    ({"sentence": None}, "has no sentence"),
    ({"sentence": '"{{ $value }} is slow."'}, "has a brace that belongs to no {name}"),
    ({"severity": '"page"'}, "has severity = 'page'; use one of critical, warning, info, none"),
    ({"metric": '"suite_requests"'}, "speaks of the metric 'suite_requests_bucket', which nothing gives"),
    ({"metric": "7"}, "has metric = 7; it must be text"),
    ({"matchers": "['status_code=~\"5..\"']"}, "speaks of the label 'status_code', which suite_request_seconds_bucket has not"),
    ({"matchers": "['part==\"rag\"']"}, "cannot be read; write it like"),
    ({"matchers": "['part=~\"(\"']"}, "holds no pattern"),
    ({"matchers": "['part=~\"(?!rag).*\"']"}, "holds (?, which Prometheus has not all of"),
    ({**LEVEL, "absent": "true", "each": '{ job = [\'a"b\'] }'}, "cannot be read; write it like"),
    ({"by": '["endpoint"]', "sentence": '"Slow."'}, "speaks of the label 'endpoint'"),
    ({"by": None, "sentence": '"{part} is slow."'}, "says {part}, a label that its alerts have not"),
    ({"threshold": "60"}, "cannot see 60 in suite_request_seconds, whose highest bucket is 60; give it one of 90 or more"),
    ({"threshold": '"2"'}, "has threshold = '2'; it must be a number"),
    ({"threshold": "nan"}, "it must be a number"),
    ({"threshold": "inf"}, "it must be a number"),
    ({"threshold": None}, "compares with nothing; add op, threshold and unit"),
    ({"op": '"=>"'}, "has op = '=>'; use one of >, >="),
    ({"quantile": "95"}, "has quantile = 95; it must be between 0 and 1"),
    ({"window": '"30s"'}, "has a window of 30 s, too short for samples every 15 s; use 60s or more"),
    ({"window": '"5 minutes"'}, "The duration '5 minutes' cannot be read"),
    ({"window": None}, "has no window; add one, like 5m"),
    ({"for": '"2"'}, "The duration '2' cannot be read"),
    ({**COUNT, "function": '"irate"'}, "has function = 'irate'; use one of rate, increase"),
    ({**COUNT, "function": None}, "has a window and no function"),
    ({**COUNT, "function": None, "window": None}, "compares suite_requests_total, which only grows, so it would fire forever"),
    ({**COUNT, "threshold": "0", "op": '"<"'}, "can never fire, since no count is < 0"),
    ({**COUNT, "minimum": "20"}, "asks for 20 events and counts none"),
    ({**COUNT, "aggregate": None}, "has by = part and no aggregate"),
    ({**COUNT, "metric": '"suite_request_seconds"'}, "compares the histogram suite_request_seconds; add a quantile"),
    ({**COUNT, "ratio": '{ metric = "suite_requests_total" }'}, "is a ratio with a limit in count"),
    ({**COUNT, "ratio": '{ metric = "suite_requests_total" }', "unit": '"ratio"'}, "can never fire, since no ratio is > 2; use a limit between 0 and 1"),
    ({**COUNT, "ratio": '{ of = "suite_requests_total" }'}, "has ratio = "),
    ({**COUNT, "ratio": '{ metric = "gone" }', "unit": '"ratio"', "threshold": "0.5"}, "speaks of the metric 'gone'"),
    ({**COUNT, "quantile": "0.5"}, "has a quantile and a function"),
    ({**LEVEL, "threshold": "80"}, "can never fire, since no ratio is > 80; use a limit between 0 and 1"),
    ({**LEVEL, "unit": '"bytes"'}, "has a limit in bytes, but suite_host_cpu_ratio is in ratio"),
    ({**LEVEL, "function": '"rate"', "window": '"5m"'}, "takes the rate of suite_host_cpu_ratio, which is no counter"),
    ({**LEVEL, "each": '{ job = ["rag"] }'}, "has each without absent"),
    ({**LEVEL, "absent": "true", "aggregate": '"sum"'}, "looks for what is absent and calculates with it"),
    ({**LEVEL, "absent": '"yes"'}, "has absent = 'yes'; it must be true or false"),
    ({**LEVEL, "always": "true"}, "is always true and names the metric"),
    ({**LEVEL, "metric": None}, "names no metric"),
])
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_rules(written(tmp_path, changes), TABLE)
    assert said in raised.value.message and raised.value.message.startswith("Rule ") and "rules.toml" in raised.value.message


def test_a_name_may_be_there_once_for_each_severity(tmp_path: Path) -> None:
    file = written(tmp_path, {})
    once = file.read_text(encoding="utf-8")
    file.write_text(once + once.replace('"warning"', '"critical"'), encoding="utf-8")
    assert len(load_rules(file)) == 2
    file.write_text(once + once, encoding="utf-8")
    with pytest.raises(SettingsError, match="is there twice with one severity"):
        load_rules(file)


@pytest.mark.parametrize(("text", "said"), [("[[rule]\n", "cannot be read"), ("[rules]\n", "hold 'rules', which means nothing"),
                                            ("rule = 1\n", "hold no list of rules")])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rules.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said):
        load_rules(tmp_path / "rules.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_rules(tmp_path / "missing.toml")


def test_a_limit_may_follow_a_setting(tmp_path: Path) -> None:
    assert {rule.threshold for rule in load_rules(thresholds={"ApprovalOverdue": 900.0}) if rule.name == "ApprovalOverdue"} == {900.0}
    with pytest.raises(SettingsError, match="A limit is given for the rule 'Overdue'"):
        load_rules(thresholds={"Overdue": 1.0})


def test_the_packaged_rules_hold_against_the_table_of_metrics() -> None:
    assert len(load_rules(table=TABLE)) > 35 and load_rules(table=ROWS) == load_rules()  # those of the tests, and the suite's own
    short = TABLE | {"suite_request_seconds": Metric("histogram", "seconds", ("part", "route"), (0.1, 0.5, 1))}
    with pytest.raises(SettingsError, match="cannot see 2 in suite_request_seconds, whose highest bucket is 1"):
        load_rules(table=short)
    with pytest.raises(SettingsError, match="suite_audit_failures_total"):
        load_rules(table={name: row for name, row in TABLE.items() if name != "suite_audit_failures_total"})


@pytest.mark.parametrize(("text", "labels", "meets"), [
    ('a="x"', {"a": "x"}, True), ('a="x"', {}, False), ('a=""', {}, True), ('a!="x"', {}, True), ('a!="x"', {"a": "x"}, False),
    ('a=~"5.."', {"a": "503"}, True), ('a=~"5.."', {"a": "5031"}, False), ('a!~"x|y"', {"a": "y"}, False), ('a!~"x|y"', {"a": "yy"}, True)])
def test_matchers_cover_the_whole_value(text: str, labels: dict[str, str], meets: bool) -> None:
    assert Matcher.parse(text).matches(labels) is meets and str(Matcher.parse(text)) == text


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("7d", 604_800), ("26h", 93_600), ("500ms", 0.5), ("1w", 604_800)])
def test_durations_are_read_and_written(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds and parse_duration(duration(seconds)) == seconds
