"""Find the files that patterns name: a walk that holds nothing but their names, and never leaves the folders that may be read."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from pathlib import Path

from suite.errors import BadRequest
from suite.knowledge.roots import Roots, resolved, shown

_WILD = re.compile(r"[*?\[]")
Matches = Callable[[str], object]


def find(patterns: Iterable[str], roots: Roots) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that absolute patterns name, by their resolved paths, sorted, each once; and what was skipped, with the reason.

    A folder stands for everything below it; `**` crosses folders; hidden names are left out unless they are written out. A link is followed when
    what it leads to may be read, and is skipped with the reason when not.
    """
    walk = _Walk(roots)
    for pattern in patterns:
        walk.add(str(pattern))
    return sorted(walk.files), list(walk.skipped.items())


def settled(pattern: str) -> tuple[str, tuple[str, ...]]:
    """An absolute pattern as the path before its first wildcard, and its other parts; `..` is taken out.

    A name with brackets in it may be meant as it stands: a path that is there has no other parts. Raises BadRequest when it can be no path.
    """
    normal = os.path.normpath(pattern)
    resolved(normal)  # what can be no path is refused here
    if os.path.lexists(normal):
        return normal, ()
    parts = Path(normal).parts
    plain = next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts))
    return str(Path(*parts[:plain])), parts[plain:]


class _Walk:
    """What the patterns so far have found."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self.files: set[str] = set()
        self.skipped: dict[str, str] = {}

    def add(self, pattern: str) -> None:
        """Walk one pattern."""
        before = len(self.skipped)
        try:
            base, parts = settled(pattern)
            base = self._roots.settle(base)
        except BadRequest as error:
            return self._skip(pattern, error.message)
        if not parts and not os.path.isdir(base):
            return self._one(pattern, base)
        if not self._below(base, parts or ("**",)) and len(self.skipped) == before:
            self._skip(pattern, "no file matches")
        return None

    def _one(self, pattern: str, base: str) -> None:
        if os.path.lexists(base):
            self.files.add(base)
        elif os.path.lexists(pattern):
            self._skip(pattern, f"a link to {base}, which does not exist")
        else:
            self._skip(pattern, "no file matches")

    def _below(self, base: str, parts: tuple[str, ...]) -> bool:
        """Walk the folder `base`; whether a file matched. A folder is entered once for each place in the pattern: circles of links end."""
        steps = _Steps(parts)
        waiting = [(base, steps.begin)]
        entered = set(waiting)
        found = False
        while waiting:
            folder, places = waiting.pop()
            try:
                entries = os.scandir(folder)
            except OSError as error:
                self._skip(folder, f"cannot be opened: {error.strerror}")
                continue
            with entries:
                for entry in entries:
                    into, matches = steps.take(places, entry.name)
                    real = self._met(entry) if into or matches else None
                    if real is None:
                        continue
                    if not _is_folder(entry):
                        found = found or matches
                        self.files.update([real] if matches else ())
                    elif into and (real, into) not in entered:
                        entered.add((real, into))
                        waiting.append((real, into))
        return found

    def _met(self, entry: os.DirEntry[str]) -> str | None:
        """The resolved path of what a folder holds; None, and the reason kept, when it may not be read."""
        real, link = entry.path, entry.is_symlink()
        try:
            if link or not entry.name.isascii():
                real = resolved(entry.path)
            if link:
                os.stat(real)
        except BadRequest as error:
            self._skip(entry.path, error.message)
            return None
        except OSError as error:
            circle = error.errno == errno.ELOOP
            self._skip(entry.path, "a link that leads in a circle" if circle else f"a link to {real}, which does not exist")
            return None
        why = self._roots.refusal(real)
        if why:
            self._skip(entry.path, f"a link to {real}, which {why}" if link else why)
            return None
        return real

    def _skip(self, path: str, why: str) -> None:
        self.skipped.setdefault(shown(path), shown(why))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a link that changed just now: reading it will say what it is
        return False


class _Steps:
    """The parts of a pattern as a machine: a folder is at some `places`, the numbers of the parts that names in it may match."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts = [(part == "**", part.startswith("."), re.compile(translate(part)).match) for part in parts]
        self.begin = self._closed({0})

    def take(self, places: frozenset[int], name: str) -> tuple[frozenset[int], bool]:
        """The places of what bears this name, if it is a folder; and whether it matches, if it is a file."""
        after, matches = set(), False
        hidden = name.startswith(".")
        for place in places:
            crosses, shows_hidden, fits = self._parts[place]
            if hidden and not shows_hidden:
                continue
            last = place + 1 == len(self._parts)
            if crosses:
                after.add(place)
                matches = matches or last
            elif fits(name):
                matches = matches or last
                if not last:
                    after.add(place + 1)
        return self._closed(after), matches

    def _closed(self, places: set[int]) -> frozenset[int]:
        """`**` may also stand for no folder at all."""
        for place in sorted(places):
            while self._parts[place][0] and place + 1 < len(self._parts):
                place += 1
                places.add(place)
        return frozenset(places)
