"""Documents that are zip archives of XML: opened with care, since a small one can unfold into gigabytes."""

from __future__ import annotations

import io
import zipfile

from suite.errors import BadRequest

MOST_BYTES = 200 << 20  # of all members, unpacked
MOST_MEMBERS = 10_000
LOCKED = "is encrypted; save it without a password"
ENCRYPTED = 0x1  # flag of a member
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of .doc and .hwp, and of every Office file with a password
_LOCKED_OFFICE = "EncryptedPackage".encode("utf-16-le")
_OWN_ENTITIES = (b"<!DOCTYPE", b"<!ENTITY")


def opened(data: bytes, kind: str) -> zipfile.ZipFile:
    """The archive. Raises BadRequest when it is none, is encrypted, or would unfold beyond MOST_BYTES."""
    if data.startswith(_OLD_OFFICE):
        raise BadRequest(LOCKED if _LOCKED_OFFICE in data else f"is a file of an older format under another name; save it as {kind}")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # all that damaged bytes raise; no disk is read here
        raise BadRequest(f"is no {kind} file ({error})") from error
    members = archive.infolist()
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise BadRequest(LOCKED)
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        raise BadRequest(f"unfolds to more than {MOST_BYTES >> 20} MiB or {MOST_MEMBERS:,} files; it is no document")
    return archive


def member(archive: zipfile.ZipFile, name: str, kind: str) -> bytes:
    """One file of the archive, never more of it than its directory states. Raises BadRequest when it is damaged or defines entities."""
    try:
        with archive.open(name) as file:
            data = file.read(MOST_BYTES + 1)
    except MemoryError:
        raise
    except Exception as error:
        raise BadRequest(f"is a damaged {kind} file ({name[:80]}: {type(error).__name__})") from error
    if len(data) > MOST_BYTES:
        raise BadRequest(f"unfolds to more than {MOST_BYTES >> 20} MiB; it is no document")
    plain = data.replace(b"\0", b"") if b"\0" in data[:4] else data  # XML may also come in UTF-16
    if any(mark in plain for mark in _OWN_ENTITIES):
        raise BadRequest(f"defines entities of its own, as no {kind} file does")
    return data
