"""What is backed up: the database, the vectors, and the files that say how the suite was set; secrets never, and they are named as left out."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

from suite.access.policy import load_policy
from suite.backup import question, replica
from suite.backup.folder import SCRATCH
from suite.backup.postgres import dump
from suite.backup.snapshot import Source
from suite.errors import StorageError
from suite.settings import Settings, secrets
from suite.text.secret import masked_text

FILE = "suite.db"
SETTINGS, POLICY = "settings.json", "policy.toml"
RECORDS = ("drills.json", "ledger*")  # in the reports directory, where they are there
LEFT_OUT = (
    {"what": "run/", "why": "the host's record and its access token: a new one is made at each start"},
    {"what": "*.key, *.token", "why": "keys and tokens, the key of encrypted backups among them: keep them elsewhere"},
    {"what": "tokens in the environment (HF_TOKEN and the like)", "why": "secrets; they are never stored by the suite"},
    {"what": "models, cache, logs", "why": "fetched or made again; logs are not needed to go on"},
)


def everything(storage: Any, store: Any, settings: Settings) -> list[Source]:
    """All sources of a stack; where there are vectors to be searched, half of the saved searches are theirs."""
    words = question.SEARCHES // 2 if any(info.points for info in store.collections()) else question.SEARCHES
    return [database(storage, words), vectors(store), files(settings)]


def database(storage: Any, words: int = question.SEARCHES) -> Source:
    """The source for the suite's database: SQLite by its online backup, PostgreSQL by pg_dump; its copy is asked before anything is hashed.

    `words` is how many searches by words are saved with it, at most.
    """
    def write(folder: Path) -> Mapping[str, Any]:
        return _server(storage, folder, words) if storage.file is None else _file(storage, folder, words)

    return Source("database", write)


def _file(storage: Any, folder: Path, words: int) -> Mapping[str, Any]:
    target = folder / FILE
    with closing(sqlite3.connect(f"{storage.file.resolve().as_uri()}?mode=ro", uri=True)) as present, closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA synchronous=OFF")  # it is synced once, when it is whole
        present.backup(copy)  # in one step: one that is made in many begins anew whenever somebody writes
        state = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        version = copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    if state != "ok":
        raise StorageError(f"The database {storage.file} is damaged ({state}), so its copy was not kept; restore the newest good backup.")
    replica.single(target)
    with replica.database(folder) as opened:
        asked = {"searches": question.word_searches(opened, time.time(), words), "decisions": question.decisions(opened, load_policy()),
                 "audit": question.audit_head(opened)}
    return {"kind": "sqlite", "schema": version, "tables": question.sqlite_rows(target), **asked}


def _server(storage: Any, folder: Path, words: int) -> Mapping[str, Any]:
    with storage.read() as connection:  # one state, which pg_dump is given too
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
        facts = dump(storage.engine.url, folder, snapshot)
        frozen = replica.Frozen(storage, connection)
        return {**facts, "schema": connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar(),
                "server": connection.exec_driver_sql("SHOW server_version").scalar(), "tables": question.server_rows(connection),
                "searches": question.word_searches(frozen, time.time(), words), "decisions": question.decisions(frozen, load_policy()),
                "audit": question.audit_head(frozen)}


def vectors(store: Any) -> Source:
    """The source for the vector store: its collections as the store itself copies them, each copy opened and asked."""

    def write(folder: Path) -> Mapping[str, Any]:
        store.flush()
        store.copy_to(folder)
        points: dict[str, int] = {}
        searches: list[dict[str, Any]] = []
        loading = folder.parent / f"{SCRATCH}vectors"
        names = replica.names(folder)
        each = question.SEARCHES if len(names) <= 5 else 2
        try:
            for name in names:
                with replica.collection(folder, name, loading) as shard:
                    points[name] = shard.count(None)
                    searches += question.vector_searches(shard, each)
        finally:
            shutil.rmtree(loading, ignore_errors=True)
        return {"kind": "vectors", "collections": points, "searches": searches}

    return Source("vectors", write)


def files(settings: Settings) -> Source:
    """The source for the settings in force, the access policy, and the records of drills and reports; `left_out` names every secret."""

    def write(folder: Path) -> Mapping[str, Any]:
        plain = {name: value for name, value in settings.values().items() if _open(value, getattr(settings, name))}
        for name in secrets():
            plain.pop(name, None)  # named as left out even where none is set
        hidden = sorted(settings.values().keys() - plain.keys())
        (folder / SETTINGS).write_text(json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (folder / POLICY).write_bytes(resources.files("suite.access").joinpath("policy.toml").read_bytes())
        kept = []
        for pattern in RECORDS:
            for path in sorted(settings.reports_dir.glob(pattern)):
                if path.is_file() and not path.is_symlink() and path.suffix not in (".key", ".token"):
                    shutil.copyfile(path, folder / path.name)
                    kept.append(path.name)
        secret = [{"what": name.upper(), "why": "a key, or an address with a password in it"} for name in hidden]
        return {"kind": "files", "records": kept, "left_out": [*secret, *LEFT_OUT]}

    return Source("files", write)


def tree(name: str, path: Path) -> Source:
    """The source for a folder of ordinary files, copied as they are; links, sockets and pipes are left out."""

    def odd(parent: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(parent, name).is_symlink() or not (Path(parent, name).is_dir() or Path(parent, name).is_file())]

    def write(folder: Path) -> Mapping[str, Any]:
        if not path.is_dir():
            raise StorageError(f"The folder {path} does not exist, so it cannot be backed up; make it or leave it out.")
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=odd)
        return {"kind": "tree", "path": str(path)}

    return Source(name, write)


def _open(shown: Any, value: Any) -> bool:
    """Whether a setting is shown as it is, and holds no secret."""
    return str(shown) == str(value) and masked_text(str(shown)) == str(shown)
