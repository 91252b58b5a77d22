"""`suite memory`: remember, recall, look after what is remembered, and carry a project elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import render
from suite.cli.terminal import joined, write
from suite.cli.usage import moment
from suite.errors import BadRequest

if TYPE_CHECKING:
    from suite.memory.record import Recalled, Remembered

Parsers = Any  # argparse's own type of a group has no public name
SHOWN = 60  # characters of a text in a table


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("memory", help="remember, recall and look after conversations", description=(
        "Conversation memory. Uses the stack that runs on the data directory; when none runs, one is started and stopped again. A project that is "
        "not named is the one whose folder this is (.ai-memory/project.json here or above), else DEFAULT_PROJECT_ID.")).add_subparsers(
        dest="verb", required=True, metavar="verb")
    _add_writing(group)
    _add_finding(group)
    _add_projects(group)


def _add_writing(group: Parsers) -> None:
    remember = _verb(group, "remember", run_remember, "keep a question and its reply")
    remember.add_argument("question")
    remember.add_argument("reply", nargs="?", help="the reply; without it, standard input")
    remember.add_argument("--model", default="", metavar="NAME", help="who replied")
    remember.add_argument("--session", default="", metavar="NAME")
    remember.add_argument("--saved", action="store_true", help="importance 10: kept for ever")
    remember.add_argument("--important", action="store_true", help="importance 8 at least")
    note = _verb(group, "note", run_note, "keep a fact or a summary in your own words")
    note.add_argument("text")
    note.add_argument("--kind", choices=("fact", "summary"), default="fact")
    note.add_argument("--about", default="", metavar="TEXT", help="a line that it is found by too")
    note.add_argument("--source", default="", metavar="ID", help="the turn that it came from")
    for parser in (remember, note):
        parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="may be given several times")
        parser.add_argument("--importance", type=int, metavar="N", help="1 to 10 (default: by rules)")
        parser.add_argument("--supersedes", default="", metavar="ID", help="the turn that holds no longer from then on")
        parser.add_argument("--valid-from", default="", metavar="TIME", help="since when it holds (default: now)")
    edit = _verb(group, "edit", run_edit, "change a turn; what is not given stays", project=False)
    edit.add_argument("id")
    edit.add_argument("--question")
    edit.add_argument("--reply")
    edit.add_argument("--tag", action="append", metavar="TAG", help="the tags it is to have; several times for several, '' for none")
    edit.add_argument("--importance", type=int, metavar="N")
    edit.add_argument("--favourite", action=argparse.BooleanOptionalAction, help="kept for ever while it is one")
    edit.add_argument("--valid-until", default="", metavar="TIME", help="until when it held")
    forget = _verb(group, "forget", run_forget, "delete turns, their search terms and their vectors", project=False)
    forget.add_argument("ids", nargs="+", metavar="ID")


def _add_finding(group: Parsers) -> None:
    recall = _verb(group, "recall", run_recall, "find turns by words, by meaning, or both; 1 when there is none")
    recall.add_argument("query", nargs="+")
    recall.add_argument("--how", choices=("hybrid", "words", "vector"), default="hybrid")
    listing = _verb(group, "list", run_list, "the turns of a project, the newest first")
    listing.add_argument("--order", choices=("newest", "important"), default="newest")
    for parser, limit in ((recall, 5), (listing, 50)):
        parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="only turns with this tag; several times: with all of them")
        parser.add_argument("--importance", type=int, default=1, metavar="N", help="only turns of at least this importance")
        parser.add_argument("--since", default="", metavar="TIME", help="30m, 12h, 7d, or a local time such as 2026-01-31T08:00")
        parser.add_argument("--until", default="", metavar="TIME")
        parser.add_argument("--at", default="", metavar="TIME", help="what held then (default: now)")
        parser.add_argument("--kind", choices=("turn", "fact", "summary"), default="")
        parser.add_argument("--session", default="", metavar="NAME")
        parser.add_argument("--favourites", action="store_true", help="only favourites")
        parser.add_argument("--limit", type=int, default=limit, metavar="N")
        parser.add_argument("--offset", type=int, default=0, metavar="N")
    show = _verb(group, "show", run_show, "one turn, whole", project=False)
    show.add_argument("id")


def _add_projects(group: Parsers) -> None:
    _verb(group, "projects", run_projects, "all projects", project=False)
    create = _verb(group, "create-project", run_create_project, "make a project", project=False)
    create.add_argument("name")
    create.add_argument("--path", default="", metavar="FOLDER", help="the folder that becomes its own")
    _verb(group, "stats", run_stats, "numbers about a project")
    _verb(group, "sync", run_sync, "write the vectors that wait (without --project: of all)")
    export = _verb(group, "export", run_export, "a project as JSON lines", listing=False)
    export.add_argument("file", nargs="?", help="where to (default: standard output)")
    bring = _verb(group, "import", run_import, "take in what export gave; turns that are there already are left alone")
    bring.add_argument("file", help="where from; - is standard input")


def _verb(group: Parsers, name: str, run: Callable[[argparse.Namespace], int], what: str, project: bool = True,
          listing: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    if project:
        parser.add_argument("--project", default="", metavar="ID")
    if listing:
        parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)
    return parser


def run_remember(args: argparse.Namespace) -> int:
    """Keep a turn, and say under which id."""
    from suite.memory.record import checked_text

    reply = _piped("reply") if args.reply is None else args.reply
    checked_text(args.question, "question"), checked_text(reply, "reply")  # what cannot be kept is said before a stack is started
    options = {"model": args.model, "session": args.session, "saved": args.saved, "important": args.important, **_kept_options(args)}
    with joined() as bench:
        return _say_kept(args, bench.memory.remember(args.question, reply, **options))


def run_note(args: argparse.Namespace) -> int:
    """Keep a note, and say under which id."""
    from suite.memory.record import checked_text

    checked_text(args.text, "reply")
    options = {"about": args.about, "source": args.source, **_kept_options(args)}
    with joined() as bench:
        return _say_kept(args, bench.memory.note(args.text, args.kind, **options))


def _kept_options(args: argparse.Namespace) -> dict[str, Any]:
    return {"project": args.project, "tags": args.tag, "importance": args.importance, "supersedes": args.supersedes,
            "valid_from": _time(args, "valid_from")}


def _say_kept(args: argparse.Namespace, turn: Remembered) -> int:
    if args.json:
        _print(turn.to_dict())
    else:
        write(f"suite: {turn.id} is remembered in {turn.project}, importance {turn.importance} ({'; '.join(turn.rules)}).\n")
    return 0


def run_edit(args: argparse.Namespace) -> int:
    """Change a turn."""
    tags = None if args.tag is None else [tag for tag in args.tag if tag]
    given = {"question": args.question, "reply": args.reply, "tags": tags, "importance": args.importance, "favourite": args.favourite,
             "valid_until": _time(args, "valid_until")}
    if all(value is None for value in given.values()):
        raise BadRequest("Nothing is to be changed; name it: suite memory edit ID --reply TEXT, --tag TAG, --importance N, --favourite …")
    with joined() as bench:
        turn = bench.memory.edit(args.id, **given)
    if args.json:
        _print(turn.to_dict())
    else:
        write(f"suite: {turn.id} was changed.\n")
    return 0


def run_forget(args: argparse.Namespace) -> int:
    """Delete turns; 0 when each of them was there and is gone."""
    with joined() as bench:
        gone = [bench.memory.forget(identity) for identity in args.ids]
    if args.json:
        _print({"rows": [each.to_dict() for each in gone]})
    for each in () if args.json else gone:
        left = "its vector waits for the store" if each.queued else "no row, no search term and no vector of it is left"
        write(f"suite: {each.id} was forgotten: {left}.\n" if each else f"suite: there is no memory {each.id}.\n" if not each.found
              else f"suite: {each.id} was not forgotten whole: {each.rows} rows, {each.words} terms, {each.vectors} vectors are left.\n")
    return 0 if all(gone) else 1


def run_recall(args: argparse.Namespace) -> int:
    """Print what was found, best first; 1 when that is nothing."""
    from suite.memory.record import checked_text

    query = checked_text(" ".join(args.query), "query")
    conditions = _conditions(args)
    with joined() as bench:
        found = bench.memory.recall(query, how=args.how, **conditions)
    if args.json:
        _print({"rows": [row.to_dict() for row in found], "note": found.note})
    else:
        write("".join(_recalled(place, row) for place, row in enumerate(found, 1)) or "suite: nothing that is remembered matches.\n")
        if found.note:
            write(f"({found.note})\n")
    return 0 if found else 1


def _recalled(place: int, row: Recalled) -> str:
    return f"{place}. {row.question or '(note)'}\n   {row.reply}\n   {row.id}, by {row.arm}, score {row.score:.3g}\n"


def run_list(args: argparse.Namespace) -> int:
    """Print the turns."""
    conditions = _conditions(args)
    with joined() as bench:
        turns = bench.memory.turns(order=args.order, **conditions)
    if args.json:
        _print({"rows": [turn.to_dict() for turn in turns]})
    else:
        _table(["id", "made", "importance", "", "question", "reply"],
               [[turn.id, _clock(turn.created), turn.importance, "★" if turn.favourite else "", _short(turn.question), _short(turn.reply)]
                for turn in turns])
    return 0


def _conditions(args: argparse.Namespace) -> dict[str, Any]:
    times = {name: _time(args, name) for name in ("since", "until", "at")}
    return {"project": args.project, "tags": args.tag, "importance_min": args.importance, "kind": args.kind, "session": args.session,
            "favourite": True if args.favourites else None, "limit": args.limit, "offset": args.offset, **times}


def run_show(args: argparse.Namespace) -> int:
    """Print one turn."""
    with joined() as bench:
        turn = bench.memory.get(args.id)
    if args.json:
        _print(turn.to_dict())
        return 0
    held = _clock(turn.valid_from) + (f" to {_clock(turn.valid_until)}" if turn.valid_until is not None else "")
    kept = "for ever" if turn.expires is None else _clock(turn.expires)
    facts = [("project", turn.project), ("kind", turn.kind), ("made", _clock(turn.created)), ("model", turn.model or "-"), ("holds from", held),
             ("importance", f"{turn.importance} ({'; '.join(turn.rules)})"), ("kept until", kept),
             ("tags", ", ".join(turn.tags) or "-"), ("favourite", "yes" if turn.favourite else "no"), ("vector", turn.sync)]
    write(render.text_table(["id", turn.id], facts) + f"\n\n{turn.question}\n\n{turn.reply}\n")
    return 0


def run_projects(args: argparse.Namespace) -> int:
    """Print the projects."""
    with joined() as bench:
        projects = bench.memory.projects()
    if args.json:
        _print({"rows": [row.to_dict() for row in projects]})
    else:
        _table(["project", "name", "turns", "newest", "folder"],
               [[row.id, row.name, row.memories, "" if row.newest is None else _clock(row.newest), row.path] for row in projects])
    return 0


def run_create_project(args: argparse.Namespace) -> int:
    """Make a project."""
    with joined() as bench:
        made = bench.memory.create_project(args.name, args.path)
    if args.json:
        _print(made.to_dict())
    else:
        write(f"suite: the project {made.id} was made{f' for {made.path}' if made.path else ''}.\n")
    return 0


def run_stats(args: argparse.Namespace) -> int:
    """Print the numbers of a project."""
    with joined() as bench:
        stats = bench.memory.stats(args.project)
    if args.json:
        _print(stats)
        return 0
    spans = {"oldest", "newest"}
    _table(["what", "value"], [[name, _counts(value) if isinstance(value, dict) else _clock(value) if name in spans and value else value]
                               for name, value in stats.items()])
    return 0


def run_sync(args: argparse.Namespace) -> int:
    """Write what waits; 0 when nothing failed."""
    with joined() as bench:
        done = bench.memory.sync(args.project)
    if args.json:
        _print(done)
    else:
        write(f"suite: {done['synced']} vectors written, {done['removed']} removed, {done['failed']} failed, {done['pending']} still wait.\n")
    return 1 if done["failed"] else 0


def run_export(args: argparse.Namespace) -> int:
    """Write the lines; a file appears under its name once it is whole."""
    with joined() as bench:
        lines = bench.memory.export(args.project)
        if not args.file:
            for line in lines:  # as bytes: what is written here is read in again, wherever
                sys.stdout.buffer.write(line.encode() + b"\n")
            return 0
        count = _save(lines, Path(args.file).expanduser().absolute())
    print(f"suite: {count - 1} turns are in {args.file}.", file=sys.stderr)
    return 0


def _save(lines: Iterable[str], file: Path) -> int:
    partial, count = file.with_name(file.name + ".partial"), 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as out:
            for line in lines:
                out.write(line + "\n")
                count += 1
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadRequest(f"{file} cannot be written ({error.strerror}); choose another file.", param="file") from error
    return count


def run_import(args: argparse.Namespace) -> int:
    """Take lines in."""
    try:
        text = _piped("export") if args.file == "-" else Path(args.file).expanduser().read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{args.file} cannot be read ({getattr(error, 'strerror', '') or 'it is no UTF-8'}); name a file that export wrote.",
                         param="file") from error
    with joined() as bench:
        done = bench.memory.bring(text.split("\n"), args.project)
    if args.json:
        _print(done.to_dict())
    else:
        write(f"suite: {done.new} turns are new in {done.project}, {done.known} were there already.\n")
    return 0


def _piped(what: str) -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise BadRequest(f"The {what} is missing; write it behind the question, or pipe it in.", param=what)
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _time(args: argparse.Namespace, name: str) -> float | None:
    value = getattr(args, name)
    return moment(value, time.time(), f"--{name.replace('_', '-')}") if value.strip() else None


def _clock(value: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    except (OverflowError, ValueError, OSError):
        return f"{value:.0f}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN - 1] + "…"


def _counts(value: dict[str, int]) -> str:
    return ", ".join(f"{name or '-'}: {count}" for name, count in value.items()) or "-"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    write(render.text_table(list(columns), rows) + "\n")


def _print(body: dict[str, Any]) -> None:
    print(json.dumps(body, ensure_ascii=False))
