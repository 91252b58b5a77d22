"""The last entry of the audit trail, kept in a file beside the database: who cuts entries off the end has to change this file too."""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import StorageError

FILE = "audit.head"
_LINE = "{seq:020d} {digest}\n"
_SIZE = 20 + 1 + 64 + 1


class Checkpoint:
    """One line in a file for its owner only: number and digest. Written after the entry was committed, so it may lag behind and never leads."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> tuple[int, str] | None:
        """Number and digest of the last entry that was noted; None when there is no file. Raises StorageError for one that was damaged."""
        try:
            text = self.file.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"The audit checkpoint {self.file} cannot be read ({error.strerror}); mend its mode.") from error
        seq, _, digest = text.strip().partition(" ")
        if len(text) != _SIZE or not seq.isdecimal() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise StorageError(f"The audit checkpoint {self.file} is damaged; compare the trail with the newest report or backup, "
                               "then delete the file.")
        return int(seq), digest

    def write(self, seq: int, digest: str) -> None:
        """Note an entry; the line is written in one step, so that nobody reads half of it. Raises StorageError."""
        try:
            fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, _LINE.format(seq=seq, digest=digest).encode("ascii"), 0)
            finally:
                os.close(fd)
        except OSError as error:
            raise StorageError(f"The audit checkpoint {self.file} cannot be written ({error.strerror}); free space or mend its mode.") from error
