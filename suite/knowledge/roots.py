"""The folders below which documents may be read, and opening a file below them without being led out of them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from suite.errors import BadRequest
from suite.settings import package_file

SECRET_FOLDERS = ("run", "keys")  # of the data directory
SECRET_NAMES = (".token", ".key", ".pem", "/chat_history")  # ends of paths in it
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: should a pipe have taken the file's place just now, open() must not wait for a writer
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Roots:
    """Which paths may be read: those below `folders`, but nothing hidden when nobody has chosen the folders, and never the suite's own secrets.

    Whatever is chosen, the suite's probes may be read (below the data directory's cache) and the golden set that it ships.
    """

    def __init__(self, setting: str, data_dir: Path, started_in: Path) -> None:
        """`setting` is RAG_ROOTS; when empty: the home directory, `started_in` and the data directory, none of which counts when it is `/`."""
        given = [entry for entry in setting.split(os.pathsep) if entry.strip()]
        self._chosen = bool(given)
        real = [os.path.realpath(entry) for entry in given or (os.path.expanduser("~"), started_in, data_dir)]
        # a service without a home, or started in `/`, has not chosen to show the whole machine
        self.folders = tuple(dict.fromkeys(folder for folder in real if self._chosen or (os.path.isabs(folder) and folder != "/")))
        self._data = os.path.realpath(data_dir)
        self._own = (os.path.join(self._data, "cache"), os.path.realpath(package_file("runbooks/golden")))
        self._secret = tuple(os.path.join(self._data, name) for name in SECRET_FOLDERS)

    def refusal(self, real: str) -> str:
        """Why the path, resolved and absolute, may not be read, as the end of a sentence that begins with the path; empty when it may."""
        if real.startswith(self._data) and (_below(real, self._secret) is not None or (_below(real, (self._data,)) and real.endswith(SECRET_NAMES))):
            return "belongs to the suite's own secrets, which are never read"
        if _below(real, self._own) is not None:
            return ""
        hidden = ""
        for folder in self.folders:
            rest = _below(real, (folder,))
            if rest is not None:
                if self._chosen or "/." not in rest:
                    return ""
                hidden = next(part for part in rest.split("/") if part.startswith("."))
        if hidden:
            return f"lies below {hidden!r}, which is hidden; set RAG_ROOTS to the folders that are meant"
        return f"lies outside of the folders that may be read ({', '.join(self.folders) or 'none'}); set RAG_ROOTS to add one"

    def settle(self, path: str) -> str:
        """The resolved path. Raises BadRequest when it may not be read; whether anything is there is not told then."""
        real = resolved(path)
        why = self.refusal(real)
        if why:
            raise BadRequest(why if real == os.path.normpath(path) else f"leads to {real}, which {why}")
        return real

    def open(self, real: str) -> int:
        """A descriptor to read the regular file at a settled path from.

        Every folder on the way is opened without following links, so nobody can swap one in after the check. Raises BadRequest.
        """
        why = self.refusal(real)
        if why:
            raise BadRequest(why)
        root = next(folder for folder in (*self.folders, *self._own) if _below(real, (folder,)) is not None)
        try:
            return _opened(root, real[len(root):].strip("/").split("/"))
        except OSError as error:
            raise BadRequest(_reason(error)) from error


def resolved(path: str) -> str:
    """The path without links and `..`. Raises BadRequest when no file can have it."""
    try:
        real = os.path.realpath(path)
        real.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest("its name is not UTF-8; rename it") from error
    except ValueError as error:
        raise BadRequest("holds a NUL character, so it is no path") from error
    except OSError as error:  # a link that was replaced between two looks at it
        raise BadRequest("changed just now; add it again") from error
    return real


def shown(path: str) -> str:
    """The path as text that can be written anywhere; bytes that are no UTF-8 become question marks in black."""
    return path if path.isascii() else path.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _below(real: str, folders: Sequence[str]) -> str | None:
    """What follows the first of the folders that holds the path, empty or beginning with a slash; None when none of them does."""
    for folder in folders:
        before = folder.rstrip("/")
        if real == folder or real.startswith(before + "/"):
            return real[len(before):]
    return None


def _opened(root: str, parts: Sequence[str]) -> int:
    folder = os.open(root, _THROUGH)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _THROUGH, dir_fd=folder)
            os.close(folder)
            folder = deeper
        _refuse_odd(os.stat(parts[-1] or ".", dir_fd=folder, follow_symlinks=False))  # before opening: opening a device may do something
        file = os.open(parts[-1], _READING, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _refuse_odd(os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def _refuse_odd(facts: os.stat_result) -> None:
    if stat.S_ISLNK(facts.st_mode):  # links were resolved before: this one was put in since, or leads in a circle
        raise OSError(errno.ELOOP, "link")
    if not stat.S_ISREG(facts.st_mode):  # a pipe or a device would never end
        raise BadRequest("not a regular file")


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "does not exist"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "goes through a link that changed just now or leads in a circle, or through something that is no folder"
    return f"cannot be read: {error.strerror}"
