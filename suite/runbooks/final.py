"""The final report of a release, and its executed notebooks, as pages that anyone can open and print: no script, no network."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from suite.errors import BadRequest
from suite.runbooks import final_charts as charts
from suite.runbooks.final_back import back
from suite.runbooks.final_checks import phases
from suite.runbooks.final_front import front, glance
from suite.runbooks.final_notebook import write_html
from suite.runbooks.final_page import page, save
from suite.runbooks.final_words import Words

__all__ = ["write_html", "write_report"]
NAME = "report.html"
SECTIONS = {"release", "stage", "verdict", "line", "score", "gates", "checks", "runs", "not_verified", "risks", "waivers", "facts"}


def write_report(results: Mapping[str, Any], directory: Path, language: str = "en") -> Path:
    """Write `report.html` into the directory of a release from its results, as results.json has them; gives the path.

    `language` is "en" or "ko". The directory may still be called `.NAME.partial`.
    Raises BadRequest for another language or results that lack a part, StorageError where it cannot be written.
    """
    words, missing = Words(language), SECTIONS - results.keys()
    if missing:
        raise BadRequest(f"These results lack {', '.join(sorted(missing))}; a report is made from a whole results.json.")
    body = "".join([front(results, words, directory.name.removeprefix(".").removesuffix(".partial")), glance(results, words), _charts(results, words),
                    phases(results, words, directory), back(results, words, directory), f'<p class="foot">local-ai-suite '
                    f"{escape(str(results['facts'].get('suite', '')))} · {escape(str(results['release']))}</p>"])
    return save(directory / NAME, page(f"{words('report')} {results['release']}: {words(results['verdict'])}", body, language))


def _charts(results: Mapping[str, Any], words: Words) -> str:
    drawn = [charts.scores(results["score"], words), charts.times(results["runs"], words), charts.nearest(results["checks"], words),
             charts.started(results["checks"], words), charts.seconds(results["checks"], words)]
    shown = "".join(f"<figure>{svg}</figure>\n" for svg in drawn if svg)
    return f'<section><h2>{escape(words("charts"))}</h2>\n<div class="charts">{shown}</div></section>\n'
