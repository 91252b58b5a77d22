"""Files encrypted with a key that the user holds: AES-256-GCM in chunks, so that memory stays bounded and nothing can be cut or moved.

A sealed file is MAGIC, 32 random bytes, then chunks of CHUNK bytes each with a tag of 16. The file's own key is drawn by HKDF from the user's key,
those random bytes, and the snapshot's id and the file's path: a file put in another's place cannot be opened. A chunk's nonce is its number
and whether it is the last one, so that chunks can neither be dropped nor exchanged. Inside is one line of JSON that tells the file's size and where
its data lie, then the data: holes cost nothing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from suite.backup.copy import pieces, write_at
from suite.errors import BadRequest, StorageError
from suite.vectors.disk import filled

MAGIC = b"suite sealed 1\n"
NAME = "AES-256-GCM in chunks of 1 MiB, key by HKDF-SHA256"
SUFFIX = ".sealed"
CHUNK = 1 << 20
TAG, SALT, KEY = 16, 32, 32
MOST_TABLE = 64 << 20  # bytes of the line that says where the data lie
MARK = "suite-backup-key:"


@dataclass(frozen=True)
class Key:
    """The user's key; `id` tells keys apart and says nothing about the key."""

    secret: bytes

    @property
    def id(self) -> str:
        """16 hex digits."""
        return sha256(b"suite backup key id" + self.secret).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key({self.id})"


class Altered(Exception):
    """What is sealed is not what was written."""


def make_key(file: Path) -> Key:
    """Write a new key into a new private file; BadRequest when the file is there or cannot be written."""
    key = Key(secrets.token_bytes(KEY))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BadRequest(f"The file {file} is there already and may be the only key of some backups; name a new one.", param="key_file") from None
    except OSError as error:
        raise BadRequest(f"The key file {file} cannot be written ({error.strerror}); name another place.", param="key_file") from error
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(MARK + key.secret.hex() + "\n")
        out.flush()
        os.fsync(out.fileno())
    return key


def read_key(file: str | Path) -> Key | None:
    """The key in a private file; None when no file is named. Raises BadRequest when it is readable by others, or no key."""
    if not str(file):
        return None
    path = Path(file).expanduser().absolute()
    try:
        seen = path.stat()
        text = path.read_text(encoding="ascii").strip() if seen.st_size < 1000 else ""
        secret = bytes.fromhex(text.removeprefix(MARK)) if text.startswith(MARK) else b""
    except OSError as error:
        raise BadRequest(f"The key file {path} cannot be read ({error.strerror}); name the file that `suite backup key` made.",
                         param="key_file") from error
    except ValueError:
        secret = b""
    if seen.st_mode & 0o077:
        raise BadRequest(f"The key file {path} has mode {seen.st_mode & 0o777:04o}, so others may read it; call `chmod 600` on it.", param="key_file")
    if len(secret) != KEY:
        raise BadRequest(f"The file {path} holds no backup key; name the file that `suite backup key` made.", param="key_file")
    return Key(secret)


def require_key(encryption: Any, key: Key | None, where: str) -> None:
    """Raise BadRequest unless the key is the one that a snapshot's manifest asks for."""
    if encryption is None:
        return
    wanted = str(encryption.get("key_id", "")) if isinstance(encryption, dict) else ""
    if key is None:
        raise BadRequest(f"The backup {where} is encrypted with the key {wanted}; name its file with --key-file.", param="key_file")
    if key.id != wanted:
        raise BadRequest(f"The backup {where} is encrypted with the key {wanted}, not with {key.id}; name the other key's file.", param="key_file")


def seal(source: Path, target: Path, key: Key, context: str) -> tuple[int, str]:
    """Write a file's sealed form, and give that form's size and sha256."""
    salt = secrets.token_bytes(SALT)
    aead, digest, size = _aead(key, salt, context), sha256(), 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        for block in (MAGIC, salt):
            digest.update(block)
            size += out.write(block)
        for number, (chunk, last) in enumerate(_chunks(_plain(source))):
            block = aead.encrypt(_nonce(number, last), chunk, None)
            digest.update(block)
            size += out.write(block)
    return size, digest.hexdigest()


def unseal(source: Path, target: Path, key: Key, context: str) -> tuple[int, str]:
    """Write what a sealed file holds into a new private file, and give the sealed form's size and sha256; Altered when it was changed or cut."""
    seen = _Hashing(source)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with seen.file:
            _fill(handle, _opened(seen, key, context))
    finally:
        os.close(handle)
    return seen.size, seen.digest.hexdigest()


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, path: Path) -> None:
        self.file: IO[bytes] = path.open("rb")
        self.digest, self.size = sha256(), 0

    def read(self, count: int) -> bytes:
        block = self.file.read(count)
        self.digest.update(block)
        self.size += len(block)
        return block


def _plain(source: Path) -> Iterator[bytes]:
    """The line that describes a file, then its data."""
    with source.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        ranges = list(filled(file.fileno(), size))
        yield json.dumps({"size": size, "data": ranges}).encode() + b"\n"
        for _, block in pieces(file.fileno(), size):
            yield block


def _chunks(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes in chunks of CHUNK, and whether a chunk is the last; there is always one."""
    rest = bytearray()
    for block in blocks:
        rest += block
        while len(rest) > CHUNK:
            yield bytes(rest[:CHUNK]), False
            del rest[:CHUNK]
    yield bytes(rest), True


def _opened(seen: _Hashing, key: Key, context: str) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag

    if seen.read(len(MAGIC)) != MAGIC:
        raise Altered("it does not begin as a sealed file does")
    aead, number = _aead(key, seen.read(SALT), context), 0
    block = seen.read(CHUNK + TAG)
    while True:
        after = seen.read(CHUNK + TAG)
        try:
            yield aead.decrypt(_nonce(number, not after), block, None)
        except (InvalidTag, ValueError):
            raise Altered(f"its chunk {number} was altered, moved or cut") from None
        if not after:
            return
        block, number = after, number + 1


def _fill(handle: int, blocks: Iterator[bytes]) -> None:
    """Write what the opened blocks describe: the size, and the data where they belong."""
    head = bytearray()
    for block in blocks:
        head += block
        if b"\n" in block or len(head) > MOST_TABLE:
            break
    line, _, rest = bytes(head).partition(b"\n")
    try:
        table = json.loads(line)
        ranges, size = [(int(start), int(end)) for start, end in table["data"]], int(table["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise Altered("it does not say where its data lie") from error
    where = iter(ranges)
    start = end = 0
    for block in _with(rest, blocks):
        view = memoryview(block)
        while view:
            if start == end:
                start, end = next(where, (0, 0))
                if start == end:
                    raise Altered("it holds more data than it says")
            part = view[:end - start]
            write_at(handle, bytes(part), start)
            view, start = view[len(part):], start + len(part)
    if start != end or next(where, None) is not None:
        raise Altered("it holds less data than it says")
    os.ftruncate(handle, size)


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _aead(key: Key, salt: bytes, context: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise StorageError("Encrypted backups need the package cryptography; install local-ai-suite again.") from error
    return AESGCM(HKDF(SHA256(), KEY, salt, context.encode()).derive(key.secret))
