from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.memory.importance import DAY, HOUR, KEPT_DAYS, expiry, importance

LONG = "The cat sat on the mat and looked at the rain for an hour. " * 3


@given(st.text(max_size=300), st.text(max_size=3000), st.booleans(), st.booleans(), st.booleans())
def test_the_level_stays_within_its_bounds_and_the_rules_say_how_it_came_about(question, reply, coder, saved, important):
    found = importance(question, reply, coder=coder, saved=saved, important=important)
    assert found.level == 10 if saved else (8 if important else 1) <= found.level <= 9
    if not saved and not important and not found.rules[-1].startswith("only"):
        steps = [int(rule.rsplit(": ", 1)[1]) for rule in found.rules]
        assert found.level == max(1, min(9, sum(steps)))


@pytest.mark.parametrize(("question", "reply", "expected"), [
    ("hi", "Hello!", 1),
    ("안녕하세요", "네!", 1),
    ("고마워요, 감사합니다", "천만에요.", 3),  # 고마워 is none of the original's words, so one small matter is named
    ("Where does the cat sit?", LONG, 5),
    ("Where does the cat sit?", "On the mat.", 4),
    ("Which configuration is it?", LONG, 6),
    ("Which security policy and which architecture and which plan?", LONG, 8),
    ("어떤 보안 정책을 결정했나요?", LONG, 8),
    ("How do I read a file?", "```python\nopen('a')\n```" + LONG, 6),
    ("Tell me a story.", LONG * 6, 6),
    ("Tell me a story.", LONG * 13, 7),
    ("Tell me " + "a long story " * 20, LONG, 6),
    ("Is this a test, please check it?", LONG, 3),
])
def test_the_rules_give_what_their_table_says(question, reply, expected):
    assert importance(question, reply).level == expected


def test_the_code_model_and_what_a_person_says_count():
    assert importance("Where does the cat sit?", LONG, coder=True).level == 6
    assert importance("hi", "Hello!", important=True).level == 8
    assert importance("hi", "Hello!", saved=True).level == 10


@pytest.mark.parametrize("question", ["What is the history of the machine?", "Does this chip contest it?", "The planet is near.", "A checkered latest token."])
def test_a_word_inside_another_word_does_not_count(question):
    assert importance(question, LONG).rules == ("start: 5",)


def test_the_rules_that_fired_are_said():
    found = importance("Which error is it?", "`x` is wrong.")
    assert found.rules == ("start: 5", "names error: +1", "reply of 13 characters: -1", "code in the reply: +1") and found.level == 6


def test_more_important_turns_are_kept_longer_and_a_ten_for_ever():
    assert KEPT_DAYS == {1: 0, 2: 3, 3: 7, 4: 14, 5: 30, 6: 30, 7: 90, 8: 180, 9: 365, 10: None}
    assert expiry(5, 100.0) == 100.0 + 30 * DAY
    assert expiry(1, 100.0) == 100.0 + HOUR
    assert expiry(10, 100.0) is None
