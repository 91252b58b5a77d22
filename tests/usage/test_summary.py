"""Requests added up are what pandas makes of them, whatever the rows."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from suite.errors import BadRequest
from suite.usage.record import Usage
from suite.usage.summary import COLUMNS, KEYS, keys_of, quantile, summed, zone

OUTCOMES = ("ok", "fallback", "cancelled", "UpstreamError", "timeout")
SECONDS = some.floats(0, 1000, allow_nan=False)
USAGE = some.builds(Usage, at=some.floats(1.7e9, 1.8e9), who=some.sampled_from(["ann", "bob"]), alias=some.sampled_from(["chat-7b", "code-7b"]),
                    model=some.sampled_from(["m", "한"]), server=some.sampled_from(["", "s"]), prompt_tokens=some.integers(0, 9000),
                    tokens=some.integers(0, 900), cached=some.integers(0, 90), seconds=SECONDS, outcome=some.sampled_from(OUTCOMES),
                    queue_seconds=some.none() | SECONDS, first_seconds=some.none() | SECONDS)
ONE = Usage(at=1000.0, who="ann", alias="chat-7b", model="qwen", server="s", prompt_tokens=10, tokens=4, cached=6, seconds=0.5, outcome="ok")


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink what pandas works on takes minutes
@given(some.lists(USAGE, max_size=30), some.sets(some.sampled_from(sorted(KEYS)), min_size=1, max_size=3).map(sorted))
def test_groups_are_those_of_pandas(rows: list[Usage], by: list[str]) -> None:
    found = summed(rows, by)
    assert [row["requests"] for row in found] == sorted((row["requests"] for row in found), reverse=True)
    table = pd.DataFrame([row.to_dict() for row in rows], columns=list(Usage.__dataclass_fields__))
    here = pd.to_datetime(table["at"].astype(float), unit="s", utc=True).dt.tz_convert("Asia/Seoul")
    table["hour"], table["day"] = here.dt.hour, here.dt.strftime("%Y-%m-%d")
    groups = dict(tuple(table.groupby(by))) if rows else {}
    assert {tuple(row[name] for name in by) for row in found} == set(groups)
    for row in found:
        group = groups[tuple(row[name] for name in by)]
        answered = group[group["outcome"].isin(["ok", "fallback"])]
        decided = group[group["outcome"] != "cancelled"]
        expected = {"requests": len(group), "success": len(answered) / len(decided) if len(decided) else None,
                    "fallbacks": int((group["outcome"] == "fallback").sum()), "cancelled": len(group) - len(decided),
                    "failed": len(decided) - len(answered), **{name: int(group[name].sum()) for name in ("prompt_tokens", "cached", "tokens")}}
        for stage in ("seconds", "first", "queue"):
            values = answered[stage if stage == "seconds" else f"{stage}_seconds"].astype(float).dropna()
            expected |= {f"{stage}_p{share}": values.quantile(share / 100) if len(values) else None for share in (50, 95)}
        assert row == pytest.approx({**{name: row[name] for name in by}, **expected}) and set(row) == {*by, *COLUMNS}


@pytest.fixture(autouse=True, scope="module")
def seoul() -> object:
    """A zone that is not UTC, for the whole module."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    yield
    patch.undo()
    time.tzset()


def test_hours_and_days_are_local_and_the_zone_has_a_name() -> None:
    (row,) = summed([replace(ONE, at=1_767_279_600.0)], ["day", "hour"])  # 2026-01-01 15:00 UTC
    assert (row["day"], row["hour"]) == ("2026-01-02", 0) and zone(1_767_279_600.0) == "KST (UTC+09:00)"


def test_what_nobody_knows_is_none_and_not_nothing() -> None:
    (row,) = summed([replace(ONE, outcome="cancelled")], ["alias"])
    assert row["success"] is None and row["seconds_p50"] is None and row["first_p95"] is None
    assert quantile([], 0.5) is None and quantile([3.0], 0.95) == 3.0 and math.isclose(quantile([0.0, 10.0], 0.95) or 0, 9.5)


def test_keys_are_named_singly_with_commas_or_in_a_list() -> None:
    assert keys_of("alias") == ("alias",) and keys_of(" alias, hour ,") == ("alias", "hour") == keys_of(["alias", "hour"]) and keys_of("") == ()
    with pytest.raises(BadRequest, match="by is 'prompt' but must be of who, alias, model, server, outcome, day, hour"):
        keys_of("alias,prompt")
