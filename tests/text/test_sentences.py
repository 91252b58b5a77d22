"""Sentences of Korean and English text."""

from itertools import pairwise

from hypothesis import given, strategies

from suite.text.blocks import blocks
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


def test_korean_endings_end_a_sentence_without_a_mark():
    assert pieces("백업은 새벽에 돕니다 점검은 세 시에 해요 어제는 쉬었다 오늘은 일한다 내일도") == [
        "백업은 새벽에 돕니다", "점검은 세 시에 해요", "어제는 쉬었다", "오늘은 일한다", "내일도"]


def test_korean_forms_that_carry_a_sentence_on_do_not_end_it():
    for text in ("서버를 켰다 고 말했다.", "비가 온다 면 쉰다.", "그러니까 내일 하자.", "필요 없는 것은 아니다 라고 썼다.", "모두 다 왔다.", "주요 항목은 셋이다."):
        assert pieces(text) == [text]


def test_headings_tables_and_code_are_one_sentence_each():
    code, table = "```sh\nls. Then go!\n\ncd /\n```", "| a | b |\n|---|---|\n| One. Two. | 3 |"
    assert pieces(f"# Title. More?\n\nText one. Text two.\n\n{code}\n{table}\nEnd.") == [
        "# Title. More?", "Text one.", "Text two.", code, table, "End."]


def test_an_underlined_line_is_a_heading_and_a_list_or_a_rule_is_none():
    assert [(block.kind, block.level, block.title) for block in blocks("Title\n=====\n\nText.\n\n- item\n---\n\nSub\n---\nEnd.\n")] == [
        ("heading", 1, "Title"), ("prose", 0, ""), ("heading", 2, "Sub"), ("prose", 0, "")]


def test_an_open_fence_reaches_to_the_end():
    assert [block.kind for block in blocks("Text.\n~~~\n# no heading\n")] == ["prose", "code"]


@given(strategies.lists(strategies.sampled_from(["# a\n", "```\n", "~~~\n", "| a | b |\n", "|---|---|\n", "text. \n", "\n", "===\n", "a | b\n", "    # x\n", "\r\n", "가다 나"])))
def test_blocks_are_the_whole_text(parts):
    text = "".join(parts)
    found = blocks(text)
    assert "".join(text[block.start:block.end] for block in found) == text
    assert all(before.end == after.start for before, after in pairwise(found)) and (not found or found[0].start == 0)
