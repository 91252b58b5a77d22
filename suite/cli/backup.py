"""`suite backup`: snapshots of the database and the vectors; one counts only once it was restored."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite import render
from suite.cli.terminal import own_process
from suite.errors import BadRequest, SuiteError
from suite.settings import Settings, load

KEY = "the file of the key that encrypts it (`suite backup key FILE` makes one)"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser("backup", help="make, verify, list, restore and thin out backups", description=__doc__).add_subparsers(
        dest="verb", required=True, metavar="verb")
    create = group.add_parser("create", help="make a snapshot, by the running stack or, when none runs, by this command")
    create.set_defaults(run=run_create)
    verify = group.add_parser("verify", help="restore a snapshot into a scratch folder and compare it; 0 only without any doubt")
    verify.add_argument("path", nargs="?", default="", metavar="PATH", help="a snapshot's folder or name (default: the newest)")
    verify.set_defaults(run=run_verify)
    listing = group.add_parser("list", help="the snapshots, the age of the newest verified one (RPO) and the time to restore it (RTO)")
    listing.set_defaults(run=run_list)
    restore = group.add_parser("restore", help="put a snapshot in the place of the data; what is replaced is kept")
    restore.add_argument("path", nargs="?", default="", metavar="PATH", help="a snapshot's folder or name (default: the newest verified one)")
    restore.add_argument("--undo", action="store_true", help="put back what the last restore replaced")
    restore.add_argument("--finish", action="store_true", help="only end a restore that was killed in the middle")
    restore.set_defaults(run=run_restore)
    prune = group.add_parser("prune", help="what newer snapshots stand for: all but 7 daily, 4 weekly, 12 monthly and the last verified one")
    prune.add_argument("--yes", action="store_true", help="delete them; without it nothing is deleted")
    prune.set_defaults(run=run_prune)
    key = group.add_parser("key", help="make a key for encrypted backups; without it nobody can read them, so keep it elsewhere too")
    key.add_argument("file", metavar="FILE", help="a new file, for its owner only")
    key.set_defaults(run=run_key)
    for parser in (create, verify, restore):
        parser.add_argument("--key-file", default="", metavar="FILE", help=KEY)
    for parser in (create, verify, listing, restore, prune, key):
        parser.add_argument("--json", action="store_true")


def run_create(args: argparse.Namespace) -> int:
    """Make a snapshot; with --json print the manifest, with the snapshot's directory in `path`."""
    with own_process(), _maker(load()) as backups:
        snapshot = backups.create(_absolute(args.key_file))
    if args.json:
        print(json.dumps(snapshot.to_dict(), ensure_ascii=False))
    else:
        print(f"{snapshot.path}\n{len(snapshot.files)} files, {snapshot.bytes} bytes, {sum(snapshot.manifest['tables'].values())} rows, "
              f"{sum(snapshot.manifest['collections'].values())} points{', encrypted' if snapshot.encrypted else ''}. "
              "It counts once it was restored: `suite backup verify`.")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Restore a snapshot into a scratch folder; 0 when everything came back, 1 for any doubt."""
    try:
        with own_process(), _keeper(load()) as backups:
            found = backups.verify(_named(args.path), _absolute(args.key_file))
    except SuiteError as error:
        if args.debug:
            raise
        print(json.dumps({"path": args.path, "ok": False, "problems": [str(error)]}, ensure_ascii=False) if args.json else f"suite: {error}",
              file=sys.stdout if args.json else sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        for problem in found.problems:
            print(problem)
        print(f"{found.path}: " + (f"restored in {found.seconds:.2f} s: {found.rows} rows, {found.points} points, {found.searches} searches and "
                                   f"{found.decisions} decisions as before" if found.ok else "NOT as it was written; restore from another one"))
    return 0 if found.ok else 1


def run_list(args: argparse.Namespace) -> int:
    """Print the snapshots, the newest first."""
    from suite.backup.listing import COLUMNS, listing, standing

    folder = load().data_dir / "backups"
    rows, now = listing(folder), standing(folder)
    if args.json:
        print(json.dumps({"rows": [row.to_dict() for row in rows], "standing": now.to_dict()}, ensure_ascii=False))
        return 0
    shown = [[row.name, _age(row.age_s), f"{row.bytes / 1e6:.1f} MB", row.rows, row.points, "yes" if row.encrypted else "",
              row.error or ("never" if row.restore_s is None else "yes"), "" if row.restore_s is None else f"{row.restore_s:.2f}"] for row in rows]
    print(render.text_table(COLUMNS, shown))
    print("No snapshot was ever restored: `suite backup verify`." if now.rpo_s is None or now.rto_s is None else
          f"RPO {_age(now.rpo_s)} (age of the newest verified snapshot), RTO {now.rto_s:.2f} s (restoring it took that long).")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Restore, undo, or end what was begun; refused while a stack runs on the data directory."""
    from suite.backup import restore as restoring
    from suite.backup.cipher import read_key

    settings, key = load(), read_key(_absolute(args.key_file))
    if args.undo + args.finish + bool(args.path) > 1:
        raise BadRequest("Name a snapshot, --undo or --finish, only one of them.", param="path")
    with own_process(), _alone(settings) as server:
        data = settings.data_dir
        if args.finish:
            ended = restoring.finish(data, server)
            print(json.dumps({"what": ended}) if args.json else f"{ended} is in place." if ended else "No restore was interrupted here.")
            return 0
        done = restoring.undo(data, server=server) if args.undo else restoring.restore(_wanted(args.path, settings), data, key=key, server=server)
    if args.json:
        print(json.dumps(done.to_dict(), ensure_ascii=False))
    else:
        print(f"{done.what} is in place. What was there before is kept in {done.replaced}; `suite backup restore --undo` puts it back.")
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Print what stays and what goes; delete only with --yes."""
    from suite.backup.prune import prune

    done = prune(load().data_dir / "backups", dry_run=not args.yes)
    if args.json:
        print(json.dumps({"rows": done.rows(), **done.to_dict()}, ensure_ascii=False))
        return 0
    print(render.text_table(("name", "fate", "why"), [list(row.values()) for row in done.rows()]))
    if done.gone and not done.done:
        print(f"Nothing was deleted; `suite backup prune --yes` deletes {len(done.gone)} and frees {done.bytes / 1e6:.1f} MB.")
    return 0


def run_key(args: argparse.Namespace) -> int:
    """Make a key file."""
    from suite.backup.cipher import make_key

    file = Path(args.file).expanduser().absolute()
    key = make_key(file)
    print(json.dumps({"path": str(file), "key_id": key.id}) if args.json else
          f"{file} holds the key {key.id}. Whoever loses it loses the backups made with it: keep a copy away from this machine.")
    return 0


@contextmanager
def _maker(settings: Settings) -> Iterator[Any]:
    """The backups of the running stack, or our own while nobody else has the data directory."""
    from suite import host
    from suite.http.client import Client
    from suite.http.remote_backups import RemoteBackups
    from suite.storage.place import open_data_dir

    data = open_data_dir(settings.data_dir)
    found = host.claim(data / "run")
    if isinstance(found, host.HostRecord):
        with Client(found.url("api-gateway"), found.token()) as client:
            yield RemoteBackups(client)
        return
    from suite.backup import source
    from suite.backup.backups import Backups
    from suite.backup.restore import finish
    from suite.storage.engine import open_storage
    from suite.vectors.part import open_store

    try:
        finish(data, _server(settings))
        storage = open_storage(settings.database_url, data / "sqlite")
        try:
            store = open_store(settings, data / "vectors")
            try:
                yield Backups(data / "backups", lambda: source.everything(storage, store, settings), storage)
            finally:
                store.close()
        finally:
            storage.close()
    finally:
        found.release()


@contextmanager
def _keeper(settings: Settings) -> Iterator[Any]:
    """The backups' folder, for what needs no stack; with the PostgreSQL server on which a dump can be restored for a moment."""
    from suite.backup.backups import Backups

    server = _server(settings)
    storage = server() if server is not None else None
    try:
        yield Backups(settings.data_dir / "backups", list, storage)
    finally:
        if storage is not None:
            storage.close()


@contextmanager
def _alone(settings: Settings) -> Iterator[Callable[[], Any] | None]:
    """Hold the data directory, so that no stack runs on it or starts; gives what opens its PostgreSQL database, None for SQLite."""
    from suite import host
    from suite.storage.place import open_data_dir

    if settings.qdrant_url:
        raise BadRequest("QDRANT_URL names a Qdrant server, whose vectors are restored by its own snapshots; unset it to restore into DATA_DIR.")
    if settings.database_url.startswith("sqlite"):
        raise BadRequest("DATABASE_URL names a SQLite file outside of the suite's folders; unset it to restore into DATA_DIR, and copy the file.")
    data = open_data_dir(settings.data_dir)
    found = host.claim(data / "run")
    if isinstance(found, host.HostRecord):
        raise BadRequest(f"A stack runs on {data} (pid {found.pid}), and its data cannot be replaced under it; `suite down` ends it.")
    try:
        yield _server(settings)
    finally:
        found.release()


def _server(settings: Settings) -> Callable[[], Any] | None:
    if not settings.database_url.startswith("postgres"):
        return None

    def opened() -> Any:
        from suite.storage.engine import open_storage

        return open_storage(settings.database_url, settings.data_dir / "sqlite")

    return opened


def _wanted(path: str, settings: Settings) -> Path:
    """The snapshot to restore: the one named, else the newest that was verified."""
    from suite.backup.backups import Backups

    backups = Backups(settings.data_dir / "backups", list)
    if path:
        return backups.find(_named(path))
    newest = backups.newest()
    if newest is None:
        raise BadRequest(f"No backup in {backups.folder} was ever verified; name one, or call `suite backup verify`.", param="path")
    return Path(newest.path)


def _named(path: str) -> str:
    """A path that is there is meant as it stands where the command was called; any other text is a snapshot's name."""
    return str(Path(path).expanduser().absolute()) if path and Path(path).expanduser().exists() else path


def _absolute(file: str) -> str:
    return str(Path(file).expanduser().absolute()) if file else ""


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
