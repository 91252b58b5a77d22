"""The models that the suite knows by name, and which of them a profile runs."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from suite.errors import NotFound, SettingsError
from suite.settings import package_file


@dataclass(frozen=True)
class CatalogModel:
    """One known model file: `bytes` is its size, `context` in tokens, `sha256` empty where nobody has pinned the file.

    `dim`, `languages` (ISO 639-1) and `package` (the distribution that carries the weights) are for embedding models.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    context: int
    role: str
    source: str
    smoke: bool = False
    bundled: bool = False
    package: str = ""
    dim: int = 0
    languages: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "languages": list(self.languages)}


@dataclass(frozen=True)
class ProfileModel:
    """What one model server runs: a catalogue name, its context in tokens, its layers on the GPU."""

    model: str
    n_ctx: int
    n_gpu_layers: int = 0


@dataclass(frozen=True)
class Profile:
    """Which models on which hardware."""

    name: str
    sentence: str
    chat: ProfileModel
    code: ProfileModel

    @property
    def smoke(self) -> bool:
        """Whether one of its models is a smoke model, whose answers mean nothing."""
        return any(catalog()[each.model].smoke for each in (self.chat, self.code))


@cache
def catalog() -> dict[str, CatalogModel]:
    """All known models by name, from models/catalog.toml. Raises SettingsError when that file is damaged."""
    known = {field.name for field in fields(CatalogModel)}
    found = {}
    for name, row in _read("models/catalog.toml").items():
        strange = set(row) - known
        if strange:
            raise SettingsError(f"models/catalog.toml: {name} has the unknown key {sorted(strange)[0]!r}; install local-ai-suite again.")
        found[name] = CatalogModel(name=name, **{**row, "languages": tuple(row.get("languages", ()))})
    return found


def model(name: str) -> CatalogModel:
    """The known model of that name. Raises NotFound with the names there are."""
    if name not in catalog():
        raise NotFound(f"No model is called {name!r} in the catalogue; known are: {', '.join(catalog())}.")
    return catalog()[name]


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name, from models/profiles.toml."""
    return {name: Profile(name, row["sentence"], ProfileModel(**row["chat"]), ProfileModel(**row["code"]))
            for name, row in _read("models/profiles.toml").items()}


def profile(name: str) -> Profile:
    """The profile of that name. Raises SettingsError with the names there are."""
    if name not in profiles():
        raise SettingsError(f"SUITE_PROFILE is {name!r}, which no profile is called; choose one of: {', '.join(profiles())}.")
    return profiles()[name]


def _read(relative: str) -> dict[str, Any]:
    try:
        return tomllib.loads(package_file(relative).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{relative} of this installation is damaged: {error}. Install local-ai-suite again.") from error
