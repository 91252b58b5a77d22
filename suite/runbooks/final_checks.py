"""The tables of the final report: each check with every condition, its limit, what was observed, and what is left before the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from suite.checks.result import Result
from suite.runbooks.final_front import phase_name
from suite.runbooks.final_page import state
from suite.runbooks.final_words import Words
from suite.runbooks.margin import conditions, margin, number

SHOWN = 160  # characters of an observed value


def phases(results: Mapping[str, Any], words: Words, directory: Path) -> str:
    """A table per phase; `directory` is where the executed notebooks and the raw evidence lie."""
    links, grades = Links(results, directory, words), results.get("grades") or {}
    parts = []
    for phase in sorted({check["phase"] for check in results["checks"]}):
        own = [check for check in results["checks"] if check["phase"] == phase]
        head = "".join(f"<th{kind}>{escape(words(name))}</th>" for name, kind in
                       (("criterion", ""), ("observed", ""), ("margin", ' class="number"'), ("state", ""), ("evidence", "")))
        body = "".join(_check(check, words, links.of(check["id"]), grades.get(check["id"]) or {}) for check in own)
        parts.append(f'<section class="page"><h2>{escape(phase_name(phase, words))}</h2>\n<table class="checks"><thead><tr>{head}</tr></thead>\n'
                     f"{body}</table></section>\n")
    return "".join(parts)


class Links:
    """Where the evidence of a check lies: its cell in a runbook of this release, and its raw files."""

    def __init__(self, results: Mapping[str, Any], directory: Path, words: Words) -> None:
        self._words, self._directory = words, directory
        self._pages = _pages(results)
        folder = directory / "evidence"
        self._files = sorted(path.relative_to(directory).as_posix() for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []

    def of(self, identity: str) -> str:
        """The links of one check, as HTML."""
        found = [f'<a href="{escape(_address(page), quote=True)}#{escape(identity, quote=True)}">{escape(self._words("cell"))}</a>'
                 for page in self._pages.get(identity, ())[:1]]
        found += [f'<a href="{escape(_address(file), quote=True)}">{escape(Path(file).name)}</a>' for file in self._files if _belongs(file, identity)]
        return " ".join(found) or "–"


def _pages(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The pages of the executed runbooks by the checks that they perform."""
    from suite.runbooks.catalog import RUNBOOKS

    found: dict[str, list[str]] = {}
    for run in results["runs"]:
        if run.get("state") == "not-run" or not run.get("path"):
            continue
        for check in RUNBOOKS.get(run["runbook"], ()):
            found.setdefault(check.id, []).append(str(Path(run["path"]).with_suffix(".html")))
    return found


def _belongs(file: str, identity: str) -> bool:
    """Whether a file's name, or that of its folder, begins with the check's id: P2.1.json, P2.1-parts.csv, not P2.10.json."""
    return any(part == identity or (part.startswith(identity) and not part[len(identity)].isalnum()) for part in Path(file).parts[1:])


def _address(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _check(check: Mapping[str, Any], words: Words, links: str, grade: Mapping[str, Any]) -> str:
    """A body of a table: the check, how its drill is graded, then a line per condition."""
    result = Result.from_dict(check)
    notes = [words(result.category), words("proven_red", result.proven_red_at[:10]) if result.proven_red_at else words("never_red")]
    notes += [words("weak", grade.get("why"))] if grade.get("state") == "weak" else []
    notes += [words("smoke")] if result.smoke else []
    identity = escape(result.id, quote=True)
    head = (f'<tr class="head"><td colspan="3" id="{identity}"><b>{escape(result.id)}</b> {escape(result.title)}<br>'
            f'<span class="soft">{escape(" · ".join(notes))}</span></td><td>{state(result.state, words(result.state))}</td><td>{links}</td></tr>\n')
    lines = "".join(_condition(item) for item in conditions(check))
    why = f'<tr><td class="why" colspan="5">{escape(result.why)}</td></tr>\n' if result.why else ""
    return f"<tbody>\n{head}{lines}{why}</tbody>\n"


def _condition(item: Mapping[str, Any]) -> str:
    mark = {True: "✓", False: '<span class="broken">✗</span>', None: "–"}[item["met"]]
    seen = f'<span class="broken">{escape(figure(item["observed"]))}</span>' if item["met"] is False else escape(figure(item["observed"]))
    left, unit = margin(item), escape(str(item["unit"]))
    demanded = f'{escape(str(item["name"]))} <span class="soft">{escape(str(item["op"]))} {escape(figure(item["limit"]))} {unit}</span>'
    return (f'<tr><td>{demanded}</td><td>{seen}</td><td class="number">{"–" if left is None else f"{_signed(left)} {unit}"}</td>'
            f"<td>{mark}</td><td></td></tr>\n")


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def figure(value: Any) -> str:
    """An observed value as it is read; a long one is cut, since the whole is in the evidence."""
    if value is None:
        return "–"
    plain = number(value)
    if plain is not None:
        return f"{value:,}" if isinstance(value, int) else f"{plain:,.0f}" if abs(plain) >= 1000 else f"{plain:.4g}"
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {figure(inner)}" for name, inner in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(figure(inner) for inner in value)
    else:
        text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN - 1] + "…"
