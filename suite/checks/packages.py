"""The installed Python packages and whether they are whole: what engine and images are to other stacks, they are to one in a kernel."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import os
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

AT_ONCE = 4
TRUST = ("certifi", "certifi/cacert.pem")
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
STARTERS = ("sitecustomize.py", "usercustomize.py")  # what Python runs at every start besides .pth files
# .pth files that run code and are known: who brings them. All others run code in every kernel, before anybody has asked for it
KNOWN = {"distutils-precedence.pth": "setuptools", "a1_coverage.pth": "coverage"}
VIRTUALENV = ("_virtualenv.pth", "import _virtualenv")  # virtualenv's own; it belongs to no package
EDITABLE = ("__editable__.", "_editable_impl_")  # a checkout that is installed by its path

_READ: dict[Path, tuple[tuple[object, ...], str]] = {}  # a drill looks a dozen times at a gigabyte; a release run looks once, in a process of its own


@dataclass(frozen=True)
class Recorded:
    """A file as its package's RECORD has it: `sha256` in RECORD's own form, `bytes` its size."""

    package: str
    path: Path
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Package:
    """One installed package; `files` are those that RECORD gives a hash, None where there is no RECORD."""

    name: str
    version: str
    folder: Path
    files: tuple[Recorded, ...] | None
    requires: tuple[str, ...] = ()
    python: str = ""
    installed_at: float = 0.0


@dataclass
class Integrity:
    """What is wrong: `altered` files (with why), packages that are `unrecorded`, and certificates (sha256) that were `added` to the trusted ones."""

    files: int = 0
    altered: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)


def canonical(name: str) -> str:
    """A package's name as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def everything(site: Sequence[Path]) -> list[Package]:
    """All packages in folders such as site-packages, in the order in which `import` looks there."""
    found = []
    for one in importlib.metadata.distributions(path=[str(folder) for folder in site]):
        about = one.metadata
        name = canonical(about.get("Name") or "") if about is not None else ""
        if name:
            place = Path(str(one.locate_file("")))
            folder = Path(str(getattr(one, "_path", place)))
            record = one.read_text("RECORD")
            files = None if record is None else tuple(_recorded(name, place, record))
            found.append(Package(name, one.version, folder, files, tuple(one.requires or ()), about.get("Requires-Python") or "", _written(folder)))
    return found


def by_name(packages: Iterable[Package]) -> dict[str, Package]:
    """The packages by name; of two of one name the first counts, as for `import`."""
    found: dict[str, Package] = {}
    for package in packages:
        found.setdefault(package.name, package)
    return found


def listed(packages: Mapping[str, Package]) -> list[str]:
    """`name==version` of each package, sorted: what a lock is made of."""
    return sorted(f"{one.name}=={one.version}" for one in packages.values())


def digest(packages: Mapping[str, Package]) -> str:
    """sha256 of that list, 64 hex digits."""
    return hashlib.sha256("\n".join(listed(packages)).encode()).hexdigest()


def integrity(packages: Iterable[Package]) -> Integrity:
    """Every file that a RECORD gives a hash, read and compared."""
    seen, rows = Integrity(), []
    for package in packages:
        if package.files is None:
            seen.unrecorded.append(package.name)
        else:
            rows += package.files
    seen.files = len(rows)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(_differs, rows, chunksize=256)
        for row, why in zip(rows, found, strict=True):
            if why and (row.package, row.name) == TRUST:
                added = _added(row)
                seen.added += added
                why = "" if added else why
            if why:
                seen.altered.append(f"{row.package}: {row.name} {why}")
    return seen


def starters(packages: Iterable[Package], site: Sequence[Path]) -> list[str]:
    """What Python would run at each start that nobody knows of: .pth files with code or without a package, sitecustomize, usercustomize."""
    owners = {row.path: package.name for package in packages for row in package.files or ()}
    found = []
    for folder in site:
        for path in sorted((*folder.glob("*.pth"), *(folder / name for name in STARTERS))):
            if path.is_file() and not _expected(path, owners.get(path, "")):
                found.append(f"{path} ({'of ' + owners[path] if path in owners else 'of no package'})")
    return found


def installed_since(packages: Iterable[Package], moment: float) -> list[str]:
    """The packages that were installed after a moment (UTC seconds): a process that began before has others in memory."""
    return sorted(f"{one.name}=={one.version}" for one in packages if one.installed_at > moment)


def _recorded(name: str, place: Path, record: str) -> Iterable[Recorded]:
    for row in csv.reader(record.splitlines()):
        if len(row) == 3 and row[1]:
            yield Recorded(name, place / row[0], row[0], row[1], int(row[2]) if row[2].isdigit() else 0)


def _written(folder: Path) -> float:
    """When the package was installed: nothing else writes its RECORD (or METADATA) anew."""
    times = [path.stat().st_mtime for path in (folder / "RECORD", folder / "METADATA") if path.is_file()]
    return max(times, default=0.0)


def _differs(row: Recorded) -> str:
    """Why a file is not the recorded one; a file that was read before in this process, and whose inode has not changed since, is not read again."""
    kind, _, wanted = row.sha256.partition("=")
    try:
        with row.path.open("rb") as file:
            status = os.fstat(file.fileno())
            stamp = (kind, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            before = _READ.get(row.path)
            found = before[1] if before is not None and before[0] == stamp else _short(hashlib.file_digest(file, kind).digest())
    except ValueError:
        return f"has a hash of the unknown kind {kind!r}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    _READ[row.path] = (stamp, found)
    return "" if found == wanted else "is not what its package brought"


def _short(found: bytes) -> str:
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def _added(row: Recorded) -> list[str]:
    """The certificates that were put behind the trusted ones, as administrators of a network do; none when anything else was changed."""
    whole = row.path.read_bytes() if row.path.is_file() else b""
    head, tail = whole[:row.bytes], whole[row.bytes:]
    if row.sha256 != f"sha256={_short(hashlib.sha256(head).digest())}" or CERTIFICATE.sub(b"", tail).strip():
        return []
    return [hashlib.sha256(ssl.PEM_cert_to_DER_cert(text.decode("ascii"))).hexdigest() for text in CERTIFICATE.findall(tail)]


def _expected(path: Path, owner: str) -> bool:
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip() and not line.startswith("#")]
    if (path.name, "\n".join(lines)) == VIRTUALENV:
        return True
    if not owner or path.name in STARTERS:
        return False
    runs = any(line.startswith(("import ", "import\t")) for line in lines)  # so Python tells code from a path
    return not runs or KNOWN.get(path.name) == owner or path.name.startswith(EDITABLE)
