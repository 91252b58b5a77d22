"""The data directory: its folders, and the start-up probe that the filesystem under it can hold them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path

from suite.errors import DataDirError

FOLDERS = {
    "sqlite": "storage", "vectors": "vectors", "documents": "knowledge", "memory": "memory", "cache": "serving", "logs": "monitoring.log",
    "monitoring": "monitoring", "analytics": "usage", "backups": "backup", "reports": "runbooks", "run": "host",
}
FREE_BYTES = 64 << 20  # under this nothing is started: a database that fills up in the middle helps nobody


def open_data_dir(path: Path) -> Path:
    """Make the data directory and its folders (0700) and prove that they can be used; gives the path back.

    Raises DataDirError when it cannot be written, is full, or is on a filesystem without locks, modes, renames or WAL.
    """
    try:
        for folder in (path, *(path / name for name in FOLDERS)):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_uid == os.getuid() and stat.S_IMODE(folder.stat().st_mode) != 0o700:
                with contextlib.suppress(PermissionError):  # where modes cannot be set the probe below says so
                    folder.chmod(0o700)
        free = shutil.disk_usage(path).free
        if free < FREE_BYTES:  # asked first: on a full disk the probes would blame the filesystem
            raise DataDirError(f"DATA_DIR {path} has {free >> 20} MiB free, less than {FREE_BYTES >> 20}; free some space or set DATA_DIR.")
        with tempfile.TemporaryDirectory(dir=path / "run", prefix="probe-") as scratch:
            for name, probe in (("file locking", _locks), ("file modes", _modes), ("renaming", _renames), ("SQLite's write-ahead log", _wal)):
                reason = probe(Path(scratch))
                if reason:
                    raise DataDirError(
                        f"DATA_DIR {path} is on a filesystem ({filesystem(path)}) where {name} does not work ({reason}); "
                        "set DATA_DIR to a Linux filesystem, for example ~/.local/share/local-ai-suite (MODELS_DIR may stay where it is)."
                    )
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        advice = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EEXIST: "a file is in the way, move it",
                  errno.ENOTDIR: "a file is in the way, move it"}.get(error.errno or 0, "make it writable")
        raise DataDirError(f"DATA_DIR {path} cannot be used: {error.strerror or error}{where}; {advice} or set DATA_DIR.") from error
    return path


def filesystem(path: Path) -> str:
    """The type of the filesystem that holds `path`, as the kernel names it (`ext4`, `9p`, `drvfs` …)."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, mount, name, *_ = line.split(" ")
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount)  # a space in a folder's name is written \040
        if (str(path) + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def _locks(scratch: Path) -> str:
    file = scratch / "lock"
    with file.open("w") as first, file.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return ""
    return "two holders got one exclusive lock"


def _modes(scratch: Path) -> str:
    file = scratch / "mode"
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    mode = stat.S_IMODE(file.stat().st_mode)
    return "" if mode == 0o600 else f"a file made 0600 became {mode:04o}"


def _renames(scratch: Path) -> str:
    old, new = scratch / "old", scratch / "new"
    old.write_text("old", encoding="utf-8")
    new.write_text("new", encoding="utf-8")
    with new.open() as held:  # replaced while open, as every atomic write of ours is
        os.replace(old, new)
        return "" if new.read_text(encoding="utf-8") == "old" and held.read() == "new" else "a replaced file changed under its reader"


def _wal(scratch: Path) -> str:
    connection = sqlite3.connect(scratch / "wal.db")
    try:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("CREATE TABLE probe (x)")
        return "" if mode == "wal" else f"journal mode is {mode}"
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()
