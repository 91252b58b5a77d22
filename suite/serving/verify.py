"""What can be said for a model file: verified by the catalogue's hash, known to the hub only, unverified, damaged or missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.errors import WeightsError
from suite.serving import pull
from suite.serving.catalog import CatalogModel, ProfileModel, catalog
from suite.serving.weights import check, locate

STATES = {"catalogue": "verified", "hub": "hub", "": "unverified"}


@dataclass(frozen=True)
class Verdict:
    """One file: `state` is verified (its hash is pinned), hub (only the hub vouches for it), unverified, damaged or missing."""

    name: str
    file: str
    state: str
    sentence: str
    bytes: int = 0
    sha256: str = ""
    tensors: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def verify(wanted: str, models_dir: Path) -> Verdict:
    """Read and hash a catalogue model, a file of the models directory, or a path; whatever the file is, the answer is a verdict."""
    place = locate("chat", wanted, ProfileModel("smoke", 1), models_dir)
    name = place.entry.name if place.entry else wanted
    try:
        weights = check(place)
    except WeightsError as error:
        if error.facts.get("missing"):
            fetch = f"`suite models pull {name}` fetches it" if place.entry else "name a catalogue model or a file"
            return Verdict(name, str(place.path), "missing", f"{place.path} does not exist; {fetch}.")
        return Verdict(name, str(place.path), "damaged", error.message)
    proof = pull.proof(place.entry or weights.entry, place.path.name, weights.sha256, models_dir)
    sentence = {"catalogue": "Its hash is the catalogue's.", "hub": "Its hash is what the hub stated when it was pulled; nobody has pinned it here.",
                "": "It is whole, but nobody has pinned its hash."}[proof]
    return Verdict(name, str(place.path), STATES[proof], sentence, weights.bytes, weights.sha256, weights.tensors)


def present(models_dir: Path, packaged: Callable[[CatalogModel], bool] = lambda _entry: False) -> list[CatalogModel]:
    """The catalogue models whose files are here; `packaged` says it of those that come in a package."""
    return [entry for entry in catalog().values()
            if entry.bundled or (packaged(entry) if entry.package else os.path.exists(models_dir / entry.file))]
