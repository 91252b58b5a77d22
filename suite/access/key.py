"""The access token of one running stack: 256 random bits in a file that only its owner can read."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from suite.errors import DataDirError

FILE = "access.token"
BITS = 256


class AccessKey:
    """A token and the file that holds it. Its text is only in `token`, never in a repr, a log or an error."""

    def __init__(self, token: str, file: Path) -> None:
        self.token, self.file = token, file

    def __repr__(self) -> str:
        return f"AccessKey({str(self.file)!r})"

    def matches(self, token: str) -> bool:
        """Whether `token` is this one; takes the same time wherever they differ."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.token.encode())

    def remove(self) -> None:
        """Delete the file if it still holds this token; another stack's file is left alone."""
        try:
            ours = read_key(self.file.parent).matches(self.token)
        except DataDirError:
            return
        if ours:
            self.file.unlink(missing_ok=True)


def create_key(folder: Path) -> AccessKey:
    """Write a new token into `folder`, replacing the one of an earlier stack; readers see the old or the new one, never half.

    Raises DataDirError when the folder cannot be written, belongs to others too, or its filesystem keeps no file modes.
    """
    file, token = folder / FILE, secrets.token_hex(BITS // 8)
    fresh = folder / f".{FILE}.{secrets.token_hex(8)}"
    try:
        if os.stat(folder).st_mode & 0o022:
            raise DataDirError(f"Others may write to {folder}, so an access token is not safe there; run `chmod 700 {folder}`.")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as stream:
                stream.write(token)
                stream.flush()
                os.fsync(stream.fileno())
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                raise DataDirError(f"The filesystem of {folder} keeps no file modes (got {mode:o}), so others could read the access token; "
                                   "set XDG_RUNTIME_DIR, or DATA_DIR to a Linux filesystem.")
            os.replace(fresh, file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataDirError(f"The access token cannot be written to {folder} ({error.strerror}); make the folder writable or free space.") from error
    return AccessKey(token, file)


def read_key(folder: Path) -> AccessKey:
    """Read the token of the stack that runs.

    Raises DataDirError when there is none, or when the file is a link, another user's, readable by others, or malformed.
    """
    file = folder / FILE
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataDirError(f"The access token {file} cannot be read ({error.strerror}); call suite.start() again: a host writes one.") from error
    with os.fdopen(fd, "rb") as stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise DataDirError(f"The access token {file} is not a private file of this user (mode {stat.S_IMODE(facts.st_mode):o}); "
                               "stop the suite, delete the file and start again.")
        text = stream.read(BITS)
    if len(text) != BITS // 4 or not all(byte in b"0123456789abcdef" for byte in text):
        raise DataDirError(f"The access token {file} is damaged ({len(text)} bytes); stop the suite, delete the file and start again.")
    return AccessKey(text.decode("ascii"), file)
