"""The final report: what stands in it, in both languages, on screen and on paper; and nothing in it runs or is fetched."""

from __future__ import annotations

import copy
import datetime
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser_stage
import made_releases as made
import pytest

from suite.checks.criteria import Waiver
from suite.errors import BadRequest, StorageError
from suite.runbooks import final_words
from suite.runbooks.catalog import RUNBOOKS
from suite.runbooks.final import SECTIONS, write_report
from suite.runbooks.final_checks import figure
from suite.runbooks.final_front import percent
from suite.runbooks.final_words import Words

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Seen(HTMLParser):
    """The tags, ids, links and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        assert not any(name.startswith("on") for name in given), given

    def handle_data(self, data: str) -> None:
        self.words += data


def release() -> dict[str, Any]:
    """One of every state, a crash, a risk, a waiver and a looser limit."""
    parts = ({"name": "part", "part": "api-gateway", "start_to_ready_s": 0.25}, {"name": "part", "part": "rag", "start_to_ready_s": 1.5})
    found = made.release("4.2", {
        "P1.2": made.check("P1.2", not_applicable="the profile declares no GPU"), "P1.3": made.not_run("P1.3", "its cell was not executed"),
        "P2.1": made.check("P2.1", {"slowest": 3.75}, evidence=parts), "P3.4": made.check("P3.4", raises="connection refused"),
        "P4.4": made.check("P4.4", {"broken": 1}, waiver=Waiver("kim", datetime.date(2099, 1, 31), "the proxy comes in March")),
        "P5.5": made.check("P5.5", {"slowest": 2.75}, evidence=({"name": "seconds", "route": "POST /v1/chat/completions", "n": 60, "min": 0.1, "p50": 0.2, "p95": 2.75,
                                                               "low": None, "high": 2.9, "max": 2.9},)),
        "P5.7": made.check("P5.7", {"broken": 2})})
    found["risks"] = [{"name": "gpu", "title": "GPU memory runs out", "likelihood": "medium", "impact": "high", "answer": "It is measured.",
                       "checks": ["P5.6", "P1.2"], "state": "open", "why": "P1.2 does not apply"},
                      {"name": "disk", "title": "A disk runs full", "likelihood": "low", "impact": "high", "answer": "Room is measured.",
                       "checks": ["P1.6"], "state": "held", "why": ""}]
    found["grades"] = {"P2.2": {"state": "weak", "why": "its code changed since", "at": ""}, "P2.3": {"state": "proven", "why": "", "at": ""}}
    found["waivers"] = [{"check": "P4.4", "owner": "kim", "expiry": "2099-01-31", "reason": "the proxy comes in March"}]
    found["loosened"] = [{"id": "P5.5", "condition": "slowest", "old": "<= 2.0 s", "new": "<= 3.0 s", "waiver": None},
                          {"id": "P5.6", "condition": "free", "old": ">= 30 GB", "new": "", "waiver": {"owner": "lee", "expiry": "2099-02-01", "reason": "small disk"}}]
    found["runs"][2].update(state="crashed", trouble="killed by signal 9", crash={"last_cell": "run.check('P3.4')", "memory": {"rss_bytes": 123}})
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made_at = tmp_path / "20261129T080000Z-4.2"
    (made_at / "evidence").mkdir(parents=True)
    for name in ("P2.1.json", "P2.10.json", "P2.1-parts.csv"):
        (made_at / "evidence" / name).write_text("{}", encoding="utf-8")
    return made_at


def test_every_check_with_its_limits_figures_and_margins_is_there(directory: Path) -> None:
    results = release()
    path = write_report(results, directory, "en")
    assert path == directory / "report.html" and path.stat().st_mode & 0o077 == 0 and not list(directory.glob(".*"))
    seen = Seen(path)
    assert [name for name in seen.ids if name in made.ALL] == made.ALL
    text = path.read_text(encoding="utf-8")
    assert '<div class="verdict NOT READY"><b>NOT READY</b>' in text and results["line"] in text
    slow = text[text.index('id="P2.1"'):text.index('id="P2.2"')]
    assert 'slowest <span class="soft">&lt;= 3 s</span></td><td><span class="broken">3.75</span></td><td class="number">-0.75 s</td>' in slow
    assert 'free <span class="soft">&gt;= 20 GB</span></td><td>80</td><td class="number">+60 GB</td><td>✓</td>' in slow
    assert 'ready <span class="soft">== True </span></td><td>True</td><td class="number">–</td>' in slow
    assert '<span class="state fail">fail</span>' in slow and "slowest is 3.75 (demanded &lt;= 3.0 s)" in slow
    for state in ("pass", "fail", "not-run", "waived", "not-applicable"):
        assert f'<span class="state {state}">{state}</span>' in text
    for words in ("the profile declares no GPU", "its cell was not executed", "RuntimeError: connection refused", "killed by signal 9", "rss_bytes: 123",
                  "GPU memory runs out", "the proxy comes in March", "the quality of answers: smoke models were used", "machine.memory_bytes", "22" * 32):
        assert words in seen.words, words
    assert "weak: its code changed since" in text[text.index('id="P2.2"'):text.index('id="P2.3"')] and text.count("weak: ") == 1
    assert '<span class="broken">open</span>: P1.2 does not apply' in text and "<td>held</td>" in text and "It is measured." in text
    nearest = text[text.index("Nearest to the limit"):]
    assert nearest.index("P2.1 slowest") < nearest.index("P5.5 slowest") and "125 %" in nearest and "92 %" in nearest
    assert 'P5.5</a> slowest</td><td>&lt;= 2.0 s</td><td>&lt;= 3.0 s</td><td><span class="broken">none</span></td>' in text
    assert 'P5.6</a> free</td><td>&gt;= 30 GB</td><td>–</td><td>lee, until 2099-02-01: small disk</td>' in text
    assert seen.words.count("lowest category") == 1 and "50 %" in seen.words and percent(results["score"]["mean"], Words("en")) in seen.words
    assert all(f"<title>{title}" in text for title in ("Score of each category, %", "When each runbook ran", "Nearest to the limit", "Seconds from start"))
    assert "P5.5 p95 (60)</text>" in text and ">2.75 s</text>" in text


def test_the_gates_and_what_the_seal_proves_stand_on_the_first_page(directory: Path) -> None:
    text = write_report(release(), directory.rename(directory.with_name(f".{directory.name}.partial")), "en").read_text(encoding="utf-8")
    first = text[:text.index('class="page"')]
    assert first.index("A backup was restored") < first.index("An alert arrived") and '<span class="state fail">fail</span>' in first
    assert "changed after it was sealed" in first and "Not that the kernel which observed these values was honest" in first
    assert "suite report verify 20261129T080000Z-4.2 --key" in first, "the name that the directory will have"


def test_a_gate_in_a_state_that_nobody_knows_is_a_fail(directory: Path) -> None:
    results = made.release()
    results["gates"] = [{**results["gates"][1], "state": "fine"}]
    text = write_report(results, directory, "en").read_text(encoding="utf-8")
    assert '<span class="state fail">fail</span>' in text and "fine" not in text


def test_a_category_without_checks_is_unverified_and_nothing_is_rounded_up_to_all(directory: Path) -> None:
    results = made.release(without=("P5.5", "P5.6"))
    text = write_report(results, directory, "en").read_text(encoding="utf-8")
    assert text.count('<span class="state unverified">unverified</span>') == 1 and ">unverified</text>" in text
    assert [percent(share, Words("en")) for share in (1.0, 0.9999, 0.996, 0.995, 0.5, 0.0, None)] == ["100 %", "99.9 %", "99.6 %", "99.5 %", "50 %", "0 %",
                                                                                                     "unverified"]


def test_korean_has_every_fixed_text_and_leaves_the_names_of_checks(directory: Path) -> None:
    results = release()
    english = Seen(write_report(results, directory, "en")).words
    path = write_report(results, directory, "ko")
    korean, text = Seen(path).words, path.read_text(encoding="utf-8")
    assert '<html lang="ko">' in text and "배포 불가" in korean and "봉인이 증명하는 것" in korean and "5단계: 검증" in korean
    assert all(row["title"] in korean for row in results["checks"]) and results["line"] in korean
    kept = {"pass", "fail"}  # as parts of other words
    for name, (first, second) in final_words._TEXTS.items():
        assert re.search("[가-힣]", second), name
        assert first.count("{0}") == second.count("{0}") and first.count("{1}") == second.count("{1}"), name
        if len(first) > 25 and first in english:
            assert first not in korean and (second in korean or first in kept), name


def test_a_language_without_texts_and_results_that_lack_a_part_are_refused(directory: Path) -> None:
    with pytest.raises(BadRequest, match="language is 'fr' but must be one of en, ko"):
        write_report(made.release(), directory, "fr")
    for part in sorted(SECTIONS):
        results = made.release()
        del results[part]
        with pytest.raises(BadRequest, match=f"lack {part};"):
            write_report(results, directory, "en")
    assert not (directory / "report.html").exists()


@pytest.mark.parametrize(("facts", "dirty"), [({"commit": "a" * 40}, False), ({"dirty_diff_sha256": hashlib.sha256(b"").hexdigest()}, False),
                                              ({"dirty_diff_sha256": hashlib.sha256(b"diff").hexdigest()}, True), ({"commit": "a" * 40 + "-dirty"}, True)])
def test_a_checkout_with_changes_is_told_from_a_clean_one(directory: Path, facts: dict[str, Any], dirty: bool) -> None:
    words = Seen(write_report(made.release(facts=facts), directory, "en")).words
    assert ("with uncommitted changes" in words) is dirty


def test_a_count_that_is_met_is_not_shown_as_near_to_its_limit_and_one_that_is_not_is(directory: Path) -> None:
    def nearest(count: int) -> str:
        row = made.check("P2.4")
        row["evidence"] = [{"name": "citations", "op": ">=", "limit": 4, "observed": count, "unit": "citations", "met": count >= 4}, *row["evidence"]]
        text = write_report(made.release(changed={"P2.4": row}), directory, "en").read_text(encoding="utf-8")
        return text[text.index("Nearest to the limit"):text.index('id="P1.1"')]

    assert "P2.4 citations" not in nearest(4) and "P2.4 citations</text>" in nearest(3) and ">133 %</text>" in nearest(3)


@pytest.mark.parametrize(("value", "shown"), [(86_400.0, "86,400"), (1_234_567, "1,234,567"), (0.00012345, "0.0001234"), (None, "–"), (True, "True"),
                                              ({"a": 1, "b": [2.5, "x"]}, "a 1, b 2.5, x"), ("x" * 200, "x" * 159 + "…")])
def test_a_value_is_written_as_it_is_read(value: Any, shown: str) -> None:
    assert figure(value) == shown


def test_limits_that_were_not_compared_are_not_said_to_be_no_looser(directory: Path) -> None:
    results = made.release()
    assert "Limits were not compared" in Seen(write_report(results, directory, "en")).words
    assert "No limit is looser" in Seen(write_report({**results, "loosened": []}, directory, "en")).words


def test_evidence_is_linked_by_cell_and_by_file(directory: Path) -> None:
    text = write_report(made.release(), directory, "en").read_text(encoding="utf-8")
    own = text[text.index('id="P2.1"'):text.index('id="P2.2"')]
    assert re.findall(r'href="([^"]+)"', own) == ["phase2_health.html#P2.1", "evidence/P2.1-parts.csv", "evidence/P2.1.json"]
    results = made.release()
    results["runs"][1]["state"] = "not-run"
    text = write_report(results, directory, "en").read_text(encoding="utf-8")
    assert 'phase2_health.html#P2.1"' not in text, "no page of a runbook that did not run"


def bent(value: Any, text: str) -> Any:
    """Every text in a structure replaced, but for the words that the report's shape hangs on."""
    if isinstance(value, dict):
        return {key: value[key] if key in ("state", "id", "checks", "op", "category", "runbook", "started_at", "ended_at") else bent(value[key], text)
                for key in value}
    return [bent(item, text) for item in value] if isinstance(value, list) else text if isinstance(value, str) else value


def test_nothing_that_was_observed_or_named_becomes_markup(directory: Path) -> None:
    results = release()
    hostile = bent({key: value for key, value in results.items() if key not in ("checks", "score")}, HOSTILE)
    hostile["checks"] = [{**bent(check, HOSTILE), "checks": []} for check in copy.deepcopy(results["checks"])]
    hostile["score"] = {**results["score"], "categories": {HOSTILE: results["score"]["categories"]["security"]}}
    seen = Seen(write_report(hostile, directory, "en"))
    assert seen.tags.isdisjoint({"script", "img", "iframe", "object", "link", "form"}) and HOSTILE in seen.words
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', (directory / "report.html").read_text(encoding="utf-8"))
    assert policy and policy[1].startswith("default-src 'none'; ") and "script" not in policy[1]


def test_a_report_that_cannot_be_written_leaves_the_last_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(made.release("first"), directory, "en").read_text(encoding="utf-8")
    real = io.open

    def full(number: Any, *rest: Any, **more: Any) -> Any:
        file = real(number, *rest, **more)
        file.write = lambda text: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return file

    monkeypatch.setattr("suite.runbooks.final_page.os.fdopen", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_report(made.release("second"), directory, "en")
    assert (directory / "report.html").read_text(encoding="utf-8") == before and not list(directory.glob(".*"))
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(made.release(), directory / "nowhere", "en")


@pytest.mark.skipif(browser_stage.PROGRAM is None, reason="no Chromium on this machine")
def test_a_browser_shows_and_prints_it_without_a_network_or_a_word_of_complaint(directory: Path) -> None:
    from pypdf import PdfReader

    results = release()
    for language, verdict in (("en", "NOT READY"), ("ko", "배포 불가")):
        path = write_report(results, directory, language)
        said: list[str] = []
        for scheme in ("light", "dark"):
            with browser_stage.page(said, scheme) as opened:
                opened.goto(path.as_uri())
                assert opened.locator(".verdict b").inner_text() == verdict
                assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
                assert opened.locator("svg").count() == 5 and all(box and box["width"] > 200 for box in
                                                                   (each.bounding_box() for each in opened.locator("svg").all()))
                assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 29)"}[scheme]
                assert opened.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.getElementById(a.hash.slice(1)))")
                printed = PdfReader(io.BytesIO(opened.pdf(prefer_css_page_size=True)))
        assert said == [path.as_uri()] * 2
        pages = [re.sub(r"\s+", "", page.extract_text()) for page in printed.pages]
        assert 7 <= len(pages) <= 16 and verdict.replace(" ", "") in pages[0] and f"{len(pages)}/{len(pages)}" in pages[-1]
        assert round(float(printed.pages[0].mediabox.width)) == 595, "A4"
        assert "P1.1CheckP1.1" not in pages[0] and any("P5.8CheckP5.8" in page for page in pages)


def test_the_pages_of_the_runbooks_hold_what_is_linked() -> None:
    """The anchors of a runbook's page are the ids of its checks: each of them is named in the notebook."""
    from suite.settings import package_file

    for name in [name for name in RUNBOOKS if name.startswith("phase")]:
        source = package_file(f"runbooks/{name}.ipynb").read_text(encoding="utf-8")
        assert all(check.id in source for check in RUNBOOKS[name])
