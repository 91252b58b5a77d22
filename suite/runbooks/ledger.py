"""The ledger: one line per sealed release, each holding the digest of the one before and signed, only ever added to."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import StorageError
from suite.runbooks import disk
from suite.runbooks.digest import canonical, of_json
from suite.runbooks.envelope import pae
from suite.runbooks.sign import PublicKey, SigningKey

FILE = "ledger.jsonl"
START = "0" * 64  # what the first line has before it
KIND = "application/vnd.suite.ledger-head"  # what a line's signature is over, so that it can be taken for no other
SEALED, PRUNED = "sealed", "pruned"
UNSIGNED = ("head", "key", "signature")


@dataclass(frozen=True)
class Ledger:
    """What the file holds: its lines, whether the last one is only half there (`torn`), and one sentence per line that is none (`damaged`)."""

    lines: tuple[Mapping[str, Any], ...]
    torn: bool = False
    damaged: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The digest of the last line: keep it elsewhere, and a removed last release is found."""
        return str(self.lines[-1]["head"]) if self.lines else START

    def line_of(self, attestation: str) -> Mapping[str, Any] | None:
        """The line of the release whose attestation has this digest."""
        return next((line for line in self.lines if line.get("attestation_sha256") == attestation and line.get("kind") == SEALED), None)

    def pruned(self) -> dict[str, Mapping[str, Any]]:
        """The lines that say what was pruned, by the folder's name."""
        return {str(line.get("path")): line for line in self.lines if line.get("kind") == PRUNED}


def read(reports: Path) -> Ledger:
    """All lines of an archive's ledger; none where there is no file. Raises StorageError when it cannot be read."""
    try:
        data = disk.read_plain(reports / FILE)
    except FileNotFoundError:
        return Ledger(())
    except OSError as error:
        raise StorageError(f"The ledger {reports / FILE} cannot be read ({error.strerror}); mend its mode.") from error
    *whole, rest = data.split(b"\n")
    lines, damaged = [], []
    for number, text in enumerate(whole, 1):
        line = _line(text)
        if line is None:
            damaged.append(f"Line {number} of the ledger cannot be read.")
        else:
            lines.append(line)
    return Ledger(tuple(lines), bool(rest), tuple(damaged))


def append(reports: Path, facts: Mapping[str, Any], key: SigningKey) -> Mapping[str, Any]:
    """Add a line with these facts, whole and on the disk, or nothing; for whoever holds the archive.

    Raises StorageError when the chain does not hold, so that no release follows a forged one; OSError when the line cannot be written.
    """
    ledger = read(reports)
    found = [*ledger.damaged, *chain(ledger.lines)]
    if found or ledger.torn:
        raise StorageError(f"The ledger {reports / FILE} is not as it was written ({(found or ['its last line is cut off'])[0].rstrip('.')}); "
                           "call `suite report verify` on the archive, and restore the ledger from a copy.")
    line = {"n": len(ledger.lines) + 1, **facts, "previous": ledger.head}
    line["head"] = of_json(line)
    line |= {"key": key.public.raw.hex(), "signature": base64.b64encode(key.sign(pae(KIND, line["head"].encode()))).decode("ascii")}
    _write(reports / FILE, canonical(line) + b"\n")
    return line


def mend(reports: Path) -> bool:
    """Cut off the half of a last line that a killed process left; for whoever holds the archive. Raises OSError."""
    path = reports / FILE
    if not path.exists():
        return False
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        whole = os.pread(handle, size, 0).rfind(b"\n") + 1
        if whole < size:
            os.ftruncate(handle, whole)
            os.fsync(handle)
        return whole < size
    finally:
        os.close(handle)


def chain(lines: Sequence[Mapping[str, Any]], keys: Sequence[PublicKey] = ()) -> list[str]:
    """Every sentence that speaks against these lines: a gap, another order, a changed word, a signature that is none, or not by one of `keys`."""
    found, previous = [], START
    known = {key.raw.hex() for key in keys}
    for number, line in enumerate(lines, 1):
        if line.get("n") != number:
            found.append(f"Line {number} of the ledger says that it is number {line.get('n')!r}: lines were removed, added or moved.")
        if line.get("previous") != previous:
            found.append(f"Line {number} of the ledger does not follow the one before it: one of the two was replaced, removed or moved.")
        head = of_json({key: value for key, value in line.items() if key not in UNSIGNED})
        if line.get("head") != head:
            found.append(f"Line {number} of the ledger was changed after it was written.")
        if not _signed(line):
            found.append(f"Line {number} of the ledger is not signed by the key that it names.")
        elif known and line.get("key") not in known:
            found.append(f"Line {number} of the ledger is signed by another key than the one given.")
        previous = str(line.get("head"))
    return found


def remarks(ledger: Ledger, head: str = "") -> tuple[list[str], list[str]]:
    """What the end of the chain shows: (doubts, notes); `head` is one that was kept elsewhere."""
    doubts, notes = [], []
    place = next((number for number, line in enumerate(ledger.lines, 1) if line.get("head") == head), 0)
    if head and not place and head != START:
        doubts.append(f"The ledger does not hold the head {head} that was kept elsewhere: releases were removed from its end, or it was replaced.")
    elif head:
        since = len(ledger.lines) - place
        notes.append("The ledger ends with the head that was kept elsewhere." if not since
                     else f"The head that was kept elsewhere is in the ledger; {since} lines were added since.")
    else:
        notes.append("Tail not checked: name the head that you kept elsewhere with --head, and a removed last release is found.")
    if ledger.torn:
        notes.append("The last line of the ledger is cut off, as by a process that was killed; the next seal clears it away.")
    back = [number for number, (one, other) in enumerate(zip(ledger.lines, ledger.lines[1:], strict=False), 2) if _at(other) < _at(one)]
    notes += [f"The clock was set back before line {number} of the ledger: its time is earlier than that of the line before." for number in back]
    keys = list(dict.fromkeys(str(line.get("key")) for line in ledger.lines))
    if len(keys) > 1:
        notes.append(f"The ledger's lines are signed by {len(keys)} keys, one after the other; name those you know with --key.")
    return doubts, notes


def _at(line: Mapping[str, Any]) -> float:
    at = line.get("at")
    return float(at) if isinstance(at, (int, float)) else 0.0


def _line(text: bytes) -> Mapping[str, Any] | None:
    try:
        line = json.loads(text)
        canonical(line)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and isinstance(line.get("head"), str) else None


def _signed(line: Mapping[str, Any]) -> bool:
    try:
        key = PublicKey(bytes.fromhex(str(line.get("key"))))
        return len(key.raw) == 32 and key.signed(base64.b64decode(str(line.get("signature")), validate=True), pae(KIND, str(line["head"]).encode()))
    except ValueError:
        return False


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        try:
            disk.write_all(handle, data)
            os.fsync(handle)
        except BaseException:
            os.ftruncate(handle, size)  # a full disk takes a part of the line
            raise
    finally:
        os.close(handle)
    if not size:
        disk.sync(path.parent)
