"""What a restore is about to exchange, written down first: whoever is killed in the middle leaves a state that the next command finishes.

Each item is a folder that lives in the data directory, the place where it is put aside, and the folder that takes its place. All three lie on one
filesystem, so each step is a rename. As long as the third is still in its own place, the exchange of that item is not done; that alone decides what
is left to do, whatever the moment of the kill.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.access.checkpoint import FILE as HEAD
from suite.backup import postgres
from suite.backup.folder import sync, write_whole
from suite.errors import StorageError

JOURNAL = "restore.json"
STAGED = ".staged-"
RECORD = "replaced.json"  # in a folder of what was replaced: what that is, and that it is whole
BEFORE = "before.dump"
AUDIT_HEAD = f"sqlite/{HEAD}"


@dataclass(frozen=True)
class Item:
    """Paths relative to the data directory."""

    live: str
    aside: str
    staged: str


@dataclass(frozen=True)
class Journal:
    """One exchange: `aside` is the folder of what is replaced, `dump` the file that a PostgreSQL database is made from (empty: none), `before` its
    former contents, `extra` and `tables` its tables that go and come; `clean` is removed at the end. Paths are relative to the data directory."""

    what: str
    aside: str
    items: tuple[Item, ...]
    clean: tuple[str, ...] = ()
    dump: str = ""
    before: str = ""
    extra: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    def write(self, data: Path) -> None:
        """Have it on the disk before anything is exchanged."""
        write_whole(data / "backups" / JOURNAL, json.dumps(asdict(self), ensure_ascii=False, indent=1))


def read(data: Path) -> Journal | None:
    """The exchange that was begun in a data directory and not ended; StorageError when its journal cannot be read."""
    file = data / "backups" / JOURNAL
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        items = tuple(Item(**item) for item in body.pop("items"))
        return Journal(**{**{key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}, "items": items})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise StorageError(f"A restore was interrupted, and its journal {file} cannot be read ({type(error).__name__}: {error}); look at the folders "
                           f"{STAGED}* and replaced-* beside it and put them in place by hand.") from error


def carry_out(data: Path, journal: Journal, server: Callable[[], Any]) -> None:
    """Do what is left to do of an exchange whose journal is on the disk, and remove the journal. `server` opens the PostgreSQL database.

    Raises StorageError, and the next call goes on where this one stopped.
    """
    try:
        aside = data / journal.aside
        aside.mkdir(mode=0o700, exist_ok=True)
        if journal.dump and (data / AUDIT_HEAD).exists():  # it is that of the database that goes; SQLite's lies in the folder that is exchanged
            (data / AUDIT_HEAD).rename(aside / Path(AUDIT_HEAD).name)
        if journal.dump and (data / journal.dump).exists():
            _database(data, journal, server)
        for item in journal.items:
            _exchange(data, item)
        write_whole(aside / RECORD, json.dumps({"what": journal.what, "items": [Path(item.live).name for item in journal.items],
                                                "dump": bool(journal.before), "tables": list(journal.tables)}, ensure_ascii=False))
        for left in journal.clean:
            (data / left / RECORD).unlink(missing_ok=True)  # from here on there is nothing in it to be undone
        (data / "backups" / JOURNAL).unlink()
        sync(data / "backups")
        for left in journal.clean:
            shutil.rmtree(data / left, ignore_errors=True)  # cleared away by the next restore where this fails
    except OSError as error:
        raise StorageError(f"The restore of {journal.what} stopped in the middle ({error.strerror}: {error.filename}); mend that, and the next "
                           "`suite backup restore --finish` or start of the suite goes on.") from error


def _database(data: Path, journal: Journal, server: Callable[[], Any]) -> None:
    """Make the PostgreSQL database what the dump holds; its former contents are kept first. The dump goes when it is in the database."""
    before, kept = data / journal.before, data / journal.aside / BEFORE
    if before.exists() and not kept.exists():
        before.rename(kept)
        sync(kept.parent)
    storage = server()
    url = storage.engine.url
    storage.close()
    postgres.replace(url, data / journal.dump, journal.extra)
    (data / journal.dump).unlink()
    sync((data / journal.dump).parent)


def _exchange(data: Path, item: Item) -> None:
    live, aside, staged = data / item.live, data / item.aside, data / item.staged
    if not staged.exists():
        return  # done before
    if live.is_dir() and any(live.iterdir()):
        if aside.exists() and any(aside.iterdir()):
            raise StorageError(f"A restore was interrupted, and {live} was filled since; move what is in it elsewhere, then start again.")
        os.rename(live, aside)
    aside.mkdir(mode=0o700, exist_ok=True)  # empty where nothing was there before, so that an undo ends with nothing again
    os.rename(staged, live)  # onto nothing, or onto an empty folder that a start made
    for folder in {live.parent, aside.parent, staged.parent}:
        sync(folder)
