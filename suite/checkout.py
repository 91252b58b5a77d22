"""Which code this is: its commit and what was changed since, read from git in a checkout; nothing in an installed wheel."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

SECONDS = 30


@dataclass(frozen=True)
class Checkout:
    """A checkout as git sees it: `changed` and `untracked` are paths (without what git ignores), `submodules` those that are not as committed.

    `diff_sha256` is of all that differs from the commit, untracked files too; empty when nothing does. `top` are the names at the top level.
    `trouble` is what git said when it could not answer, and then the rest is empty.
    """

    commit: str = ""
    changed: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    diff_sha256: str = ""
    top: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def clean(self) -> bool:
        """Whether the files are those of the commit."""
        return bool(self.commit) and not (self.changed or self.untracked or self.submodules)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def root() -> Path:
    """The folder that the package lies in: the top of the checkout when there is one."""
    return Path(__file__).resolve().parent.parent


@cache
def commit() -> str:
    """40 hex digits, with `-dirty` when tracked files were changed; empty when there is no git checkout."""
    if not (root() / ".git").exists():
        return ""
    try:
        head, changed = _git(root(), "rev-parse", "HEAD"), _git(root(), "status", "--porcelain", "--untracked-files=no")
    except OSError:
        return ""
    return head.decode().strip() + ("-dirty" if changed.strip() else "")


def look(place: Path) -> Checkout | None:
    """How a checkout stands, None where there is none."""
    if not (place / ".git").exists():
        return None
    try:
        head = _git(place, "rev-parse", "HEAD").decode().strip()
        changed = _names(_git(place, "diff", "HEAD", "--name-only", "-z"))
        untracked = _names(_git(place, "ls-files", "--others", "--exclude-standard", "-z"))
        kept = _names(_git(place, "ls-files", "-z"))
        off = tuple(line[1:].split()[1] for line in _git(place, "submodule", "status").decode().splitlines() if line[:1] in "+-U")
        return Checkout(head, changed, untracked, off, _difference(place, changed, untracked),
                        tuple(sorted({name.split("/")[0] for name in (*kept, *untracked)})))
    except OSError as error:
        return Checkout(trouble=str(error))


def _difference(place: Path, changed: tuple[str, ...], untracked: tuple[str, ...]) -> str:
    if not changed and not untracked:
        return ""
    whole = hashlib.sha256(_git(place, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color"))
    for name in untracked:
        path = place / name
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        whole.update(f"\n{name}\n{hashlib.sha256(content).hexdigest()}".encode())
    return whole.hexdigest()


def _names(listed: bytes) -> tuple[str, ...]:
    return tuple(sorted(name.decode("utf-8", "backslashreplace") for name in listed.split(b"\0") if name))


def _git(place: Path, *arguments: str) -> bytes:
    """What git prints; raises OSError with what it says instead."""
    try:
        return subprocess.run(["git", "-C", str(place), *arguments], capture_output=True, timeout=SECONDS, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise OSError(f"git {arguments[0]} failed: {error.stderr.decode('utf-8', 'replace').strip()[:300]}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"git {arguments[0]} took longer than {SECONDS} s") from error
