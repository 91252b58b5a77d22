"""Paths of the workspace: settled, opened without following links, and refused where tools may not go."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from suite.errors import BadRequest, Denied, NotFound
from suite.tools.roots import within
from suite.tools.tool import Place

PATH = {"description": "Path inside the workspace, absolute in a further root of it; relative ones start in the caller's folder.", "minLength": 1,
        "maxLength": 4096}
SECRETS = (".env", ".env.*", "*.env", ".envrc", ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".pgpass", ".my.cnf", ".npmrc",
           ".pypirc", ".htpasswd", ".git-credentials", ".vault-token", "*.key", "*.pem", "*.p12", "*.pfx", "*.kdbx", "*.keystore", "*.token",
           "id_*", "secrets.*", "credentials", "credentials.*")
_KINDS = ((stat.S_ISDIR, "a folder; list_files shows what is in it"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
          (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Spot:
    """A settled path: the root that holds it and its components below that root, none of which is a link."""

    root: Path
    parts: tuple[str, ...]

    def shown(self, place: Place) -> str:
        """The path as a caller may name it again: relative to the workspace, absolute in a further root."""
        if self.root in place.further:
            return str(self.root.joinpath(*self.parts))
        return "/".join(self.parts) or "."

    def holds(self, other: Spot) -> bool:
        """Whether the other one is this, or lies below it."""
        return other.root == self.root and other.parts[:len(self.parts)] == self.parts


def settle(path: str, place: Place, *, verb: str = "read", last_link: bool = False) -> Spot:
    """Where a path leads, links resolved, from one root into another too; with `last_link` the last name is taken as it is.

    Raises Denied for what lies outside of every root or holds secrets; whether a file outside exists is not told.
    """
    if "\0" in path:
        raise BadRequest(f"Path {path[:80]!r} holds a NUL character; remove it.", param="path")
    try:
        real = _real(place.cwd / path, last_link)
    except (OSError, UnicodeEncodeError) as error:
        raise refusal(error, path, verb) from error
    root = root_of(real, place)
    if root is None:
        roots = f" ({', '.join(map(str, place.roots))})" if place.further else ""
        raise Denied(f"Path {path[:200]!r} leads out of the workspace{roots}; name a file inside of it.", param="path")
    if is_private(real, place):
        raise Denied(f"Path {path[:200]!r} lies in the suite's own data, which tools do not show; name a file of yours.", param="path")
    parts = real.relative_to(root).parts
    if (secret := secret_part(parts)) is not None:
        raise Denied(f"Path {path[:200]!r} leads to {secret!r}, a name under which secrets are kept; tools do not {verb} those.", param="path")
    return Spot(root, parts)


def root_of(real: Path, place: Place) -> Path | None:
    """The root that holds a path without links; None when none does."""
    return next((root for root in place.roots if within(real, root)), None)


def _real(path: Path, last_link: bool) -> Path:
    if last_link and path.name not in ("", ".."):
        return Path(os.path.realpath(path.parent)) / path.name
    return Path(os.path.realpath(path))


def is_private(real: Path, place: Place) -> bool:
    """Whether a real path is, or lies in, a folder of the suite's own data."""
    return any(within(real, folder) for folder in place.private)


def secret_part(parts: tuple[str, ...]) -> str | None:
    """The first component under whose name secrets are kept."""
    return next((part for part in parts if any(fnmatchcase(part.lower(), pattern) for pattern in SECRETS)), None)


def in_git_folder(parts: tuple[str, ...]) -> bool:
    """Whether a component is `.git`, in any spelling that some file system takes for it: its hooks are programs."""
    return any(_plain(part) in (".git", "git~1") for part in parts)


def _plain(part: str) -> str:
    visible = "".join(letter for letter in unicodedata.normalize("NFKC", part) if unicodedata.category(letter) != "Cf")
    return visible.casefold().split(":")[0].rstrip(" .")


@contextmanager
def open_folder(root: Path, parts: tuple[str, ...], path: str, *, verb: str = "read", create: bool = False) -> Iterator[int]:
    """A descriptor of the folder below a root, opened component by component without following links: nobody can swap one in after the check.

    With `create`, folders that are not there are made; the root itself never is.
    """
    try:
        fd = os.open(root, _THROUGH)
    except OSError as error:
        raise refusal(error, path, verb) from error
    try:
        for part in parts:
            try:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                deeper = os.open(part, _THROUGH, dir_fd=fd)
            except (OSError, UnicodeEncodeError) as error:
                raise refusal(error, path, verb) from error
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def refuse_odd(facts: os.stat_result, path: str) -> None:
    """Raise unless the facts are those of a regular file."""
    if stat.S_ISREG(facts.st_mode):
        return
    if stat.S_ISLNK(facts.st_mode):  # links were resolved before: this one leads in a circle, or was put in since
        raise refusal(OSError(errno.ELOOP, "link"), path)
    kind = next((word for test, word in _KINDS if test(facts.st_mode)), "something else")
    raise BadRequest(f"{path[:200]!r} is not a file but {kind}.", param="path")


def refusal(error: OSError | UnicodeEncodeError, path: str, verb: str = "read") -> BadRequest | Denied | NotFound:
    """What the system said about a path, in one sentence."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return NotFound(f"There is no {path[:200]!r} in the workspace; list_files shows what is there.", param="path")
    if code == errno.ELOOP:
        return Denied(f"Path {path[:200]!r} goes through a link that changed or leads in a circle; name the file itself.", param="path")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(f"The operating system does not let this user {verb} {path[:200]!r}; change the file's mode.", param="path")
    if code == errno.ENOTDIR:
        return BadRequest(f"{path[:200]!r} goes through something that is not a folder; list_files shows what is there.", param="path")
    reason = error.strerror if isinstance(error, OSError) else "not a valid name"
    return BadRequest(f"Path {path[:80]!r} cannot be opened ({reason}); name a file of the workspace.", param="path")
