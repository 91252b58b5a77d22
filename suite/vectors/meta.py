"""What a collection's folder says of it: meta.json, beside the folder of the engine's files that it names."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.errors import StorageError
from suite.vectors.store import OURS, Naming, check_shape

META, SHARD = "meta.json", "shard"
FORMATS = (1, 2)  # 2 where the folder or the vectors have other names than the first ones


@dataclass(frozen=True)
class Meta:
    """The shape of a collection, and the folder that holds its engine's files at the moment."""

    name: str
    size: int
    distance: str
    naming: Naming = OURS
    shard: str = SHARD

    def to_dict(self) -> dict[str, Any]:
        """The contents of the file."""
        plain = {"format": FORMATS[0], "name": self.name, "size": self.size, "distance": self.distance}
        if self.naming == OURS and self.shard == SHARD:
            return plain
        return {**plain, "format": FORMATS[1], "naming": asdict(self.naming), "shard": self.shard}

    @classmethod
    def of(cls, found: Any, name: str) -> Meta:
        """The shape that a file's contents describe, under this name. StorageError when they are of another make."""
        if not isinstance(found, dict) or found.get("format") not in FORMATS:
            raise StorageError(f"it has format {found.get('format') if isinstance(found, dict) else found!r:.80}, this version reads {FORMATS}")
        size, distance, shard = found.get("size"), found.get("distance"), found.get("shard", SHARD)
        check_shape(size, distance)  # type: ignore[arg-type]
        given = found.get("naming", asdict(OURS))
        known = isinstance(given, dict) and set(given) == set(asdict(OURS))
        if not known or not isinstance(shard, str) or not shard.startswith(SHARD) or "/" in shard:
            raise StorageError(f"it names its vectors {given!r:.80} and its folder {shard!r:.80}, which no collection does")
        return cls(name, size, distance, Naming(**given), shard)  # type: ignore[arg-type]

    def write(self, folder: Path) -> None:
        """Put the file into the collection's folder at once: whoever is killed leaves the old one or the new one."""
        unfinished = folder / (META + ".new")
        unfinished.touch(mode=0o600)
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(folder / META)


def read_meta(folder: Path) -> Meta:
    """What the file in a collection's folder says. StorageError, OSError or ValueError when it cannot be read."""
    return Meta.of(json.loads((folder / META).read_text(encoding="utf-8")), folder.name)
