"""A PostgreSQL database as one file, by PostgreSQL's own pg_dump; the password goes through a private file, never through an argument."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from suite.errors import StorageError

SECONDS = 1800  # a dump that takes longer hangs
FILE = "suite.dump"


def dump(url: Any, folder: Path) -> dict[str, Any]:
    """Write the database at `url` (an SQLAlchemy URL) to `folder/suite.dump` in pg_dump's custom format, and give facts for the manifest.

    Raises StorageError when pg_dump is not installed, is older than the server, or is refused.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise StorageError("The database is PostgreSQL, and pg_dump, which backs it up, is not installed; "
                           "install your system's postgresql-client package.")
    with tempfile.TemporaryDirectory(prefix="suite-pass-") as scratch:
        passfile = Path(scratch) / "pass"
        handle = os.open(passfile, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            password = str(url.password or "").replace("\\", "\\\\").replace(":", "\\:")
            stream.write(f"*:*:*:*:{password}\n")
        address = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database, "passfile": passfile, "connect_timeout": 10}
        command = [program, "--format=custom", "--no-password", f"--file={folder / FILE}",
                   "--dbname=" + " ".join(f"{name}={_quoted(value)}" for name, value in address.items() if value)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise StorageError(f"pg_dump did not end within {SECONDS} s; look at the PostgreSQL server's log.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise StorageError(f"pg_dump ended with status {done.returncode} ({said[-1][:200]}); mend that and back up again, nothing was kept.")
    return {"kind": "postgresql", "format": "custom"}


def _quoted(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
