"""`suite evaluate`: how often the right passage is found, on a file of questions."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from suite.knowledge.record import RETRIEVERS


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure how often the right passage is found", description=__doc__)
    parser.add_argument("--dataset", required=True, metavar="FILE", help="questions and paragraphs in SQuAD's format, such as KorQuAD or XQuAD")
    parser.add_argument("--retriever", action="append", choices=RETRIEVERS, help="only this one; may be repeated (default: all, side by side)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Index the paragraphs on a stack of its own, ask all questions, print a row per retriever and language; nothing is left behind."""
    from tqdm.auto import tqdm

    from suite import bench
    from suite.knowledge.evaluate import evaluate_dataset, squad

    squad(Path(args.dataset))  # before a stack is started for nothing
    with bench.throwaway() as (stack, _), tempfile.TemporaryDirectory(prefix="evaluate-", dir=stack.settings.data_dir) as folder:
        found = evaluate_dataset(stack.knowledge, Path(args.dataset), Path(folder).resolve(), args.retriever or RETRIEVERS,
                                 lambda questions: tqdm(questions, desc="questions", file=sys.stderr, disable=True if args.json else None))
    print(json.dumps({"rows": list(found.rows)}, ensure_ascii=False) if args.json else found)
    return 0
