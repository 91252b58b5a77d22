from __future__ import annotations

import pytest

from suite.gateway.route import ENGLISH, KOREAN, route

CODE = [
    ("Write a Python program that sorts a list", "Python"),
    ("이 함수를 설명해 줘", "함수"),
    ("파이썬으로 파일을 읽으려면?", "파이썬"),
    ("자바스크립트에서 배열을 복사하기", "자바스크립트"),
    ("PYTHON으로 해 줘", "PYTHON"),
    ("def area(r):\n    return 3 * r * r", "Python definition"),
    ("왜 안 되지?\n```\nx = 1\n```", "code fence"),
    ("from pathlib import Path 가 뭐야?", "import line"),
    ("#include <stdio.h> does what?", "#include"),
    ("SELECT name FROM staff WHERE id = 3", "SQL query"),
    ("what prints print(3)", "print call"),
    ("리팩토링해 줄래", "리팩토링"),
]
CHAT = [
    "Information for the classic museum: what is the best class trip?",
    "회의 일정을 알려 줘",
    "백업은 몇 시에 도나요?",
    "Which codec do they use in the encoder?",
    "I import wine from France",
    "The committee will return for a while",
    "바코드 스캐너는 어디에 있나요?",
    "Please select a gift from the list",
    "드레스코드가 뭔가요",
    "apiary and scripture",
    "",
]


@pytest.mark.parametrize(("text", "word"), CODE)
def test_what_speaks_of_code_goes_to_code_and_the_word_is_named(text, word):
    decided = route([{"role": "user", "content": text}])
    assert decided.code and word in decided.why


@pytest.mark.parametrize("text", CHAT)
def test_words_inside_other_words_do_not_count(text):
    assert not route([{"role": "user", "content": text}]).code


def test_only_the_last_words_of_the_user_count():
    turns = [{"role": "system", "content": "You write Python code."}, {"role": "user", "content": "Write a python function"},
             {"role": "assistant", "content": "def f(): pass"}, {"role": "user", "content": "고마워! 점심은 뭐 먹지?"},
             {"role": "assistant", "content": "code"}]
    assert not route(turns).code
    assert route(turns[:2]).code
    assert not route([]).code


@pytest.mark.parametrize("word", [*ENGLISH, *KOREAN])
def test_every_listed_word_is_found_between_other_words(word):
    assert route([{"role": "user", "content": f"그럼 {word} 말이야"}]).code
