"""The first page of the final report: the verdict, the gates, the scores and what the seal proves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from suite.runbooks.final_page import rows, state
from suite.runbooks.final_words import Words

CLEAN = hashlib.sha256(b"").hexdigest()  # of no difference
_GATE_STATES = {"pass", "fail", "not-run"}


def front(results: Mapping[str, Any], words: Words, name: str) -> str:
    """The title page; `name` is that of the directory, which is what `suite report verify` takes."""
    return (f'<header>\n<p class="kicker">Local AI Suite · {escape(words("report"))}</p>\n<h1>{escape(words("release"))} '
            f'{escape(str(results["release"]))}</h1>\n<p class="soft">{_when(results, words)}</p>\n</header>\n{_verdict(results, words)}'
            f'<div class="title">\n{_gates(results, words)}{_scores(results, words)}{_seal(words, name)}</div>\n')


def percent(value: float | None, words: Words) -> str:
    """A share of 0 to 1 as it is read; never rounded up to 100 %."""
    if value is None:
        return words("unverified")
    return f"{100 * value:.0f} %" if value == 1 or 100 * value < 99.5 else f"{int(1000 * value) / 10:.1f} %"


def _when(results: Mapping[str, Any], words: Words) -> str:
    facts = results["facts"]
    commit = str(facts.get("commit") or "–")[:12] + (f" ({words('dirty')})" if _dirty(facts) else "")
    pairs = [(words("stage"), results["stage"]), (words("profile"), facts.get("profile") or "–"), (words("commit"), commit),
             (words("from_to"), f"{_minute(facts.get('started_at'))} – {_minute(facts.get('ended_at'))} UTC")]
    return " · ".join(f"{escape(name)} <b>{escape(str(value))}</b>" for name, value in pairs)


def _dirty(facts: Mapping[str, Any]) -> bool:
    """Whether the checkout had changes that no commit holds."""
    return str(facts.get("commit")).endswith("-dirty") or facts.get("dirty_diff_sha256") not in (None, "", CLEAN)


def _minute(moment: Any) -> str:
    return str(moment or "–")[:19].replace("T", " ")


def _verdict(results: Mapping[str, Any], words: Words) -> str:
    verdict = str(results["verdict"])
    about = words(f"about {verdict}")
    return (f'<div class="verdict {escape(verdict, quote=True)}"><b>{escape(words(verdict))}</b><span>{escape(about)}<br>'
            f'<span class="soft">{escape(str(results["line"]))}</span></span></div>\n')


def _gates(results: Mapping[str, Any], words: Words) -> str:
    lines = []
    for gate in results["gates"]:
        shown = gate["state"] if gate["state"] in _GATE_STATES else "fail"
        checks = ", ".join(f'<a href="#{escape(one, quote=True)}">{escape(one)}</a>' for one in gate["checks"])
        why = f'<br><span class="soft">{escape(str(gate["why"]))}</span>' if gate.get("why") else ""
        lines.append((f"{escape(str(gate['title']))} <span class=\"soft\">{checks}</span>{why}", state(shown, words(shown))))
    return (f'<section class="box"><h3>{escape(words("gates"))}</h3>{_bare(lines)}<p class="soft">{escape(words("gates_note"))}</p></section>\n')


def _scores(results: Mapping[str, Any], words: Words) -> str:
    score = results["score"]
    lines = [(escape(words(name)), f'<span class="soft">{len(row["checks"])}</span>', _score(row, score, words))
             for name, row in score["categories"].items()]
    figures = "".join(f'<td><span class="figure">{escape(percent(score[key], words))}</span><br><span class="soft">{escape(words(key))}</span></td>'
                      for key in ("lowest", "mean"))
    return (f'<section class="box"><h3>{escape(words("readiness"))}</h3><table><tr>{figures}</tr></table>{_bare(lines)}'
            f'<p class="soft">{escape(words("scores_note"))}</p></section>\n')


def _score(row: Mapping[str, Any], score: Mapping[str, Any], words: Words) -> str:
    if row["score"] is None:
        return state("unverified", words("unverified"))
    shown = percent(row["score"], words)
    return f'<span class="broken">{shown}</span>' if row["score"] == score["lowest"] and row["score"] < 1 else shown


def _seal(words: Words, name: str) -> str:
    return (f'<section class="box wide"><h3>{escape(words("seal"))}</h3><p>{escape(words("proves"))}</p><p>{escape(words("proves_not"))}</p>'
            f'<p class="soft">{escape(words("verify"))}: <code>suite report verify {escape(name)} --key report-ed25519.pub</code></p></section>\n')


def _bare(lines: list[Any]) -> str:
    """A table without a head, its last column to the right."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line[:-1]) + f'<td class="number">{line[-1]}</td></tr>\n' for line in lines)
    return f"<table>{body}</table>"


def glance(results: Mapping[str, Any], words: Words) -> str:
    """A tile for each check, in the colour of its state, and what did not pass in words."""
    from suite.checks.result import Result

    phases = sorted({check["phase"] for check in results["checks"]})
    lines = []
    for phase in phases:
        tiles = "".join(f'<a class="tile {escape(check["state"], quote=True)}" href="#{escape(check["id"], quote=True)}" '
                        f'title="{escape(check["title"], quote=True)}">{escape(check["id"])} {escape(words(check["state"]))}</a>'
                        for check in results["checks"] if check["phase"] == phase)
        lines.append(f"<div>{escape(phase_name(phase, words))}</div><div class=\"tiles\">{tiles}</div>")
    open_ones = [check for check in results["checks"] if check["state"] != "pass"]
    table = rows([words("check"), words("state"), words("why")],
                 [(f'<a href="#{escape(check["id"], quote=True)}">{escape(check["id"])}</a> {escape(check["title"])}',
                   state(check["state"], words(check["state"])), escape(Result.from_dict(check).why)) for check in open_ones])
    below = table if open_ones else f"<p>{escape(words('attention_none'))}</p>"
    return (f'<section class="page"><h2>{escape(words("glance"))}</h2>\n<div class="glance">{"".join(lines)}</div>\n'
            f'<h3>{escape(words("attention"))}</h3>\n{below}</section>\n')


def phase_name(phase: int, words: Words) -> str:
    """The name of a phase of checks."""
    known = f"phase {phase}" if phase in range(1, 6) else "phase other"
    return words("phase", phase, words(known))
