"""WORKSPACE_ROOTS: the further folders that tools may work in, each looked at before anything is opened below it."""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import SettingsError


def further_roots(setting: str, workspace: Path, data_dir: Path) -> tuple[Path, ...]:
    """The folders that the setting names, separated by colons, links resolved; `workspace` is the first root, resolved too.

    The roots lie apart from each other, so that a path lies below one of them at most. Raises SettingsError for one that is not there, holds
    the home directory (`/` does), touches the suite's own data, or lies in another or holds it.
    """
    home, data = (Path(os.path.realpath(path)) for path in (os.path.expanduser("~"), data_dir))
    found: list[Path] = []
    for entry in filter(str.strip, setting.split(os.pathsep)):
        root = _real(entry)
        why = _refusal(root, home, data, (workspace, *found))
        if why or root is None:
            raise SettingsError(f"WORKSPACE_ROOTS names {entry[:200]!r}, which {why}.")
        found.append(root)
    return tuple(found)


def within(path: Path, root: Path) -> bool:
    """Whether a path is a folder or lies below it; both without links."""
    return path == root or root in path.parents


def _refusal(root: Path | None, home: Path, data: Path, others: tuple[Path, ...]) -> str:
    if root is None:
        return "is no path in UTF-8; rename the folder or leave it out"
    if not root.is_dir():
        return "is not a folder; make it or leave it out"
    if within(home, root):  # "/" holds every home
        return "is or holds the home directory or is all of the machine; name the folders in it that are meant"
    if within(data, root) or within(root, data):
        return "holds DATA_DIR or lies in it, the suite's own data; name a folder apart from it"
    for other in others:
        if within(root, other):
            return f"lies in {str(other)!r}, where tools may work already; leave it out"
        if within(other, root):
            return f"holds {str(other)!r}, where tools may work already; name only one of the two"
    return ""


def _real(path: str) -> Path | None:
    """The path without links; None for what can be none, or could not be shown to callers."""
    try:
        real = os.path.realpath(path)
        real.encode("utf-8")
    except ValueError:  # a NUL character, or bytes that are no UTF-8
        return None
    return Path(real)
