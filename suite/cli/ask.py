"""`suite ask`: a question, answered from documents, with the places where the answer stands."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from suite.cli.terminal import joined, write
from suite.errors import BadRequest

if TYPE_CHECKING:
    from suite.knowledge.record import Answer, Citation

MARKS = {"moved": "moved since it was indexed", "stale": "changed since it was indexed", "missing": "the file is gone"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    ask = commands.add_parser("ask", help="answer a question from documents, with citations", description=(
        "Answer a question (as arguments, or from a pipe) from the documents of a collection; each place that the answer was written from is "
        "checked against its file. The status is 1 when the documents do not say. Uses the stack that runs on the data directory; when none "
        "runs, one is started and stopped again."))
    ask.add_argument("question", nargs="*", help="the question; without one, standard input")
    ask.add_argument("--collection", default="", metavar="NAME", help="the collection (default: RAG_DEFAULT_COLLECTION)")
    ask.add_argument("--topk", type=int, metavar="N", help="how many passages the answer is written from (default: RAG_TOPK)")
    ask.add_argument("--json", action="store_true", help="print the whole answer as one JSON object")
    ask.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the answer, then its citations; 0 when there is one, 1 when the documents do not say."""
    from suite.knowledge.record import checked_name, checked_question, checked_topk

    question = checked_question(_question(args.question))  # what cannot be asked is said before a stack is started
    if args.topk is not None:
        checked_topk(args.topk)
    if args.collection:
        checked_name(args.collection)
    with joined() as bench:
        found = bench.collection(args.collection).ask(question, args.topk)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        write("\n".join(lines(found)) + "\n")
    return 1 if found.refused or not found.citations else 0


def lines(found: Answer) -> list[str]:
    """The answer as a terminal shows it: text, what to know about it, and a numbered line per citation."""
    note = []
    if found.extractive:
        note = [f"(extractive, the passages' own sentences: {found.why})"]
    elif found.smoke:
        note = ["(written by a smoke model: the citations are real, the words are no measure of any model)"]
    cited = [cited_line(citation) for citation in found.citations]
    return [found.text, *note, *([""] if cited else []), *cited]


def cited_line(citation: Citation) -> str:
    """Where a citation stands: file, page, characters, and whether the file has changed."""
    page = f", page {citation.page}" if citation.page is not None else ""
    mark = "" if citation.current else f" ({MARKS[citation.state]})"
    return f"[{citation.number}] {citation.path}{page}, characters {citation.start}–{citation.end}{mark}"


def _question(words: list[str]) -> str:
    if words or sys.stdin is None or sys.stdin.isatty():
        if not words:
            raise BadRequest('The question is missing; write it: suite ask "When does the backup start?"')
        return " ".join(words)
    return sys.stdin.buffer.read().decode("utf-8", "replace")
