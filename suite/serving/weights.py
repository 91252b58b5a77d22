"""Finds a model file and reads its head strictly, before llama.cpp sees it: whatever is wrong becomes one WeightsError."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from suite.errors import SettingsError, WeightsError
from suite.serving import coherence, header
from suite.serving.catalog import CatalogModel, ProfileModel, allowed, catalog, model
from suite.serving.header import Tensor
from suite.settings import package_file


@dataclass(frozen=True)
class Place:
    """Where a server's model file should lie: its path, the catalogue's entry when it was asked for by that name, and who asked for it."""

    path: Path
    entry: CatalogModel | None
    wanted_by: str


@dataclass(frozen=True)
class Weights:
    """A checked model file: `bytes` is its size, `meta` its scalar keys (lists are kept as their lengths), `table` its tensors."""

    path: Path
    bytes: int
    sha256: str
    meta: dict[str, Any] = field(repr=False)
    tensors: int = 0
    table: tuple[Tensor, ...] = field(default=(), repr=False)
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)  # short lists of numbers

    @property
    def entry(self) -> CatalogModel | None:
        """The catalogue entry with this very hash."""
        return next((known for known in catalog().values() if known.sha256 and known.sha256 == self.sha256), None)

    @property
    def smoke(self) -> bool:
        """Whether it is a smoke model: the catalogue says so, or the file itself."""
        return bool(self.entry and self.entry.smoke) or self.meta.get("suite.smoke") is True

    @property
    def chat_template(self) -> str:
        """The Jinja source that turns messages into a prompt; empty when the file has none."""
        return str(self.meta.get("tokenizer.chat_template", ""))


def locate(role: str, setting: str, profile: ProfileModel, models_dir: Path) -> Place:
    """Where the model of the `role` server is: the setting (a catalogue name, a file of `models_dir`, or a path), else the profile's.

    Raises NotFound when the profile names a model that the catalogue does not have, WeightsError when a bundled file is not installed.
    """
    if not setting:
        entry = model(profile.model)
        return Place(_catalogued(entry, models_dir), entry, "the profile")
    wanted_by = f"{role.upper()}_MODEL"
    if setting in catalog():
        return Place(_catalogued(catalog()[setting], models_dir), catalog()[setting], wanted_by)
    path = Path(setting).expanduser()
    if path.is_absolute() or os.sep in setting:
        return Place(Path(os.path.abspath(path)), None, wanted_by)
    known = next((entry for entry in catalog().values() if entry.file == setting), None)
    return Place(models_dir / setting, known, wanted_by)


def _catalogued(entry: CatalogModel, models_dir: Path) -> Path:
    if not entry.bundled:
        return models_dir / entry.file
    try:
        return package_file(f"models/{entry.file}")
    except SettingsError as error:
        raise WeightsError(error.message) from error


def check(place: Place | Path, digest: str = "") -> Weights:
    """Read and hash the file (`digest` is its sha256 where the caller has just computed it).

    Raises WeightsError, with what is wrong and what to do, unless it is a whole GGUF file of the expected hash.
    """
    if isinstance(place, Path):
        place = Place(place, None, "the caller")
    found = _read(place, digest or None)
    wanted = place.entry.sha256 if place.entry else ""
    if wanted and wanted != found.sha256:
        raise WeightsError(f"Model file {place.path} has the sha256 {found.sha256}, but the catalogue's {place.entry.name} has {wanted}; copy the "
                           "file again.")
    return found


def glance(path: Path) -> Weights:
    """The head of a file without its hash, for a plan of memory. Raises WeightsError like `check`, but never for a wrong hash."""
    return _read(Place(path, None, "the caller"), "")


def _read(place: Place, digest: str | None) -> Weights:
    path = place.path
    try:
        if not path.exists():
            raise WeightsError(_missing(place), missing=True)
        if not path.is_file():
            raise WeightsError(f"Model file {path} is not a file; name the .gguf file itself.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = header.read(file, size, path)
            _whole(head, path)
            digest = _digest(file) if digest is None else digest
    except OSError as error:
        raise WeightsError(f"Model file {path} cannot be read ({error.strerror or error}); check its permissions and its disk.") from error
    return Weights(path, size, digest, head.meta, len(head.tensors), tuple(head.tensors.values()), head.values)


def licensed(place: Place, weights: Weights, stage: str, waiver: str) -> None:
    """Raise Denied when stage prod may not use this model: whoever loads calls it, with the settings `stage` and `licence_waiver`.

    The entry that was asked for counts, and the one that the file turns out to be by its hash, or by its name wherever it lies.
    """
    name = weights.path.name.lower()
    for entry in (place.entry, weights.entry, *(known for known in catalog().values() if name in (known.file.lower(), known.remote.lower()))):
        allowed(entry, stage, waiver)


def _whole(head: header.Header, path: Path) -> None:
    parts = head.meta.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise WeightsError(f"Model file {path} is one of {parts} parts; join them with llama-gguf-split --merge and name the result.")
    if "tokenizer.ggml.tokens" not in head.meta:
        raise WeightsError(f"Model file {path} has no vocabulary; it is not a whole model, name one that is.")
    wrong = coherence.fault(head)
    if wrong:
        raise WeightsError(f"Model file {path} is damaged: {wrong}; copy it again and compare its sha256.")


def _missing(place: Place) -> str:
    source = f" (`suite models pull {place.entry.name}` fetches it)" if place.entry and not place.entry.bundled else ""
    # a setting that names a file wins over any profile, so another profile would change nothing
    by_setting = place.wanted_by.endswith("_MODEL")
    other = f"leave {place.wanted_by} empty for the profile's model" if by_setting else "use the bundled one: SUITE_PROFILE=smoke"
    return f"Model file {place.path}, wanted by {place.wanted_by}, does not exist; copy it there{source}, or {other}."


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()

