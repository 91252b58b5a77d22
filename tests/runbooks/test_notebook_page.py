"""An executed notebook as a page: an anchor at each check, and nothing that runs, loads, or covers the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser_stage
import nbformat
import pytest
from fake_stack import TOKEN, FakeStack
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from suite.checks.result import MIME
from suite.errors import BadRequest
from suite.runbooks.execute import execute
from suite.runbooks.final import write_html
from suite.runbooks.final_clean import _ATTRIBUTES, _TAGS, _VOID, clean
from suite.settings import load

PIECES = ["<script>", "</script>", "<style>", "</style>", "<b>", "</b>", "<div style='position:fixed;top:0'>", "</div>", "<table><tr><td>", "</td>",
          "<img src=x onerror=alert(1)>", "<img src='data:image/png;base64,AA=='>", "<a href='javascript:alert(1)'>", "<a href='https://example.org'>", "</a>",
          "<iframe src='https://example.org'></iframe>", "<meta http-equiv=refresh content='0;url=//example.org'>", "<svg onload=alert(1)>", "</svg>", "<!--",
          "-->", "<base href='//example.org'>", "<form action='//example.org'><input autofocus onfocus=alert(1)>", "text", "&lt;script&gt;", "<", ">", "\"", "'",
          "<style/>", "<b/>", "<br>", "<template>", "<p title='\"><script>alert(1)</script>'>", "<rect fill='url(//example.org)'/>", "<![CDATA[", "<?php"]


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS and all(name in _ATTRIBUTES for name, _ in attrs), (tag, attrs)
        for name, value in attrs:
            assert name != "src" or value.startswith("data:image/"), value
            assert name != "href" or re.match(r"https?://|#", value), value
            assert name != "style" or not re.search("url|position", value), value
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_whatever_stands_in_an_output_only_known_tags_come_out_each_closed(html: str) -> None:
    cleaned = clean(html)
    reader = Balanced()
    reader.feed(cleaned)
    reader.close()
    assert reader.open == [] and clean(cleaned) == cleaned


def test_what_an_output_shows_is_kept_and_what_it_does_is_not() -> None:
    assert clean('<table><tr><td style="color:red" colspan="2">a &amp; b</td></tr></table>') == (
        '<table><tr><td style="color:red" colspan="2">a &amp; b</td></tr></table>')
    assert clean("<b>bold<script>alert(1)</script></b>after<style>b{}</style>") == "<b>bold</b>after"
    assert clean("<svg viewBox='0 0 1 1'><path d='M0 0'/></svg>") == '<svg viewbox="0 0 1 1"><path d="M0 0"></path></svg>'
    assert clean('<div style="background:u\\72l(//x)">x</div>') == "<div>x</div>" and clean("<p>one<p>two") == "<p>one<p>two</p></p>"
    assert clean("</div></td>loose") == "loose" and clean("<script>never ends") == ""


def page_of(tmp_path: Path, cells: list[Any]) -> str:
    path = tmp_path / "some.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return write_html(path).read_text(encoding="utf-8")


def test_each_kind_of_output_is_shown(tmp_path: Path) -> None:
    outputs = [new_output("stream", name="stdout", text="said\x1b[31m red\x1b[0m <b>"), new_output("error", ename="E", evalue="v", traceback=["\x1b[0;31mE\x1b[0m: v"]),
               new_output("display_data", {"text/html": "<i>rich</i>", "text/plain": "plain only"}),
               new_output("display_data", {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain": "a \"drawing\""}),
               new_output("display_data", {"image/png": "iVBORw0KGgo=\n", "text/plain": "a dot"}),
               new_output("display_data", {"text/markdown": "**strong** <script>x</script>"}),
               new_output("execute_result", {"text/plain": "'<plain>'"}, execution_count=3)]
    text = page_of(tmp_path, [new_markdown_cell("# The title\n\n- a `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script>"),
                              new_code_cell("x < 1", outputs=outputs, execution_count=3), new_code_cell("")])
    assert "<title>The title</title>" in text and "<td>1</td>" in text and '<pre class="in">x &lt; 1</pre>' in text and "[3]" in text
    assert "<pre>said red &lt;b&gt;</pre>" in text and "<pre>E: v</pre>" in text and "<i>rich</i>" in text and "plain only" not in text
    assert 'alt="a &quot;drawing&quot;" src="data:image/svg+xml;base64,' in text and 'src="data:image/png;base64,iVBORw0KGgo="' in text
    assert "<strong>strong</strong>" in text and "&#x27;&lt;plain&gt;&#x27;" in text and "<script" not in text and text.count('class="cell"') == 1
    assert text.count("&lt;script&gt;") == 2, "HTML in prose is shown as text"


def test_an_image_that_is_none_is_left_out(tmp_path: Path) -> None:
    text = page_of(tmp_path, [new_code_cell("x", outputs=[new_output("display_data", {"image/png": 'AA" onerror="alert(1)'})])])
    assert "onerror" not in text and "src=" not in text


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    for content in ("", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "no json"):
        (tmp_path / "bad.ipynb").write_text(content, encoding="utf-8")
        with pytest.raises(BadRequest, match="it is no notebook"):
            write_html(tmp_path / "bad.ipynb")
    assert not (tmp_path / "bad.html").exists()


@pytest.mark.skipif(browser_stage.PROGRAM is None, reason="no Chromium on this machine")
def test_a_runbook_that_ran_is_a_page_with_an_anchor_for_each_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    with FakeStack().served() as urls:
        report = execute("phase2_health", {"base_urls": urls, "token_env": "THE_TOKEN"}, load(), progress=False)
    path = write_html(report.path)
    said: list[str] = []
    with browser_stage.page(said, "dark") as opened:
        opened.goto(path.as_uri())
        assert opened.title() == nbformat.read(report.path, 4).cells[0].source.splitlines()[0].removeprefix("# ")
        for number in range(1, 10):
            cell = opened.locator(f".cell:has(a[id='P2.{number}'])")
            assert cell.count() == 1 and f'run.check("P2.{number}")' in cell.inner_text() and f"P2.{number} " in cell.locator(".out").inner_text()
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == [path.as_uri()]


def test_a_check_that_was_recorded_twice_has_its_anchor_at_the_first_record(tmp_path: Path) -> None:
    again = [new_output("display_data", {MIME: [{"id": "P9.1"}, {"id": "P9.2"}], "text/plain": "both"})]
    text = page_of(tmp_path, [new_code_cell("one", outputs=[new_output("display_data", {MIME: {"id": "P9.1"}, "text/plain": "one"})]),
                              new_code_cell("two", outputs=again)])
    assert re.findall(r'<a id="([^"]+)"></a>', text) == ["P9.1", "P9.2"] and text.index('id="P9.1"') < text.index(">one<")
