"""Which language a text is in."""

import pytest

from suite.text.language import language


@pytest.mark.parametrize(("text", "expected"), [
    ("백업은 몇 시에 도나요?", "ko"),
    ("GPU 메모리는 얼마나 쓰나요?", "ko"),
    ("\u1112\u1161\u11ab\u1100\u1173\u11af", "ko"),
    ("When does the backup run?", "en"),
    ("reset password", "en"),
    ("Kubernetes Deployment 설정", "en"),
    ("The naïve café in Zürich is open", "en"),
    ("Wann läuft die Sicherung und wer ist der Besitzer?", "other"),
    ("Où est la gare et quand part le train pour Paris?", "other"),
    ("バックアップはいつですか", "other"),
    ("Когда идёт резервная копия?", "other"),
    ("12:30 — 99 %", "other"),
    ("", "other"),
])
def test_the_language_of_a_text_is_told_by_script_and_function_words(text, expected):
    assert language(text) == expected
