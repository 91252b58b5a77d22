"""The folder of a run: how much is in it, and its removal whatever is in it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

DEEPEST = 100  # folders below each other; deeper ones count as too much
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def make_folder(below: Path, prefix: str) -> Path:
    """A new folder that only this user may enter."""
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=below))


def too_much(folder: Path, size: int, entries: int) -> str:
    """What of a folder is over its bounds, in bytes on disk or in names; empty when nothing is. Links are not followed."""
    used = [0, 0]
    fd = os.open(folder, _OPEN)
    try:
        deep = _count(fd, used, entries, DEEPEST)
    finally:
        os.close(fd)
    if deep or used[1] > entries:
        return f"more than {entries} files, or folders more than {DEEPEST} deep"
    return f"more than {size} bytes of files" if used[0] > size else ""


def _count(fd: int, used: list[int], entries: int, depth: int) -> bool:
    """Add what is below a descriptor to `used`; true when it is too deep. Files that vanish meanwhile are not counted."""
    if depth == 0:
        return True
    with os.scandir(fd) as found:
        for entry in found:
            used[1] += 1
            if used[1] > entries:
                return False
            try:
                facts = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                used[0] += facts.st_blocks * 512
                if not stat.S_ISDIR(facts.st_mode):
                    continue
                inner = os.open(entry.name, _OPEN, dir_fd=fd)
            except OSError:
                continue
            try:
                if _count(inner, used, entries, depth - 1):
                    return True
            finally:
                os.close(inner)
    return False


def remove_folder(folder: Path) -> None:
    """Remove a folder however deep, and whatever modes the program gave; its processes must have ended.

    Deep trees are flattened first: a folder in a folder is moved up, so that no path gets long.
    """
    if not folder.is_dir():
        return
    queue, moved = [folder.name], 0
    parent = folder.parent
    while queue:
        here = parent / queue.pop()
        here.chmod(0o700)
        for name in os.listdir(here):
            if stat.S_ISDIR((here / name).lstat().st_mode):
                moved += 1
                target = f"{folder.name}.{moved}"
                (here / name).chmod(0o700)  # moving a folder writes its "..", which takes the right to write it
                os.rename(here / name, parent / target)
                queue.append(target)
        shutil.rmtree(here)
