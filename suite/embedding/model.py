"""The embedding models that the suite knows, from models/embedding.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from suite.errors import SettingsError
from suite.settings import package_file


@dataclass(frozen=True)
class EmbeddingModel:
    """One model: what it can do and where it comes from.

    `id` is the key in the catalogue and the folder in MODELS_DIR; `dim` is the length of a vector; `languages` are those it was measured to
    read; `max_tokens` is where it stops reading; `files` maps each published file to its sha256; `probe_vector` holds the first
    coordinates that the text `probe` must get.
    """

    id: str
    name: str
    dim: int
    languages: tuple[str, ...]
    licence: str
    max_tokens: int
    requirement: str = ""
    inside: str = ""
    weights: str = ""
    disk_bytes: int = 0
    probe: str = ""
    probe_vector: tuple[float, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """sha256 of the published weights, 64 hex digits; empty for a model without weights of its own."""
        return self.files.get(self.weights, "")

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the weights' sha256."""
        return {**asdict(self), "languages": list(self.languages), "probe_vector": list(self.probe_vector), "files": dict(self.files),
                "sha256": self.sha256}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EmbeddingModel:
        """The model that `to_dict` describes."""
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**{**known, "languages": tuple(record["languages"]), "probe_vector": tuple(record.get("probe_vector", ()))})

    def __repr__(self) -> str:
        return f"EmbeddingModel({self.id}: {self.name}, {self.dim} dimensions, reads {', '.join(self.languages)})"


def embedding_models() -> dict[str, EmbeddingModel]:
    """All models of the catalogue by id."""
    rows = tomllib.loads(package_file("models/embedding.toml").read_text(encoding="utf-8"))
    return {key: EmbeddingModel.from_dict({"id": key, **row}) for key, row in rows.items()}


def embedding_model(id: str) -> EmbeddingModel:
    """The model with this id; SettingsError names the known ones."""
    known = embedding_models()
    if id not in known:
        raise SettingsError(f"EMBEDDING_MODEL is {id!r} but must be one of {', '.join(known)} (models/embedding.toml).")
    return known[id]
