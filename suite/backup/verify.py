"""Compare a snapshot with its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from suite.backup.snapshot import MANIFEST, PARTIAL, digest, read_snapshot
from suite.errors import StorageError


@dataclass(frozen=True)
class Verification:
    """What was found: every problem is a sentence that names the file; none means that the snapshot is as it was written."""

    path: str
    files: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def check(self) -> None:
        """Raise StorageError with all problems, if there is any."""
        if self.problems:
            raise StorageError(f"The backup {self.path} is not as it was written: {' '.join(self.problems)} Restore from another one.",
                               problems=list(self.problems))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"path": self.path, "files": self.files, "ok": self.ok, "problems": list(self.problems)}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Verification:
        """The record that `to_dict` gave."""
        return cls(body["path"], body["files"], tuple(body["problems"]))

    def __repr__(self) -> str:
        return f"Verification({self.path}, {self.files} files, {'ok' if self.ok else '; '.join(self.problems)})"


def verify(path: Path | str) -> Verification:
    """Every file of the snapshot at `path` that is missing, of another size or content, or not in the manifest.

    Raises StorageError when there is no readable manifest.
    """
    folder = Path(path)
    snapshot = read_snapshot(folder)
    problems = [f"{folder.name} was never finished."] if folder.name.endswith(PARTIAL) else []
    listed: set[str] = set()
    for entry in snapshot.files:
        if entry.path in listed:
            problems.append(f"{entry.path} is listed twice.")
        listed.add(entry.path)
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            problems.append(f"{entry.path} points outside of the backup.")
            continue
        problems.extend(_compare(folder / entry.path, entry.path, entry.bytes, entry.sha256))
    if not listed:
        problems.append("It holds no files.")
    for found in sorted(folder.rglob("*")):
        name = found.relative_to(folder).as_posix()
        if (found.is_symlink() or not found.is_dir()) and name not in listed and name != MANIFEST:
            problems.append(f"{name} is not in the manifest.")
    return Verification(str(folder), len(snapshot.files), tuple(problems))


def _compare(file: Path, name: str, size: int, sha256: str) -> list[str]:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        return [f"{name} is not an ordinary file."]
    if not file.exists():
        return [f"{name} is missing."]
    try:
        if file.stat().st_size != size:
            return [f"{name} has {file.stat().st_size} bytes instead of {size}."]
        return [] if digest(file) == sha256 else [f"{name} has other content."]
    except OSError as error:
        return [f"{name} cannot be read ({error.strerror})."]
