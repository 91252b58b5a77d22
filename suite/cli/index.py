"""`suite index`: put documents into a collection, list what is there, take it out again, or move it over to another embedding model."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import render
from suite.cli.terminal import joined, write
from suite.errors import BadRequest, NotFound

if TYPE_CHECKING:
    pass

MOST_SHOWN = 50  # skipped files; --json has them all
USAGE = """suite index PATH… [--collection NAME] [--json]
       suite index list [--collection NAME] [--json]
       suite index remove PATH… [--collection NAME] [--json]
       suite index drop NAME [--json]
       suite index rebuild NAME [--json]"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    index = commands.add_parser("index", help="put documents into a collection, list and remove them", usage=USAGE, description=(
        "Index files, folders and patterns such as 'docs/**/*.md'; what has not changed is left as it is. `list` shows the collections, or the "
        "documents of one; `remove` takes documents out of a collection, `drop` the whole of it (the files stay); `rebuild` embeds a collection "
        "anew with the model of EMBEDDING_MODEL, while it goes on being searched. A file that is called like one of these words is written "
        "./list. Uses the stack that runs on the data directory; when none runs, one is started and stopped again."))
    index.add_argument("words", nargs="+", metavar="PATH", help="what to index; or list, remove, drop or rebuild and what that takes")
    index.add_argument("--collection", default="", metavar="NAME", help="the collection (default: RAG_DEFAULT_COLLECTION)")
    index.add_argument("--json", action="store_true")
    index.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when something was indexed, listed or taken out, 1 when nothing could be."""
    from suite.knowledge.record import checked_name

    if args.collection:
        checked_name(args.collection)  # what cannot be done is said before a stack is started
    verb, words = (VERBS[args.words[0]], args.words[1:]) if args.words[0] in VERBS else (_index, args.words)
    return verb(args, words)


def _index(args: argparse.Namespace, paths: Sequence[str]) -> int:
    from suite.knowledge.read import absolute

    absolute(paths, Path.cwd())
    with joined() as bench:
        docs = bench.collection(args.collection)
        added = docs.add(*paths)
    if args.json:
        _print({"collection": docs.name, **added.to_dict()})
    else:
        write(f"suite: {docs.name}: {added.new} new, {added.changed} changed, {added.unchanged} unchanged, {added.removed} removed, "
               f"{added.chunks} chunks written, {len(added.skipped)} skipped.\n")
        for path, why in added.skipped[:MOST_SHOWN]:
            write(f"  skipped {path}: {why}\n")
        if len(added.skipped) > MOST_SHOWN:
            write(f"  … and {len(added.skipped) - MOST_SHOWN} more; --json lists all.\n")
    return 0 if added.new + added.changed + added.unchanged + added.removed else 1


def _list(args: argparse.Namespace, words: Sequence[str]) -> int:
    if words:
        raise BadRequest(f"`suite index list` takes no {words[0]!r}; --collection NAME lists the documents of one collection.")
    with joined() as bench:
        rows = bench.collections()
        if args.collection:
            _known(args.collection, rows)
            rows = [document.to_dict() for document in bench.collection(args.collection).documents()]
    if args.json:
        _print({"rows": rows})
    elif args.collection:
        write(render.text_table(["document", "chunks", "bytes", "indexed", "model", ""],
                                 [[row["path"], row["chunks"], f"{row['bytes']:,}", time.strftime("%Y-%m-%d %H:%M", time.localtime(row["indexed"])),
                                   row["embedder"], "" if row["complete"] else "not complete: index it again"] for row in rows]) + "\n")
    else:
        write(render.text_table(["collection", "documents", "chunks"], [[row["name"], row["documents"], row["chunks"]] for row in rows]) + "\n")
    return 0


def _remove(args: argparse.Namespace, paths: Sequence[str]) -> int:
    if not paths:
        raise BadRequest("Name the documents to take out: suite index remove PATH…; `suite index list --collection NAME` shows them.")
    with joined() as bench:
        docs = bench.collection(args.collection)
        _known(docs.name, bench.collections())
        found = {path: docs.remove(path) for path in paths}
    if args.json:
        _print({"collection": docs.name, "removed": [path for path in found if found[path]], "absent": [path for path in found if not found[path]]})
    else:
        for path, so in found.items():
            write(f"suite: {path} {'was taken out of' if so else 'is not in'} {docs.name}.\n")
    return 0 if any(found.values()) else 1


def _drop(args: argparse.Namespace, names: Sequence[str]) -> int:
    name = _one_name(args, "drop", names)
    with joined() as bench:
        _known(name, bench.collections())
        dropped = bench.collection(name).drop()
    if args.json:
        _print({"collection": name, "dropped": dropped})
    else:
        write(f"suite: {name} was dropped; its files stay where they are.\n")
    return 0 if dropped else 1


def _rebuild(args: argparse.Namespace, names: Sequence[str]) -> int:
    name = _one_name(args, "rebuild", names)
    with joined() as bench:
        _known(name, bench.collections())
        chunks = bench.collection(name).rebuild()
        model = bench.collection(name).documents()[0].embedder
    if args.json:
        _print({"collection": name, "chunks": chunks, "embedder": model})
    else:
        write(f"suite: the {chunks} chunks of {name} were embedded anew with {model}.\n")
    return 0


def _one_name(args: argparse.Namespace, verb: str, names: Sequence[str]) -> str:
    from suite.knowledge.record import checked_name

    given = [*names, *([args.collection] if args.collection else [])]
    if len(given) != 1:
        raise BadRequest(f"Name the one collection to {verb}: suite index {verb} NAME; `suite index list` shows them.")
    return checked_name(given[0])


def _known(name: str, rows: Sequence[dict[str, Any]]) -> None:
    there = [row["name"] for row in rows]
    if name not in there:
        raise NotFound(f"No collection is called {name!r}; there {'are: ' + ', '.join(there) if there else 'is none: `suite index PATH` makes one'}.",
                       param="collection")


def _print(body: dict[str, Any]) -> None:
    print(json.dumps(body, ensure_ascii=False))


VERBS: dict[str, Callable[[argparse.Namespace, Sequence[str]], int]] = {
    "list": _list, "remove": _remove, "drop": _drop, "rebuild": _rebuild}
