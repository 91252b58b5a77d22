from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.memory.importance import DAY, KEPT_DAYS, expiry, importance

LONG = "The cat sat on the mat and looked at the rain for an hour. "


@given(st.text(max_size=200), st.text(max_size=3000))
def test_the_rule_stays_within_one_and_nine(question, reply):
    assert 1 <= importance(question, reply) <= 9


@pytest.mark.parametrize(("question", "reply", "expected"), [
    ("hi", "Hello!", 1),
    ("안녕하세요", "네!", 1),
    ("Where does the cat sit?", LONG, 5),
    ("Where does the cat sit?", "On the mat.", 4),
    ("Which port did we decide on?", LONG, 6),
    ("어떤 보안 정책을 결정했나요?", LONG, 7),
    ("How do I read a file?", "```python\nopen('a')\n```" + LONG, 6),
    ("Tell me a story.", LONG * 20, 6),
    ("Which security policy and backup plan?", "`x` " + LONG * 20, 9),
])
def test_the_rule_gives_what_its_table_says(question, reply, expected):
    assert importance(question, reply) == expected


@pytest.mark.parametrize("question", ["What is the history of the machine?", "This is which chip?", "I think so?"])
def test_a_word_inside_another_word_does_not_count(question):
    assert importance(question, LONG) == 5


def test_more_important_turns_are_kept_longer_and_a_ten_for_ever():
    kept = [KEPT_DAYS[level] for level in range(1, 10)]
    assert kept == sorted(kept) and len(KEPT_DAYS) == 10
    assert expiry(5, 100.0) == 100.0 + 30 * DAY
    assert expiry(10, 100.0) is None
