"""Documents that are zip archives of XML: opened with care, since a small one can unfold into gigabytes."""

from __future__ import annotations

import io
import zipfile

from suite.errors import BadRequest

MOST_BYTES = 200 << 20  # of all members, unpacked
MOST_MEMBERS = 10_000
ENCRYPTED = 0x1  # flag of a member


def opened(data: bytes, kind: str) -> zipfile.ZipFile:
    """The archive. Raises BadRequest when it is none, is encrypted, or would unfold beyond MOST_BYTES."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise BadRequest(f"is no {kind} file ({error})") from error
    members = archive.infolist()
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise BadRequest("is encrypted; save it without a password")
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        raise BadRequest(f"unfolds to more than {MOST_BYTES >> 20} MiB; it is no document")
    return archive


def member(archive: zipfile.ZipFile, name: str, kind: str) -> bytes:
    """One file of the archive, never more of it than its directory states. Raises BadRequest when it is damaged or defines entities."""
    try:
        with archive.open(name) as file:
            data = file.read(MOST_BYTES + 1)
    except Exception as error:
        raise BadRequest(f"is a damaged {kind} file ({name}: {type(error).__name__})") from error
    if len(data) > MOST_BYTES:
        raise BadRequest(f"unfolds to more than {MOST_BYTES >> 20} MiB; it is no document")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BadRequest(f"defines entities of its own, as no {kind} file does")
    return data
