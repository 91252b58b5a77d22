"""The key that reports are signed with: Ed25519, in a file that only its owner can read, never in an argument or the environment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import BadRequest, StorageError
from suite.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER, FILE, PUBLIC = "keys", "report-ed25519.pem", "report-ed25519.pub"
MOST = 64 << 10  # bytes that are read of a key file
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.S)


@dataclass(frozen=True)
class PublicKey:
    """The 32 bytes that signatures are checked by; `id` tells keys apart: sha256 of those bytes, 64 hex digits."""

    raw: bytes

    @property
    def id(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(self.raw).hexdigest()

    def pem(self) -> bytes:
        """The key as other programs read it (SubjectPublicKeyInfo)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key's owner signed the message."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key().verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _key(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.id})"


@dataclass(frozen=True)
class SigningKey:
    """A private key; nothing that shows it exists but the file it came from."""

    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._private.sign(message)


def load_key(source: Settings | Path | str | int, passphrase: str = "") -> SigningKey:
    """The key in a private PEM file, behind an open file descriptor (int), or the one of these settings, which is made at first use.

    Raises BadRequest for a file that others may read, that holds no Ed25519 key, or that the passphrase does not open; StorageError when the
    settings' own cannot be made.
    """
    if isinstance(source, int):
        return _parse(_of_descriptor(source), passphrase, f"file descriptor {source}")
    if isinstance(source, Settings):
        file = key_file(source)
        if not file.exists():
            make_key(file, passphrase)
    else:
        file = Path(source).expanduser().absolute()
    return _parse(_private_bytes(file), passphrase, str(file))


def key_file(settings: Settings) -> Path:
    """Where the key of these settings lies."""
    return settings.data_dir / FOLDER / FILE


def make_key(file: Path, passphrase: str = "") -> None:
    """Write a new key into a file of mode 0600, encrypted when there is a passphrase, and its public half beside it; one that is there stays.

    Raises StorageError.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    lock = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    private = Ed25519PrivateKey.generate()
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            _write(fresh, private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock), 0o600)
            with contextlib.suppress(FileExistsError):  # another process was first: its key counts
                os.link(fresh, file)
                public = PublicKey(private.public_key().public_bytes_raw())
                file.with_suffix(".pub").unlink(missing_ok=True)
                _write(file.with_suffix(".pub"), public.pem(), 0o644)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"The key {file} cannot be written ({error.strerror or error}); free some space or mend the folder's mode.") from error


def read_public(file: Path | str) -> tuple[PublicKey, ...]:
    """All public keys in a PEM file; one that signed before the key was changed may stand beside the present one.

    Raises BadRequest when there is none, or one of another kind than Ed25519.
    """
    path = Path(file).expanduser().absolute()
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST)
    except OSError as error:
        raise BadRequest(f"The public key {path} cannot be read ({error.strerror}); name the file that `suite report key` writes.") from error
    return parse_public(data, str(path))


def parse_public(data: bytes, where: str) -> tuple[PublicKey, ...]:
    """The same from the bytes of a file called `where`."""
    keys = tuple(_public(block, where) for block in _PEM.findall(data))
    if not keys:
        raise BadRequest(f"The file {where} holds no public key in PEM; name the file that `suite report key --out FILE` writes.")
    return keys


def _public(block: bytes, where: str) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadRequest(f"The file {where} holds a public key that is no Ed25519 key; name the one that reports are signed with.")
    return PublicKey(key.public_bytes_raw())


def _parse(data: bytes, passphrase: str, where: str) -> SigningKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    locked = b"ENCRYPTED" in data
    try:
        key = load_pem_private_key(data, passphrase.encode() if locked and passphrase else None)
    except TypeError:
        raise BadRequest(f"The key in {where} is locked with a passphrase; give it with --passphrase-fd, or at a terminal.") from None
    except (ValueError, UnsupportedAlgorithm):
        sentence = "is not opened by this passphrase" if locked else "is no private key in PEM"
        raise BadRequest(f"The key in {where} {sentence}; name the file that `suite report key` made, and its passphrase.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadRequest(f"The key in {where} is of another kind than Ed25519; name the file that `suite report key` made.")
    return SigningKey(PublicKey(key.public_key().public_bytes_raw()), key)


def _private_bytes(file: Path) -> bytes:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadRequest(f"The key {file} cannot be read ({error.strerror}); name the file that `suite report key` made.") from error
    with os.fdopen(handle, "rb") as stream:
        seen = os.fstat(stream.fileno())
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
            raise BadRequest(f"The key {file} is not a private file of this user (mode {stat.S_IMODE(seen.st_mode):04o}); call `chmod 600` on it, "
                             "and make a new one when others may have read it.")
        return stream.read(MOST)


def _of_descriptor(number: int) -> bytes:
    try:
        with os.fdopen(os.dup(number), "rb") as stream:
            return stream.read(MOST)
    except OSError as error:
        raise BadRequest(f"The file descriptor {number} cannot be read ({error.strerror}); open it for this process, as in 3<key.pem.") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
