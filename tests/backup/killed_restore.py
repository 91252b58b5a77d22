"""Restores that are killed at each step in turn, each in a process of its own; prints what was left and what the next command made of it.

Arguments: the snapshot, a data directory as a template, a folder for copies of it, and `restore` or `undo`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from suite.backup import journal, restore
from suite.backup.verification import Verification
from suite.vectors.disk import copy_folder

STEPS = ((journal.os, "rename"), (journal, "sync"), (journal, "write_whole"), (journal.shutil, "rmtree"))


def die_at(number: int) -> None:
    """Let this process be killed before its step of this number."""
    count = 0

    def counted(honest: Any) -> Any:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(*args, **more)

        return step

    for module, name in STEPS:
        setattr(module, name, counted(getattr(module, name)))


def unverified(snapshot: Path, staged: Path, *_: Any) -> Any:
    """The snapshot's files staged as they are: what is killed here is the exchange, and verifying twenty times would take a minute."""
    for name in ("database", "vectors"):
        copy_folder(snapshot / name, staged / name)
        journal.sync(staged)
    return Verification(str(snapshot), 0, ())


def state(data: Path) -> list[Any]:
    """What is in a data directory: actors and collections, and what lies among the backups."""
    file = data / "sqlite" / "suite.db"
    actors = []
    if file.exists():
        with closing(sqlite3.connect(file)) as connection:
            actors = sorted(row[0] for row in connection.execute("SELECT name FROM actors"))
    collections = sorted(path.name for path in (data / "vectors").glob("*") if path.is_dir() and not path.name.startswith("."))
    return [actors, collections]


def main(snapshot: Path, template: Path, copies: Path, verb: str) -> None:
    """One line of JSON per kill: how the process ended, the state after the next command, what lies there, and the state once that was undone."""
    number, ended = 0, None
    while ended != 0:
        number += 1
        data = copies / str(number)
        copy_folder(template, data)
        child = os.fork()
        if child == 0:
            restore._verified = unverified
            die_at(number)
            restore.restore(snapshot, data) if verb == "restore" else restore.undo(data)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for name in ("sqlite", "vectors"):
            (data / name).mkdir(exist_ok=True)  # as any start of the suite does first
        finished = restore.finish(data)
        left = sorted(path.name.split("-")[0] for path in (data / "backups").iterdir())
        row = {"ended": ended, "finished": bool(finished), "state": state(data), "left": left}
        if any(data.glob("backups/replaced-*")):
            restore.undo(data)
            row["undone"] = state(data)
        print(json.dumps(row), flush=True)
        shutil.rmtree(data)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
