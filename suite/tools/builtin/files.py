"""Tools that read and write files of the workspace, and nothing outside of it."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypedDict

from suite.errors import BadRequest, Denied, TooLarge, ToolFailed
from suite.tools.builtin.paths import PATH, in_git_folder, open_folder, refusal, refuse_odd, settle
from suite.tools.tool import Place, Tool, tool_of

READ_LIMIT = 1_000_000  # bytes of one file
WRITE_LIMIT = 1_000_000  # bytes of one file
DEPTH_LIMIT = 64  # folders on the way to a file that is written
LIST_LIMIT = 1000  # names of one folder
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Read(TypedDict):
    """The text of a file: `size` in characters, `type` the suffix of its name."""

    path: str
    content: str
    size: int
    bytes: int
    type: str


class Written(TypedDict):
    """A file as it stands now: `size` in characters; `created` is whether there was none before."""

    path: str
    size: int
    bytes: int
    created: bool


class Listing(TypedDict):
    """Names in a folder, `count` of them in all, `left_out` not shown."""

    path: str
    files: list[str]
    count: int
    left_out: int


def read_file(path: Annotated[str, PATH], place: Place) -> Read:
    """Read a UTF-8 text file of the workspace (at most 1 MB)."""
    spot = settle(path, place)
    parts = spot.parts
    with open_folder(spot.root, parts[:-1], path) as folder:
        data = _content(folder, parts[-1] if parts else ".", path)
    if b"\0" in data:
        raise BadRequest(f"{path!r} is a binary file (it holds NUL bytes); read_file reads text only.", param="path")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path!r} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}): a binary file, or text to be converted "
                         "to UTF-8 first.", param="path") from None
    return {"path": spot.shown(place), "content": content, "size": len(content), "bytes": len(data), "type": Path(parts[-1]).suffix}


def write_file(path: Annotated[str, PATH], content: Annotated[str, {"description": "The whole new text of the file.", "maxLength": WRITE_LIMIT}],
               place: Place) -> Written:
    """Write a UTF-8 text file of the workspace (at most 1 MB), whole or not at all; folders on the way are made."""
    spot = settle(path, place, verb="write")
    parts = spot.parts
    if in_git_folder(parts):
        raise Denied(f"Path {path[:200]!r} lies in a .git folder, whose hooks and settings are programs; use the git tools.", param="path")
    if not parts or path.endswith("/"):
        raise BadRequest(f"{path[:200]!r} names a folder; name a file in it.", param="path")
    if len(parts) > DEPTH_LIMIT:
        raise BadRequest(f"Path {path[:80]!r} has {len(parts)} components, more than {DEPTH_LIMIT}; choose a shorter one.", param="path")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path):
        raise BadRequest(f"Path {path[:80]!r} holds a control character or half of a pair; remove it.", param="path")
    try:
        data = content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(f"The content cannot be written as UTF-8 (character {error.start} is half of a pair); remove that character.",
                         param="content") from None
    if len(data) > WRITE_LIMIT:
        raise TooLarge(f"The content has {len(data)} bytes, more than the {WRITE_LIMIT} that write_file writes; split it.", param="content")
    with open_folder(spot.root, parts[:-1], path, verb="write", create=True) as folder:
        created = _replace(folder, parts[-1], data, path)
    return {"path": spot.shown(place), "size": len(content), "bytes": len(data), "created": created}


def list_files(place: Place, path: Annotated[str, PATH] = ".") -> Listing:
    """List the names in a folder of the workspace (at most 1000); folders end with a slash."""
    spot = settle(path, place)
    with open_folder(spot.root, spot.parts, path) as folder:
        try:
            readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise refusal(error, path) from error
        try:
            with os.scandir(readable) as entries:
                names = sorted(_name(entry) for entry in entries)
        finally:
            os.close(readable)
    return {"path": spot.shown(place), "files": names[:LIST_LIMIT], "count": len(names), "left_out": max(0, len(names) - LIST_LIMIT)}


def _content(folder: int, name: str, path: str) -> bytes:
    try:
        refuse_odd(os.stat(name, dir_fd=folder, follow_symlinks=False), path)  # before opening: opening a device may do something
        # O_NONBLOCK: should a pipe have taken the file's place just now, open() must not wait for a writer
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, UnicodeEncodeError) as error:
        raise refusal(error, path) from error
    with os.fdopen(fd, "rb", buffering=0) as stream:
        facts = os.fstat(fd)
        refuse_odd(facts, path)
        pieces, room = [], READ_LIMIT + 1
        while room and (piece := stream.read(min(room, 1 << 16))):
            pieces.append(piece)
            room -= len(piece)
    if not room:
        raise BadRequest(f"{path!r} has {max(facts.st_size, READ_LIMIT + 1)} bytes, more than the {READ_LIMIT} that read_file reads; "
                         "split the file.", param="path")
    return b"".join(pieces)


def _replace(folder: int, name: str, data: bytes, path: str) -> bool:
    """Put the data in the file's place by renaming, so that nobody ever sees half of it; gives whether the file is new."""
    spare = f".suite-{secrets.token_hex(8)}.tmp"
    try:
        before = _before(folder, name, path)
        # a new file's mode is what the user's umask leaves; the copy of one that is there stays closed until it has that one's mode
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600 if before else 0o666, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                if before is not None:
                    _take_after(fd, before)
                os.fsync(fd)
            os.replace(spare, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(spare, dir_fd=folder)
            raise
        _sync(folder)
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise ToolFailed(f"There is no room for {path[:200]!r} ({error.strerror}); free some space; the file is as it was.",
                             param="path") from error
        raise refusal(error, path, "write") from error
    return before is None


def _before(folder: int, name: str, path: str) -> os.stat_result | None:
    """The facts of the file that is to be replaced, None where there is none."""
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    refuse_odd(facts, path)
    # renaming asks for the folder's mode only: a file that its owner made read-only is left alone all the same
    if not facts.st_mode & 0o222 or not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
        raise PermissionError(errno.EACCES, "read-only")
    return facts


def _take_after(fd: int, before: os.stat_result) -> None:
    if os.geteuid() == 0:  # root writing a user's file leaves it the user's
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode) & 0o777)


def _sync(folder: int) -> None:
    """The new name is on the disk too; a descriptor that is only a place cannot be synced, so the folder is opened again."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(readable)
    finally:
        os.close(readable)


def _name(entry: os.DirEntry[str]) -> str:
    name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a name in another encoding is shown, not a crash
    return name + "/" if entry.is_dir(follow_symlinks=False) else name


FILE_TOOLS: tuple[Tool, ...] = (tool_of(read_file), tool_of(list_files))
WRITE_TOOLS: tuple[Tool, ...] = (tool_of(write_file),)
