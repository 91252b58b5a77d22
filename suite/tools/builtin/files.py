"""Tools that read files of the workspace, and nothing outside of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, TypedDict

from suite.errors import BadRequest, Denied, NotFound
from suite.tools.tool import Place, Tool, tool_of

READ_LIMIT = 1_000_000  # bytes of one file
LIST_LIMIT = 1000  # names of one folder
SECRETS = (".env", ".env.*", "*.env", ".envrc", ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".pgpass", ".my.cnf", ".npmrc",
           ".pypirc", ".htpasswd", ".git-credentials", ".vault-token", "*.key", "*.pem", "*.p12", "*.pfx", "*.kdbx", "*.keystore", "*.token",
           "id_*", "secrets.*", "credentials", "credentials.*")
_KINDS = ((stat.S_ISDIR, "a folder; list_files shows what is in it"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
          (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
_PATH = {"description": "Path inside the workspace; relative ones start in the caller's folder.", "minLength": 1, "maxLength": 4096}
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Read(TypedDict):
    """The text of a file: `size` in characters, `type` the suffix of its name."""

    path: str
    content: str
    size: int
    bytes: int
    type: str


class Listing(TypedDict):
    """Names in a folder, `count` of them in all, `left_out` not shown."""

    path: str
    files: list[str]
    count: int
    left_out: int


def read_file(path: Annotated[str, _PATH], place: Place) -> Read:
    """Read a UTF-8 text file of the workspace (at most 1 MB)."""
    parts = _settle(path, place)
    with _folder(place, parts[:-1], path) as folder:
        data = _content(folder, parts[-1] if parts else ".", path)
    if b"\0" in data:
        raise BadRequest(f"{path!r} is a binary file (it holds NUL bytes); read_file reads text only.", param="path")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path!r} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}): a binary file, or text to be converted "
                         "to UTF-8 first.", param="path") from None
    return {"path": _shown(parts), "content": content, "size": len(content), "bytes": len(data), "type": Path(parts[-1]).suffix}


def list_files(place: Place, path: Annotated[str, _PATH] = ".") -> Listing:
    """List the names in a folder of the workspace (at most 1000); folders end with a slash."""
    parts = _settle(path, place)
    with _folder(place, parts, path) as folder:
        try:
            readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise _refusal(error, path) from error
        try:
            with os.scandir(readable) as entries:
                names = sorted(_name(entry) for entry in entries)
        finally:
            os.close(readable)
    return {"path": _shown(parts), "files": names[:LIST_LIMIT], "count": len(names), "left_out": max(0, len(names) - LIST_LIMIT)}


def _settle(path: str, place: Place) -> tuple[str, ...]:
    """The path's components below the workspace, links resolved.

    Raises Denied for what lies outside or holds secrets; whether a file outside exists is not told.
    """
    if "\0" in path:
        raise BadRequest(f"Path {path[:80]!r} holds a NUL character; remove it.", param="path")
    workspace = Path(os.path.realpath(place.workspace))
    try:
        real = Path(os.path.realpath(place.cwd / path))
    except (OSError, UnicodeEncodeError) as error:
        raise _refusal(error, path) from error
    if real != workspace and workspace not in real.parents:
        raise Denied(f"Path {path[:200]!r} leads out of the workspace; name a file inside of it.", param="path")
    for folder in place.private:
        if real == folder or folder in real.parents:
            raise Denied(f"Path {path[:200]!r} lies in the suite's own data, which tools do not show; name a file of yours.", param="path")
    parts = real.relative_to(workspace).parts
    for part in parts:
        if any(fnmatchcase(part.lower(), pattern) for pattern in SECRETS):
            raise Denied(f"Path {path[:200]!r} leads to {part!r}, a name under which secrets are kept; tools do not read those.", param="path")
    return parts


@contextmanager
def _folder(place: Place, parts: tuple[str, ...], path: str) -> Iterator[int]:
    """A descriptor of the folder, opened component by component without following links: nobody can swap one in after the check."""
    fd = os.open(os.path.realpath(place.workspace), _THROUGH)
    try:
        for part in parts:
            try:
                deeper = os.open(part, _THROUGH, dir_fd=fd)
            except (OSError, UnicodeEncodeError) as error:
                raise _refusal(error, path) from error
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def _content(folder: int, name: str, path: str) -> bytes:
    try:
        _refuse_odd(os.stat(name, dir_fd=folder, follow_symlinks=False), path)  # before opening: opening a device may do something
        # O_NONBLOCK: should a pipe have taken the file's place just now, open() must not wait for a writer
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, UnicodeEncodeError) as error:
        raise _refusal(error, path) from error
    with os.fdopen(fd, "rb", buffering=0) as stream:
        facts = os.fstat(fd)
        _refuse_odd(facts, path)
        pieces, room = [], READ_LIMIT + 1
        while room and (piece := stream.read(min(room, 1 << 16))):
            pieces.append(piece)
            room -= len(piece)
    if not room:
        raise BadRequest(f"{path!r} has {max(facts.st_size, READ_LIMIT + 1)} bytes, more than the {READ_LIMIT} that read_file reads; "
                         "split the file.", param="path")
    return b"".join(pieces)


def _refuse_odd(facts: os.stat_result, path: str) -> None:
    if stat.S_ISREG(facts.st_mode):
        return
    if stat.S_ISLNK(facts.st_mode):  # links were resolved before: this one leads in a circle, or was put in since
        raise _refusal(OSError(errno.ELOOP, "link"), path)
    kind = next((word for test, word in _KINDS if test(facts.st_mode)), "something else")
    raise BadRequest(f"{path!r} is not a file but {kind}.", param="path")


def _refusal(error: OSError | UnicodeEncodeError, path: str) -> BadRequest | Denied | NotFound:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return NotFound(f"There is no {path[:200]!r} in the workspace; list_files shows what is there.", param="path")
    if code == errno.ELOOP:
        return Denied(f"Path {path[:200]!r} goes through a link that changed or leads in a circle; name the file itself.", param="path")
    if code in (errno.EACCES, errno.EPERM):
        return Denied(f"The operating system does not let this user read {path[:200]!r}; change the file's mode.", param="path")
    if code == errno.ENOTDIR:
        return BadRequest(f"{path[:200]!r} goes through something that is not a folder; list_files shows what is there.", param="path")
    reason = error.strerror if isinstance(error, OSError) else "not a valid name"
    return BadRequest(f"Path {path[:80]!r} cannot be opened ({reason}); name a file of the workspace.", param="path")


def _name(entry: os.DirEntry[str]) -> str:
    name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a name in another encoding is shown, not a crash
    return name + "/" if entry.is_dir(follow_symlinks=False) else name


def _shown(parts: tuple[str, ...]) -> str:
    return "/".join(parts) or "."


FILE_TOOLS: tuple[Tool, ...] = (tool_of(read_file), tool_of(list_files))
