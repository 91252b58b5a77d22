"""Releases to seal, verify, read and forge: made in a moment, with real records, by the maker that `suite bench release` uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from suite.benchmark.release_made import Made, make_release
from suite.runbooks.seal import Sealed, seal
from suite.runbooks.sign import SigningKey, load_key, make_key

__all__ = ["ODD", "Archive", "Made", "edited_json", "make_release", "places", "put"]
ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "x", "\ud800", [], [[]], [None], {}, {"x": None}, "P2.1", "a" * 64])



@dataclass
class Archive:
    """An archive in a folder of its own, with its key: `seal("R1")` adds a release and gives where it lies."""

    folder: Path

    def __post_init__(self) -> None:
        self.reports, self.runbooks, self.key_file = self.folder / "reports", self.folder / "runbooks", self.folder / "key.pem"
        self.reports.mkdir(parents=True, exist_ok=True)
        self._made = 0

    @property
    def key(self) -> SigningKey:
        if not self.key_file.exists():
            make_key(self.key_file)
        return load_key(self.key_file)

    def make(self, release: str = "R1", **more: Any) -> Path:
        """A folder that is ready to be sealed."""
        self._made += 1
        return make_release(self.reports, self.runbooks, f"20261129T0100{self._made:02d}Z-{release}", release, **more).directory

    def seal(self, release: str = "R1", **more: Any) -> Sealed:
        """A sealed release."""
        return seal(self.make(release, **more), self.reports, self.key, runbooks=self.runbooks)


def edited_json(file: Path, change: Callable[[Any], Any]) -> None:
    """Let `change` alter in place what a JSON file holds."""
    body = json.loads(file.read_bytes())
    change(body)
    file.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every inner value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in inner for found in places(child, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """A copy with something else in one place."""
    if not path:
        return odd
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    return copy
