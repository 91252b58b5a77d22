"""What is read out of times, and rows and their verdicts."""

from __future__ import annotations

from suite.benchmark.figures import evenness, gaps, in_turns, paired, percentile, rate
from suite.benchmark.row import Limit, line, status

SHARE, FIGURE = Limit("share", "x", ">=", 0.9, "the peer"), Limit("figure", "tokens/s", ">=")


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.5, 0.75, 0.95, 0.0)] == [2.0, 3.0, 4.0, 1.0]


def test_a_paired_ratio_does_not_see_what_slowed_a_round_for_both() -> None:
    assert paired([10.0, 1.0, 100.0], [20.0, 2.0, 200.0]) == 0.5


def test_rate_counts_all_tokens_until_the_last_stream_ended() -> None:
    assert rate([{"tokens": 4, "marks": [1.0, 2.0]}, {"tokens": 6, "marks": [4.0, 5.0]}]) == 2.0


def test_a_stream_that_waits_for_another_to_end_is_seen() -> None:
    assert gaps([1.0, 2.0, 4.0]) == [1.0, 2.0]
    assert evenness([{"marks": [1.0, 2.0]}, {"marks": [3.0, 8.0]}]) == 0.25
    assert evenness([{"marks": [1.0, 4.0]}, {"marks": [2.0, 4.0]}]) == 1.0


def test_every_contender_gets_the_same_in_each_round_and_another_one_begins() -> None:
    order: list[tuple[str, int]] = []
    found = in_turns({name: lambda given, name=name: order.append((name, given)) or given for name in "abc"}, lambda turn: 10 * turn, 3)
    assert found == {name: [0, 10, 20] for name in "abc"}
    assert "".join(name for name, _ in order) == "abcbcacab"


def test_rows_say_what_they_are_held_to() -> None:
    good, bad, plain, absent = SHARE.row(0.95, note="2 threads"), SHARE.row(0.89), FIGURE.row(44.0), SHARE.unmeasured("no network")
    assert good == {"name": "share (2 threads)", "value": 0.95, "unit": "x", "op": ">=", "limit": 0.9, "met": True, "peer": "the peer", "ratio": 0.95}
    assert (bad["met"], plain["met"], plain["ratio"], absent["met"], absent["value"]) == (False, None, None, None, None)
    assert [status(rows) for rows in ([good, plain], [good, bad, absent], [good, absent], [])] == [0, 1, 2, 2]
    assert [word in line(row) for word, row in (("NOT MET", bad), ("of the peer", good), ("44.00 tokens/s", plain), ("no network", absent))] == [True] * 4
