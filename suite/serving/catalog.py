"""The models that the suite knows by name, and which of them a profile runs."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from suite.errors import Denied, NotFound, SettingsError
from suite.settings import package_file


@dataclass(frozen=True)
class CatalogModel:
    """One known model file: `bytes` is its size (rounded when `approximate`), `context` in tokens, `sha256` empty where nobody has pinned the file.

    `source` is a repository of the model hub (`remote` its name for the file, where it is another one), `restricted` says that the licence
    forbids commercial use. `layers`, `kv_heads`, `head` (length of one head), `width`, `vocabulary` and `tied` (one matrix reads and
    writes tokens) are what a plan of memory needs before the file is there.
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
    approximate: bool = False
    restricted: bool = False
    remote: str = ""
    layers: int = 0
    kv_heads: int = 0
    head: int = 0
    width: int = 0
    vocabulary: int = 0
    tied: bool = False
    package: str = ""
    dim: int = 0
    languages: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "languages": list(self.languages)}


@dataclass(frozen=True)
class ProfileModel:
    """What one model server runs: a catalogue name, its longest conversation in tokens, its layers on the GPU (-1: as many as fit).

    `slots` replies are written at once, and all conversations together keep `kv_tokens` tokens (0: as many as one conversation may have).
    """

    model: str
    n_ctx: int
    n_gpu_layers: int = 0
    slots: int = 4
    kv_tokens: int = 0


@dataclass(frozen=True)
class Profile:
    """Which models on which hardware; those of one group of `resident` may be in memory at the same time, others take turns."""

    name: str
    sentence: str
    chat: ProfileModel
    code: ProfileModel
    resident: tuple[tuple[str, ...], ...]

    @property
    def smoke(self) -> bool:
        """Whether one of its models is a smoke model, whose answers are no measure."""
        return any(catalog()[each.model].smoke for each in (self.chat, self.code))

    def together(self, *models: str) -> bool:
        """Whether these catalogue models may be resident at the same time; one alone always may."""
        wanted = set(models)
        return len(wanted) < 2 or any(wanted <= set(group) for group in self.resident)


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
    """All profiles by name, from models/profiles.toml. Raises SettingsError when that file is damaged."""
    found = {}
    for name, row in _read("models/profiles.toml").items():
        try:
            chat, code = ProfileModel(**row["chat"]), ProfileModel(**row["code"])
            found[name] = Profile(name, row["sentence"], chat, code, tuple(tuple(group) for group in row["resident"]))
        except (KeyError, TypeError) as error:
            raise SettingsError(f"models/profiles.toml: {name} is damaged ({error}); install local-ai-suite again.") from error
    return found


def profile(name: str) -> Profile:
    """The profile of that name. Raises SettingsError with the names there are."""
    if name not in profiles():
        raise SettingsError(f"SUITE_PROFILE is {name!r}, which no profile is called; choose one of: {', '.join(profiles())}.")
    return profiles()[name]


def allowed(entry: CatalogModel | None, stage: str, waiver: str) -> None:
    """Raise Denied when stage prod is about to use a model whose licence is restricted and that `waiver` (names, comma-separated) leaves out."""
    if entry is None or not entry.restricted or stage != "prod":
        return
    if entry.name not in {name.strip() for name in waiver.split(",")}:
        raise Denied(f"The licence of {entry.name} ({entry.licence}) is not for stage prod; choose another model, or name it in LICENCE_WAIVER once "
                     "somebody who may has cleared it.", model=entry.name, licence=entry.licence)


def _read(relative: str) -> dict[str, Any]:
    try:
        return tomllib.loads(package_file(relative).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{relative} of this installation is damaged: {error}. Install local-ai-suite again.") from error
