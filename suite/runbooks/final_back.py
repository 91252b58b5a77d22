"""The last pages of the final report: what was not verified, risks, waivers, limits, runs, and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from suite.runbooks.final_checks import figure
from suite.runbooks.final_page import rows, state
from suite.runbooks.final_words import Words

LOG_SHOWN = 4000  # characters of a part of a crash capsule


def back(results: Mapping[str, Any], words: Words, directory: Path) -> str:
    """Everything after the tables of checks."""
    parts = [("not_verified", _listed(results["not_verified"], words)), ("risks", _risks(results["risks"], words)),
             ("waivers", _waivers(results["waivers"], words)), ("loosened", _loosened(results, words))]
    open_ones = "".join(f"<h2>{escape(words(name))}</h2>\n{body}\n" for name, body in parts)
    appendix = (f"<h2>{escape(words('runs'))}</h2>\n{_runs(results, words)}\n<h2>{escape(words('environment'))}</h2>\n{_facts(results['facts'])}\n"
                f"<h2>{escape(words('files'))}</h2>\n{_files(directory, words)}\n")
    return f'<section class="page">{open_ones}</section>\n<section class="page">{appendix}</section>\n'


def _listed(sentences: list[Any], words: Words) -> str:
    if not sentences:
        return f"<p>{escape(words('not_verified_none'))}</p>"
    items = "".join(f"<li>{escape(sentence if isinstance(sentence, str) else figure(sentence))}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>"


def _risks(risks: list[Mapping[str, Any]], words: Words) -> str:
    """A line per risk: what it is, what is done about it, the checks that show so, and whether they did."""
    if not risks:
        return f"<p>{escape(words('risks_none'))}</p>"
    lines = [[escape(str(risk.get("title", "–"))), *(escape(words(str(risk.get(key, "–")))) for key in ("likelihood", "impact")),
              escape(str(risk.get("answer", "–"))), ", ".join(_to_check(str(one)) for one in risk.get("checks") or ()), _held(risk, words)]
             for risk in risks]
    return rows([words(name) for name in ("risk", "likelihood", "impact", "answer", "checks", "state")], lines)


def _held(risk: Mapping[str, Any], words: Words) -> str:
    shown, why = words(str(risk.get("state", "–"))), str(risk.get("why") or "")
    open_one = risk.get("state") != "held"
    return (f'<span class="broken">{escape(shown)}</span>' if open_one else escape(shown)) + (f": {escape(why)}" if why else "")


def _to_check(identity: str) -> str:
    return f'<a href="#{escape(quote(identity), quote=True)}">{escape(identity)}</a>'


def _waivers(waivers: list[Mapping[str, Any]], words: Words) -> str:
    if not waivers:
        return f"<p>{escape(words('waivers_none'))}</p>"
    return rows([words(name) for name in ("check", "owner", "expiry", "reason")],
                [[_to_check(str(row.get("check", row.get("id", "–")))), *(escape(figure(row.get(name))) for name in ("owner", "expiry", "reason"))]
                 for row in waivers])


def _loosened(results: Mapping[str, Any], words: Words) -> str:
    if "loosened" not in results:
        return f"<p>{escape(words('loosened_first'))}</p>"
    if not results["loosened"]:
        return f"<p>{escape(words('loosened_none'))}</p>"
    lines = [[f"{_to_check(str(row['id']))} {escape(str(row['condition']))}", escape(figure(row["old"])), escape(figure(row["new"]) or "–"),
              _answered(row.get("waiver"), words)] for row in results["loosened"]]
    return rows([words("criterion"), words("before"), words("after"), words("waivers")], lines)


def _answered(waiver: Mapping[str, Any] | None, words: Words) -> str:
    """Who answers for a looser limit."""
    if not waiver:
        return f'<span class="broken">{escape(words("none"))}</span>'
    return escape(f"{waiver.get('owner')}, {words('expiry')} {waiver.get('expiry')}: {waiver.get('reason')}")


def _runs(results: Mapping[str, Any], words: Words) -> str:
    lines = []
    for run in results["runs"]:
        name = escape(str(run["runbook"]))
        page = f'<a href="{escape(quote(str(Path(run["path"]).with_suffix(".html"))), quote=True)}">{name}</a>' if run.get("path") else name
        kind = "pass" if run["state"] == "finished" else "not-run" if run["state"] == "not-run" else "fail"
        lines.append((page, state(kind, words(run["state"])), f"{float(run.get('seconds') or 0.0):.1f}", escape(str(run.get("trouble") or ""))))
    table = rows([words("runs"), words("state"), words("seconds"), words("trouble")], lines, numbers=(2,))
    return table + "".join(_crash(run, words) for run in results["runs"] if run.get("crash"))


def _crash(run: Mapping[str, Any], words: Words) -> str:
    """What the runner kept of a kernel that died."""
    lines = [(escape(str(key)), f"<pre>{escape(_whole(value)[-LOG_SHOWN:])}</pre>") for key, value in run["crash"].items()]
    return f"<h3>{escape(words('crash', run['runbook']))}</h3>\n" + rows(["", ""], lines)


def _whole(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_whole(inner)}" for key, inner in value.items())
    return "\n".join(map(_whole, value)) if isinstance(value, list) else str(value)


def _facts(facts: Mapping[str, Any]) -> str:
    lines = [(escape(name), f'<span class="hash">{escape(value)}</span>') for name, value in _flat(facts)]
    return rows(["", ""], lines).replace("<thead><tr><th></th><th></th></tr></thead>", "")


def _flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Every fact by its path: machine.cpus."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{before}{name}.")
        else:
            shown = figure(value) if isinstance(value, (float, list)) else str(value)
            found.append((f"{before}{name}", "–" if value in (None, "", [], {}) else shown))
    return found


def _files(directory: Path, words: Words) -> str:
    """What lies in the directory of the release at the time of writing, but for this page."""
    found = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
    shown = [name for name in found if name != "report.html" and not name.startswith(".")]
    links = " · ".join(f'<a href="{escape(quote(name), quote=True)}">{escape(name)}</a>' for name in shown)
    return f"<p>{links or escape(words('none'))}</p>"
