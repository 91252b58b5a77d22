"""Phase 5, answers: questions whose answer is known, in Korean and English, and questions that nothing answers, each timed as its user waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.checks import fault, fault_knowledge
from suite.checks.check import Check, Observation
from suite.checks.spread import spread
from suite.checks.target import Target
from suite.checks.trace import MARK, marker

AT = (1, 5)  # ranks at which a hit counts
ASKED = 8  # questions of each language that are answered in full; searching is asked of all
DEPTH = 5
FAR = "un-far-"  # how the ids of questions begin that have nothing to do with the documents


def golden(target: Target, seen: Observation) -> None:
    """P5.2: hit@k of all questions, answers and citations of some, refusals, and the seconds of first and repeated answers."""
    if target.parts() is None:
        seen.not_applicable = "this stack is of another make, and the golden documents are not on its machine; P2.4 asks it about one document"
        return
    from suite.knowledge.golden import load  # here: whoever only lists the checks needs no documents

    questions, name = load(), f"{MARK}-{marker()}"
    try:
        added = target.json("POST", "rag", "/index", json={"collection": name, "paths": [str(questions.folder)]}, timeout=600.0)
        seen.values["documents_missing"] = len(list(questions.folder.iterdir())) - added["new"]
        seen.note("indexed", **{key: added[key] for key in ("new", "chunks", "skipped")})
        asked = [one for tongue in ("ko", "en") for one in spaced([one for one in questions.answerable if spoken(one) == tongue], ASKED)]
        _answers(target, seen, name, asked, questions.folder)  # first: a question that was searched for is half answered
        _hits(target, seen, name, questions)
        _refusals(target, seen, name, [one for one in questions.unanswerable if one.id.startswith(FAR)])
    finally:
        target.call("DELETE", "rag", f"/collections/{name}")


def spoken(one: Any) -> str:
    """The language that a question counts under: Korean with English terms in it is Korean."""
    return "en" if one.language == "en" else "ko"


def spaced(rows: Sequence[Any], count: int) -> list[Any]:
    """So many of the rows, evenly apart, so that each kind has its part; all where there are no more."""
    return [rows[index * len(rows) // count] for index in range(count)] if len(rows) > count else list(rows)


def _hits(target: Target, seen: Observation, name: str, questions: Any) -> None:
    """Whether the passage that answers is the first, or among the five that an answer is written from."""
    from suite.knowledge.record import Hit

    ranks: dict[str, list[int | None]] = {"ko": [], "en": []}
    missed = []
    for one in questions.answerable:
        rows = target.json("POST", "rag", f"/collections/{name}/search", json={"query": one.question, "topk": DEPTH})["rows"]
        place = questions.asked(one).rank([Hit.from_dict(row) for row in rows])
        ranks[spoken(one)].append(place)
        missed += [one.id] if place is None else []
    for tongue, places in ranks.items():
        seen.values |= {f"hit@{most}_{tongue}": round(sum(place is not None and place < most for place in places) / len(places), 4) for most in AT}
        seen.note("hits", language=tongue, n=len(places), **{f"hit@{most}": seen.values[f"hit@{most}_{tongue}"] for most in AT})
    seen.note("missed", ids=missed)


def _answers(target: Target, seen: Observation, name: str, asked: Sequence[Any], folder: Path) -> None:
    """What is said and cited, first as nobody has asked it before, then once more."""
    first = [_timed(target, name, one.question) for one in asked]
    again = [_timed(target, name, one.question) for one in asked]
    replies = [reply for _, reply in first]
    given = [(one, reply) for one, reply in zip(asked, replies, strict=True) if not reply["refused"]]
    citations = [row for _, reply in given for row in reply["citations"]]
    right = [one.answered_by(reply["answer"]) for one, reply in given]
    cited = [any(one.quote in row["quote"] and row["path"] == str(folder / one.document) for row in reply["citations"]) for one, reply in given]
    seen.values |= {  # shares of all that were asked, whether answered or not
        "answered": round(len(given) / len(asked), 4), "right": round(sum(right) / len(asked), 4), "cited": round(sum(cited) / len(asked), 4),
        "citations": len(citations), "citations_wrong": sum(row["state"] != "current" or not row["quote"] for row in citations),
    }
    kept = [(old, new) for old, (_, new) in zip(replies, again, strict=True) if old["reply"] is not None or old["refused"]]
    seen.values |= {"not_cached": sum(not new["cached"] for _, new in kept) + sum(old["cached"] for old in replies),
                    "cached_different": sum(old["answer"] != new["answer"] for old, new in kept)}
    for state, times in (("cold", [seconds for seconds, _ in first]), ("cached", [seconds for seconds, reply in again if reply["cached"]])):
        seen.values |= {f"{state}_slowest": max(times) if times else None, f"{state}_n": len(times)}
        seen.note("seconds", state=state, **spread(times))
    seen.note("answers", by_model=sum(reply["reply"] is not None and not reply["extractive"] for reply in replies),
              extractive=sum(reply["extractive"] for reply in replies),
              wrong=[one.id for (one, _), is_right in zip(given, right, strict=True) if not is_right],
              refused=[one.id for one, reply in zip(asked, replies, strict=True) if reply["refused"]])
    if any(reply["smoke"] for reply in replies):
        seen.note("smoke", observed=True, reason="a smoke model was asked: what is found, cited and timed is shown, no model's worth")


def _refusals(target: Target, seen: Observation, name: str, far: Sequence[Any]) -> None:
    """Questions that have nothing to do with the documents."""
    refused = {one.id: _timed(target, name, one.question)[1]["refused"] for one in far}
    seen.values["far_refused"] = round(sum(refused.values()) / len(refused), 4)
    seen.note("refusals", n=len(refused), answered=[id for id, is_so in refused.items() if not is_so])


def _timed(target: Target, name: str, question: str) -> tuple[float, dict[str, Any]]:
    """The seconds that the caller waited, and what came."""
    began = target.clock()
    reply = target.json("POST", "rag", "/query", json={"query": question, "collection": name})
    return target.clock() - began, reply


GOLDEN = (
    Check("P5.2", "Questions with a known answer are answered, cited and in time; others are refused", 5, "function", 2,
          fault_knowledge.WORST_FIRST, golden, (fault.DAMAGED_PASSAGES, fault_knowledge.ANSWERED_ALL, fault_knowledge.NEVER_ANSWERED,
                                                fault_knowledge.LATE_ANSWER, fault_knowledge.KEPT_NOTHING, fault_knowledge.SLOW_CACHE)),
)
