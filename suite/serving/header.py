"""Reads the head of a GGUF file without trusting a number in it: each length is checked before anything is read or allocated.

The gguf package's own reader maps the file into memory (a file that shrinks then kills the process) and believes its counts.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gguf.constants import GGML_QUANT_SIZES

from suite.errors import WeightsError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_TENSORS, MOST_KEYS, MOST_ITEMS, LONGEST_TEXT = 100_000, 10_000, 4_000_000, 64 << 20
MOST_KEPT = 4096  # lists of numbers up to this length are kept: one number per layer, not one per token
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL, TEXT, ARRAY, DEEPEST = 7, 8, 9, 2
TOKENS = "tokenizer.ggml.tokens"
BLOCKS = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}  # type -> (elements, bytes) per block


@dataclass(frozen=True)
class Tensor:
    """One row of the tensor table: `shape` as GGUF has it (the length of a row first), `kind` ggml's number of the type, `bytes` its size."""

    name: str
    shape: tuple[int, ...]
    kind: int
    bytes: int


@dataclass
class Header:
    """What stands before the weights: scalar keys (`meta` has the length of a list), the lists' types, short lists of numbers, the tensors."""

    meta: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)  # key -> type of its items
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    words: set[bytes] = field(default_factory=set)  # the texts of the tokens
    doubled: bytes | None = None  # the text of a token that is there twice


def read(file: BinaryIO, size: int, path: Path) -> Header:
    """The head of an open file of `size` bytes. Raises WeightsError, with what is wrong, unless it is whole and every tensor inside the file."""
    return _Reader(file, size, path).read()


class _Reader:
    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.file, self.size, self.path, self.header = file, size, path, Header()

    def read(self) -> Header:
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
        for _ in range(keys):
            name = self._text(limit=65_535)
            if not name or name in self.header.meta:
                raise self._damaged(f"the key {name!r} is there twice" if name else "a key has no name")
            self.header.meta[name] = self._value(name, self._number("I"))
        self._table(tensors)
        return self.header

    def _table(self, tensors: int) -> None:
        """Every tensor must lie inside the file, aligned and of a known type."""
        alignment = self.header.meta.get("general.alignment", 32)
        if not isinstance(alignment, int) or isinstance(alignment, bool) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {alignment!r}")
        places = []
        for _ in range(tensors):
            name = self._text(limit=1024)
            shape = [self._number("Q") for _ in range(self._at_most(self._number("I"), 4, f"dimensions of {name!r}"))]
            kind, offset = self._number("I"), self._number("Q")
            if name in self.header.tensors:
                raise self._damaged(f"the tensor {name!r} is there twice")
            tensor = Tensor(name, tuple(shape), kind, self._tensor_bytes(name, shape, kind))
            self.header.tensors[name] = tensor
            places.append((offset, tensor))
            if offset % alignment:
                raise self._damaged(f"the tensor {name!r} is not aligned")
        start = -(-self.file.tell() // alignment) * alignment
        for offset, tensor in places:
            if start + offset + tensor.bytes > self.size:
                raise WeightsError(f"Model file {self.path} is cut off: the tensor {tensor.name!r} needs {start + offset + tensor.bytes:,} bytes "
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

    def _value(self, name: str, kind: int, depth: int = 0) -> Any:
        if kind in SCALARS:
            value = self._number(SCALARS[kind])
            if isinstance(value, float) and not math.isfinite(value):
                raise self._damaged(f"the key {name!r} is {value}")
            return bool(value) if kind == BOOL else value
        if kind == TEXT:
            return self._text()
        if kind != ARRAY or depth >= DEEPEST:
            raise self._damaged(f"a value is of the unknown type {kind}")
        return self._list(name, depth)

    def _list(self, name: str, depth: int) -> int:
        of, count = self._number("I"), self._number("Q")
        self._at_most(count, MOST_ITEMS, "items of a list")
        if depth == 0:
            self.header.lists[name] = of
        if of in SCALARS:
            length = struct.calcsize("<" + SCALARS[of])
            if depth == 0 and count <= MOST_KEPT:
                self.header.values[name] = struct.unpack(f"<{count}{SCALARS[of]}", self._bytes(count * length))
            else:
                self._skip(count * length)
        elif of == TEXT:
            for _ in range(count):
                length = self._at_most(self._number("Q"), LONGEST_TEXT, "bytes of a text")
                if name == TOKENS and depth == 0:
                    self._word(self._bytes(length))
                else:
                    self._skip(length)
        else:
            for _ in range(count):
                self._value(name, of, depth + 1)
        return count

    def _word(self, word: bytes) -> None:
        if word in self.header.words and word:  # llama.cpp gives the empty ones names of their own
            self.header.doubled = word
        self.header.words.add(word)

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
