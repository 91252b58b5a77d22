"""A PostgreSQL database as one file, and back, by PostgreSQL's own programs; a password goes through a private file, never through an argument."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.errors import StorageError

SECONDS = 1800  # a program that takes longer hangs
FILE = "suite.dump"
SCRIPT = "suite.sql"
PREFIX = "suite_verify_"
LOCK_SECONDS = 30  # how long a restore waits for whoever else uses the database


def dump(url: Any, folder: Path, snapshot: str = "") -> dict[str, Any]:
    """Write the database at `url` (an SQLAlchemy URL) to `folder/suite.dump` in pg_dump's custom format, and give facts for the manifest.

    `snapshot` is an exported one, whose state is dumped. Raises StorageError when pg_dump is not installed, is older than the server, or is refused.
    """
    state = [f"--snapshot={snapshot}"] if snapshot else []
    _run("pg_dump", url, ["--format=custom", "--no-password", f"--file={folder / FILE}", *state], "mend that and back up again, nothing was kept")
    return {"kind": "postgresql", "format": "custom", "pg_dump": version("pg_dump")}


@contextmanager
def scratch_database(url: Any, file: Path) -> Iterator[Any]:
    """The URL of a new database on the server of `url` that holds what a dump does; it is dropped afterwards.

    Raises StorageError when the server does not allow that.
    """
    name = PREFIX + secrets.token_hex(6)
    advice = "let this user make databases (ALTER ROLE … CREATEDB), or verify on another server"
    _psql(url, [f'CREATE DATABASE "{name}" TEMPLATE template0'], advice)
    try:
        scratch = url.set(database=name)
        _run("pg_restore", scratch, ["--no-password", "--no-owner", "--no-privileges", "--exit-on-error", str(file)], "choose another backup")
        yield scratch
    finally:
        _psql(url, [f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'], f"drop the database {name} by hand")


def replace(url: Any, file: Path, extra: Sequence[str]) -> None:
    """Make a database what a dump holds, in one transaction: all of it or nothing. `extra` are tables that go although the dump has none of them.

    Raises StorageError and leaves the database as it was.
    """
    script = file.with_name(SCRIPT)
    try:
        _run("pg_restore", None, ["--clean", "--if-exists", "--no-owner", "--no-privileges", f"--file={script}", str(file)], "choose another backup")
        before = [f"SET lock_timeout = '{LOCK_SECONDS}s'", *(f'DROP TABLE IF EXISTS "{name}" CASCADE' for name in extra)]
        _psql(url, before, "the database is as it was; mend that and restore again", script)
    finally:
        script.unlink(missing_ok=True)


def version(program: str) -> str:
    """What a program says of its version; empty when it is not there."""
    path = shutil.which(program)
    if path is None:
        return ""
    return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL).stdout.strip()


def _psql(url: Any, commands: Sequence[str], advice: str, script: Path | None = None) -> None:
    """Run statements, and a script after them; with a script all in one transaction."""
    more = ["--single-transaction", f"--file={script}"] if script else []
    given = [part for command in commands for part in ("--command", command)]
    _run("psql", url, ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", *given, *more], advice)


def _run(name: str, url: Any, arguments: Sequence[str], advice: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise StorageError(f"The database is PostgreSQL, and {name}, which backs it up or restores it, is not installed; "
                           "install your system's postgresql-client package.")
    with tempfile.TemporaryDirectory(prefix="suite-pass-") as folder:
        where = [] if url is None else [f"--dbname={_address(url, Path(folder))}"]
        try:
            done = subprocess.run([program, *where, *arguments], capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, cwd="/")
        except subprocess.TimeoutExpired as error:
            raise StorageError(f"{name} did not end within {SECONDS} s; look at the PostgreSQL server's log.") from error
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no message"]
        first = next((line for line in said if "ERROR" in line or "error:" in line), said[-1])
        raise StorageError(f"{name} ended with status {done.returncode} ({first[:200]}); {advice}.")


def _address(url: Any, folder: Path) -> str:
    """A connection string without the password, which lies in a private file that it names."""
    asked = {key: value if isinstance(value, str) else value[0] for key, value in url.query.items()}
    password = str(url.password or asked.pop("password", ""))
    passfile = folder / "pass"
    handle = os.open(passfile, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write("*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    address = {"connect_timeout": 10, **asked, "host": url.host or asked.get("host"), "port": url.port or asked.get("port"),
               "user": url.username or asked.get("user"), "dbname": url.database, "passfile": passfile}
    return " ".join(f"{name}={_quoted(value)}" for name, value in address.items() if value)


def _quoted(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
