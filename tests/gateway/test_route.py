from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.gateway.route import ENGLISH, KOREAN, route, route_text

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


@pytest.mark.parametrize("text", [
    "report.json을 요약해 줘", "python.pdf 는 몇 쪽이야?", "notes/api.md 에 무엇이 적혀 있지?", "https://code.example.org/sql 은 무슨 사이트야?",
    "예산(안); 점심", "the member(s); the guest(s) {two}", "class trip: what shall we bring?", "import taxes went up again, why?",
    "ERD-script.hwp 요약", "C:\\docs\\regex.docx 를 번역해 줘",
])
def test_words_inside_names_of_documents_and_plain_brackets_do_not_count(text):
    assert not route([{"role": "user", "content": text}]).code


@pytest.mark.parametrize(("text", "word"), [
    ("main.py 를 고쳐 줘", "source file"), ("app.tsx에서 왜 안 되지", "source file"), ("json.loads는 어떻게 써?", "json"), ("설명해 줘:\n```\nx\n```", "code fence"),
    ("async def run(x): 뭐야", "Python definition"), ("class Box: 는 뭐지", "Python definition"), ("import numpy as np\n왜?", "import line"), ("draw(3); 는?", "C-like"),
])
def test_source_files_and_marks_of_code_count(text, word):
    decided = route([{"role": "user", "content": text}])
    assert decided.code and word in decided.why


WORDS = st.sampled_from([*ENGLISH, *KOREAN, "점심", "lunch", "```", "main.py", "\n", "def f(x):"]).flatmap(
    lambda word: st.text(max_size=20).map(lambda text: f"{text} {word} {text}"))


@given(before=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), WORDS), max_size=5), last=WORDS,
       after=st.lists(st.tuples(st.sampled_from(["system", "assistant", "tool"]), WORDS), max_size=3))
def test_nothing_but_the_last_words_of_the_user_changes_the_route(before, last, after):
    turns = [{"role": role, "content": text} for role, text in before] + [{"role": "user", "content": last}]
    turns += [{"role": role, "content": text} for role, text in after]
    assert route(turns) == route([{"role": "user", "content": last}]) == route_text(last)


@given(st.text(alphabet="/.\\~-ab0 (;{:`'\"\n", max_size=3000))
def test_no_text_makes_the_search_slow_or_fail(text):
    found = route_text(text * 20)
    assert found.why.startswith("auto: ") and found.code == (" means code" in found.why)
