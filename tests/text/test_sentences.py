"""Sentences of Korean and English text."""

from hypothesis import given, strategies

from suite.text.sentences import sentences


def pieces(text):
    return [text[span.start:span.end] for span in sentences(text)]


def test_korean_sentences_end_at_their_marks():
    assert pieces("백업은 새벽 3시에 돕니다. 보관은 7일이에요! 왜요?") == ["백업은 새벽 3시에 돕니다.", "보관은 7일이에요!", "왜요?"]


def test_wide_marks_need_no_space_after_them():
    assert pieces("今日は晴れ。明日は雨！") == ["今日は晴れ。", "明日は雨！"]


def test_decimals_versions_and_file_names_are_not_cut():
    assert pieces("Version 3.11 of app.py uses 0.5 s. Done.") == ["Version 3.11 of app.py uses 0.5 s.", "Done."]


def test_abbreviations_and_initials_are_not_cut():
    assert pieces("Dr. Kim met J. Doe, e.g. on Monday. They spoke.") == ["Dr. Kim met J. Doe, e.g. on Monday.", "They spoke."]


def test_a_closing_quote_stays_with_its_sentence():
    assert pieces('He said "no." Then he left.') == ['He said "no."', "Then he left."]


def test_a_line_break_ends_a_sentence():
    assert pieces("제목\n본문입니다.\n\n- item one\n- item two") == ["제목", "본문입니다.", "- item one", "- item two"]


def test_a_wrapped_line_goes_on():
    assert pieces("The backup runs\nat three. It is kept.") == ["The backup runs\nat three.", "It is kept."]


def test_a_list_number_stays_with_its_item():
    assert pieces("1. 켠다.\n2. 끈다.") == ["1. 켠다.", "2. 끈다."]


def test_a_text_that_ends_in_an_abbreviation_still_ends():
    assert pieces("Bolts, nuts, etc.") == ["Bolts, nuts, etc."]


def test_blank_text_has_no_sentences():
    assert pieces(" \n\t ") == []


@given(strategies.text(alphabet="aB가。.!? \n\t1\"'", max_size=120))
def test_sentences_cover_all_but_white_space_and_never_overlap(text):
    end = 0
    for span in sentences(text):
        assert text[end:span.start].strip() == "" and span.end > span.start and text[span.start:span.end].strip() == text[span.start:span.end]
        end = span.end
    assert text[end:].strip() == ""
