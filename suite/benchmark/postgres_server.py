"""A private, throw-away PostgreSQL server from the distribution's packages."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    import psycopg

PLACES = Path("/usr/lib/postgresql")
OLDEST = 15  # the first whose databases can sort by ICU
USER = "lab"
MARK = secrets.token_hex(8)  # what a search for the password looks for
PASSWORD = f"{MARK}@:/%'"  # with everything that a URL must escape
STARTS = 3  # a free port may be taken before the server has it


class NoServer(Exception):
    """Why no server can be started here."""


@dataclass
class Server:
    """A server that listens on 127.0.0.1; `fresh` makes an empty database on it."""

    folder: Path
    binaries: Path
    port: int = 0
    count: int = 0

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """The SQLAlchemy URL of a database, with the password in it."""
        return f"postgresql+psycopg://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of a new, empty database, whose texts do not sort as bytes do."""
        self.count += 1
        name = f"lab{self.count}"
        with self.admin() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
        return self.url(name)

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """A connection beside the suite's own, outside of any transaction; use it as a context."""
        import psycopg  # here, because only who uses such a database has its driver

        return psycopg.connect(host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True)

    def start(self, port: int = 0) -> None:
        """Listen on that port, or on a free one; raises NoServer with the end of the server's log."""
        for _ in range(STARTS):
            self.port = port or _free()
            options = f"-k {self.folder} -h 127.0.0.1 -p {self.port} -c fsync=off -c shared_buffers=32MB"
            # -l, because the server would otherwise keep our pipe open
            if self._do("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start").returncode == 0:
                return
        raise NoServer(f"PostgreSQL did not start: {(self.folder / 'log').read_text(errors='replace')[-400:]}")

    def stop(self) -> None:
        """End the server at once."""
        self._do("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def prepare(self) -> None:
        """Make the cluster; raises NoServer."""
        words = self.folder / "password"
        words.write_text(PASSWORD + "\n", encoding="utf-8")
        words.chmod(0o600)
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self.folder, words):
                os.chown(path, user.pw_uid, user.pw_gid)
        made = self._do("initdb", "-D", str(self.folder / "data"), "-A", "scram-sha-256", f"--pwfile={words}", "-U", USER, "-E", "UTF8",
                        "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        if made.returncode:
            raise NoServer(f"initdb failed: {made.stderr[-400:]}")

    def _do(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        become = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # PostgreSQL refuses to run as root
        return subprocess.run([*become, str(self.binaries / program), *arguments], capture_output=True, text=True, cwd="/")


def _free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def binaries() -> Path:
    """The folder of the newest installed server's programs; raises NoServer when there is none."""
    found = {int(path.parent.parent.name): path.parent for path in PLACES.glob("*/bin/initdb") if path.parent.parent.name.isdecimal()}
    if not found or max(found) < OLDEST:
        raise NoServer(f"no PostgreSQL {OLDEST} or newer below {PLACES}; `apt-get install -y --no-install-recommends postgresql` puts one there")
    if os.getuid() == 0 and not shutil.which("runuser"):
        raise NoServer("PostgreSQL does not run as root, and there is no `runuser` to become another user")
    return found[max(found)]


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A started server, stopped and deleted at the end; raises NoServer where none can be had."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="suite-pg-", dir="/tmp"))  # not below pytest's folder: private to us, and too long for a socket's name
    server = Server(folder, programs)
    try:
        server.prepare()
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
