"""Finds a model file and reads its head strictly, before llama.cpp sees it: whatever is wrong becomes one WeightsError."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gguf.constants import GGML_QUANT_SIZES

from suite.errors import SettingsError, WeightsError
from suite.serving.catalog import CatalogModel, ProfileModel, catalog, model
from suite.settings import package_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_TENSORS, MOST_KEYS, MOST_ITEMS, LONGEST_TEXT = 100_000, 10_000, 4_000_000, 64 << 20
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY, DEEPEST = 8, 9, 2
BLOCKS = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}  # type -> (elements, bytes) per block
NEEDED = ("{arch}.context_length", "{arch}.embedding_length", "{arch}.block_count", "{arch}.attention.head_count")


@dataclass(frozen=True)
class Place:
    """Where a server's model file should lie: its path, the catalogue's entry when it was asked for by that name, and who asked for it."""

    path: Path
    entry: CatalogModel | None
    wanted_by: str


@dataclass(frozen=True)
class Weights:
    """A checked model file: `bytes` is its size, `meta` its scalar keys (arrays are kept as their lengths)."""

    path: Path
    bytes: int
    sha256: str
    meta: dict[str, Any] = field(repr=False)
    tensors: int = 0

    @property
    def entry(self) -> CatalogModel | None:
        """The catalogue entry with this very hash."""
        return next((known for known in catalog().values() if known.sha256 == self.sha256), None)

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


def check(place: Place | Path) -> Weights:
    """Read and hash the file. Raises WeightsError, with what is wrong and what to do, unless it is a whole GGUF file of the expected hash."""
    if isinstance(place, Path):
        place = Place(place, None, "the caller")
    path = place.path
    try:
        if not path.exists():
            raise WeightsError(_missing(place))
        if not path.is_file():
            raise WeightsError(f"Model file {path} is not a file; name the .gguf file itself.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            meta, tensors = _Head(file, size, path).read()
            digest = _digest(file)
    except OSError as error:
        raise WeightsError(f"Model file {path} cannot be read ({error.strerror or error}); check its permissions and its disk.") from error
    wanted = place.entry.sha256 if place.entry else ""
    if wanted and wanted != digest:
        raise WeightsError(f"Model file {path} has the sha256 {digest}, but the catalogue's {place.entry.name} has {wanted}; copy the file again.")
    return Weights(path, size, digest, meta, tensors)


def _missing(place: Place) -> str:
    source = f" (from {place.entry.source})" if place.entry and not place.entry.bundled else ""
    # a setting that names a file wins over any profile, so another profile would change nothing
    by_setting = place.wanted_by.endswith("_MODEL")
    other = f"leave {place.wanted_by} empty for the profile's model" if by_setting else "use the bundled one: SUITE_PROFILE=smoke"
    return f"Model file {place.path}, wanted by {place.wanted_by}, does not exist; copy it there{source}, or {other}."


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


class _Head:
    """A reader that never trusts a number of the file: each length is checked against what is left before anything is read or allocated.

    The gguf package's own reader maps the file into memory (a file that shrinks then kills the process) and believes its counts.
    """

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.file, self.size, self.path = file, size, path

    def read(self) -> tuple[dict[str, Any], int]:
        """The metadata and the number of tensors."""
        if self.size == 0:
            raise WeightsError(f"Model file {self.path} is empty; copy it again.")
        if self.file.read(4) != MAGIC:
            raise WeightsError(f"Model file {self.path} is not a GGUF file (it does not begin with {MAGIC.decode()}); name a .gguf file.")
        version = self._number("I")
        if version not in VERSIONS:
            raise WeightsError(f"Model file {self.path} is GGUF version {version}, but {' and '.join(map(str, VERSIONS))} can be read; "
                               "convert it again with a current llama.cpp.")
        tensors, keys = self._number("Q"), self._number("Q")
        if not 0 < tensors <= MOST_TENSORS or not 0 < keys <= MOST_KEYS:
            raise self._damaged(f"it claims {tensors} tensors and {keys} keys")
        meta = {}
        for _ in range(keys):
            name = self._text(limit=65_535)
            if name in meta:
                raise self._damaged(f"the key {name!r} is there twice")
            meta[name] = self._value(self._number("I"))
        self._needs(meta)
        self._extents(tensors, meta)
        return meta, tensors

    def _needs(self, meta: dict[str, Any]) -> None:
        arch = meta.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise self._damaged("it names no architecture")
        absent = [key for key in (name.format(arch=arch) for name in NEEDED) if key not in meta]
        if absent:
            raise self._damaged(f"the key {absent[0]!r} is missing")
        if "tokenizer.ggml.tokens" not in meta:
            raise WeightsError(f"Model file {self.path} has no vocabulary; it is not a whole model, name one that is.")
        parts = meta.get("split.count", 1)
        if isinstance(parts, int) and parts > 1:
            raise WeightsError(f"Model file {self.path} is one of {parts} parts; join them with llama-gguf-split --merge and name the result.")

    def _extents(self, tensors: int, meta: dict[str, Any]) -> None:
        """Every tensor must lie inside the file, aligned and of a known type."""
        alignment = meta.get("general.alignment", 32)
        if not isinstance(alignment, int) or isinstance(alignment, bool) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {alignment!r}")
        table, names = [], set()
        for _ in range(tensors):
            name = self._text(limit=1024)
            shape = [self._number("Q") for _ in range(self._at_most(self._number("I"), 4, f"dimensions of {name!r}"))]
            kind, offset = self._number("I"), self._number("Q")
            if name in names:
                raise self._damaged(f"the tensor {name!r} is there twice")
            names.add(name)
            table.append((name, offset, self._tensor_bytes(name, shape, kind)))
            if offset % alignment:
                raise self._damaged(f"the tensor {name!r} is not aligned")
        start = -(-self.file.tell() // alignment) * alignment
        for name, offset, length in table:
            if start + offset + length > self.size:
                raise WeightsError(f"Model file {self.path} is cut off: the tensor {name!r} needs {start + offset + length:,} bytes "
                                   f"and the file has {self.size:,}; copy it again.")

    def _tensor_bytes(self, name: str, shape: list[int], kind: int) -> int:
        if kind not in BLOCKS:
            raise self._damaged(f"the tensor {name!r} is of the unknown type {kind}")
        elements = 1
        for length in shape:
            elements *= self._at_most(length, 1 << 40, f"elements of {name!r}")
        per_block, size = BLOCKS[kind]
        if not shape or elements == 0 or shape[0] % per_block:
            raise self._damaged(f"the tensor {name!r} has the shape {shape}")
        return elements // per_block * size

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind == TEXT:
            return self._text()
        if kind != ARRAY or depth >= DEEPEST:
            raise self._damaged(f"a value is of the unknown type {kind}")
        of, count = self._number("I"), self._number("Q")
        self._at_most(count, MOST_ITEMS, "items of a list")
        if of in SCALARS:
            self._skip(count * struct.calcsize("<" + SCALARS[of]))
        elif of == TEXT:
            for _ in range(count):
                self._skip(self._at_most(self._number("Q"), LONGEST_TEXT, "bytes of a text"))
        else:
            for _ in range(count):
                self._value(of, depth + 1)
        return count

    def _text(self, limit: int = LONGEST_TEXT) -> str:
        raw = self._bytes(self._at_most(self._number("Q"), limit, "bytes of a text"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._damaged("a text in it is not UTF-8") from None

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._bytes(struct.calcsize("<" + code)))[0]

    def _bytes(self, count: int) -> bytes:
        raw = self.file.read(count) if count <= self.size - self.file.tell() else b""
        if len(raw) != count:
            raise self._cut_off()
        return raw

    def _skip(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise self._cut_off()
        self.file.seek(count, os.SEEK_CUR)

    def _at_most(self, value: int, limit: int, what: str) -> int:
        if value > limit:
            raise self._damaged(f"it claims {value} {what}")
        return value

    def _cut_off(self) -> WeightsError:
        return WeightsError(f"Model file {self.path} is cut off: it ends after {self.size:,} bytes, inside its own header; copy it again.")

    def _damaged(self, what: str) -> WeightsError:
        return WeightsError(f"Model file {self.path} is damaged: {what}; copy it again and compare its sha256.")
