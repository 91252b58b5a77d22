"""The embedding models and rerankers that the suite knows: models/embedding.toml, and embedding.toml in the models directory."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from suite.errors import BadRequest, SettingsError
from suite.settings import package_file
from suite.text.language import language

AUTO = "auto"
DEFAULT, SMOKE = "multilingual-e5-small", "minilm"  # what `auto` is once it was pulled, and until then
OWN = "embedding.toml"  # in the models directory: models that only this installation knows
MANIFEST = "manifest.json"
KINDS = ("passage", "query")
POOLINGS = ("mean", "cls", "last_token", "disabled")
EVERY = "*"  # among the languages: all others too
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True, kw_only=True)
class EncoderModel:
    """A network that reads texts, and where it comes from.

    `id` is the key in the catalogue and the folder in MODELS_DIR; `languages` are those it reads; `max_tokens` is the most it reads, with prefix
    and special tokens. `source` is a repository of the model hub and `revision` a commit of it, `weights` the file that holds the network;
    `files` maps each published file to its sha256, empty where nobody has pinned it.
    """

    role = "encoder"  # the catalogue's word for what it does

    id: str
    name: str
    languages: tuple[str, ...]
    licence: str
    max_tokens: int
    source: str = ""
    revision: str = ""
    weights: str = "onnx/model.onnx"
    disk_bytes: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """sha256 of the published weights, 64 hex digits; empty where nobody has pinned them."""
        return self.files.get(self.weights, "")

    def reads(self, text: str) -> bool:
        """Does the model know the language of this text?"""
        return EVERY in self.languages or language(text) in self.languages

    def place(self, file: str) -> str:
        """Where a published file lies in the model's folder: the network, and data of it beside it, below onnx/; the rest at the top."""
        name = PurePosixPath(file).name
        return f"onnx/{name}" if name.startswith(PurePosixPath(self.weights).name) else name

    @property
    def onnx(self) -> str:
        """Where the network lies in the model's folder."""
        return self.place(self.weights)

    def here(self, models_dir: Path) -> bool:
        """Whether all its files are there; nothing is said of what is in them."""
        return all((models_dir / self.id / self.place(file)).is_file() for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the weights' sha256."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**plain, "files": dict(self.files), "sha256": self.sha256}


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel(EncoderModel):
    """A model that turns a text into a vector of `dim` numbers.

    `pooling` is how the tokens' vectors become the text's; the prefixes stand before every question and every passage. `requirement` is a
    distribution of a package index whose wheel holds the files in the folder `inside`. `probe_vector` holds the first coordinates that the text
    `probe` must get, where they are known. `cosines` are the cosine of a question and a passage that have nothing to do with each other and that
    of two that say the same: models differ in it, and searching weighs by it.
    """

    role = "embedding"

    dim: int
    pooling: str = "mean"
    query_prefix: str = ""
    passage_prefix: str = ""
    requirement: str = ""
    inside: str = ""
    probe: str = "The backup runs at three in the morning."
    probe_vector: tuple[float, ...] = ()
    cosines: tuple[float, float] = (0.0, 1.0)

    @property
    def onnx(self) -> str:
        """Where the network lies in the model's folder."""
        return "onnx/model.onnx" if self.requirement else super().onnx  # ours, where it is converted

    def here(self, models_dir: Path) -> bool:
        """Whether all its files are there; nothing is said of what is in them."""
        return (models_dir / self.id / MANIFEST).is_file() if self.requirement else super().here(models_dir)

    def prefix(self, kind: str) -> str:
        """What stands before a text of this kind; raises BadRequest for any but passage and query."""
        if kind not in KINDS:
            raise BadRequest(f"kind is {kind!r:.80} but must be one of {', '.join(KINDS)}.", param="kind")
        return self.query_prefix if kind == "query" else self.passage_prefix

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EmbeddingModel:
        """The model that `to_dict` describes."""
        known = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items() if name in cls.__dataclass_fields__}
        return cls(**known)

    def __repr__(self) -> str:
        return f"EmbeddingModel({self.id}: {self.name}, {self.dim} dimensions, reads {', '.join(self.languages)})"


@dataclass(frozen=True, kw_only=True)
class RerankModel(EncoderModel):
    """A cross-encoder: it reads a question and a passage together and says how well they fit."""

    role = "reranker"

    def __repr__(self) -> str:
        return f"RerankModel({self.id}: {self.name}, reads {', '.join(self.languages)})"


def embedding_models(models_dir: Path | None = None) -> dict[str, EmbeddingModel]:
    """All embedding models by id, with those of `models_dir`. Raises SettingsError for a damaged file."""
    return {key: each for key, each in _all(models_dir).items() if isinstance(each, EmbeddingModel)}


def rerank_models(models_dir: Path | None = None) -> dict[str, RerankModel]:
    """All rerankers by id, with those of `models_dir`. Raises SettingsError for a damaged file."""
    return {key: each for key, each in _all(models_dir).items() if isinstance(each, RerankModel)}


def embedding_model(id: str, models_dir: Path | None = None) -> EmbeddingModel:
    """The model with this id; SettingsError names the known ones."""
    known = embedding_models(models_dir)
    if id not in known:
        raise SettingsError(f"EMBEDDING_MODEL is {id!r} but must be auto or one of {', '.join(known)} (models/embedding.toml, or {OWN} in "
                            "MODELS_DIR).")
    return known[id]


def rerank_model(id: str, models_dir: Path | None = None) -> RerankModel:
    """The reranker with this id; SettingsError names the known ones."""
    known = rerank_models(models_dir)
    if id not in known:
        raise SettingsError(f"RAG_RERANKER is {id!r} but must be empty or one of {', '.join(known)} (models/embedding.toml, or {OWN} in "
                            "MODELS_DIR).")
    return known[id]


def chosen(setting: str, models_dir: Path) -> tuple[EmbeddingModel, str]:
    """The model that EMBEDDING_MODEL means now, and why: `auto` is the default model where its files are in `models_dir`, else the smoke model."""
    if setting != AUTO:
        return embedding_model(setting, models_dir), f"EMBEDDING_MODEL is {setting}"
    known = embedding_models(models_dir)
    if known[DEFAULT].here(models_dir):
        return known[DEFAULT], f"EMBEDDING_MODEL is {AUTO}, and {DEFAULT} is in {models_dir}"
    return known[SMOKE], f"EMBEDDING_MODEL is {AUTO}, and {DEFAULT} is not in {models_dir}: `suite models pull {DEFAULT}` fetches it"


def _all(models_dir: Path | None) -> dict[str, EmbeddingModel | RerankModel]:
    found = _read(package_file("models/embedding.toml"), "models/embedding.toml")
    own = _read(models_dir / OWN, str(models_dir / OWN)) if models_dir is not None else {}
    for key, model in own.items():
        taken = next((each.id for each in found.values() if key == each.id or model.name == each.name), key if key == AUTO else "")
        if taken:  # a collection knows its model by name: two of one name would mix their vectors
            raise SettingsError(f"{models_dir}/{OWN}: {key} has the id or the name of {taken}; choose others.")
        found[key] = model
    return found


def _read(path: Path, where: str) -> dict[str, EmbeddingModel | RerankModel]:
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{where} cannot be read ({error.strerror}); make it a readable file or remove it.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where} is not valid TOML: {error}. Mend the line or remove the file.") from error
    return {key: _model(key, row, where) for key, row in rows.items()}


def _model(key: str, row: Any, where: str) -> EmbeddingModel | RerankModel:
    """One row as a model; SettingsError names the row, the key and what it must be."""
    if not isinstance(row, dict) or not _ID.fullmatch(key):
        raise SettingsError(f"{where}: {key!r:.80} must be a table whose name is of lower-case letters, digits, '.', '_' and '-'.")
    kind = row.get("kind", "embedding")
    if kind not in ("embedding", "reranker"):
        raise SettingsError(f"{where}: the kind of {key} is {kind!r:.80} but must be embedding or reranker.")
    cls = EmbeddingModel if kind == "embedding" else RerankModel
    row = {name: value for name, value in row.items() if name != "kind"}
    wanted = {each.name: each for each in fields(cls) if each.name != "id"}
    for name in row:
        if name not in wanted:
            raise SettingsError(f"{where}: {key} has the unknown key {name!r:.80}; known are: {', '.join(wanted)}.")
    for name, each in wanted.items():
        if name not in row and each.default is MISSING and each.default_factory is MISSING:
            raise SettingsError(f"{where}: {key} has no {name}, which must be {_EXPECTED[name][0]}.")
        if name in row and not _EXPECTED[name][1](row[name]):
            raise SettingsError(f"{where}: {name} of {key} is {row[name]!r:.120} but must be {_EXPECTED[name][0]}.")
    files = row.get("files") or dict.fromkeys((row.get("weights", "onnx/model.onnx"), "tokenizer.json", "tokenizer_config.json", "config.json"), "")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    made = cls(id=key, **{**plain, "files": files})
    if made.weights not in files or len({made.place(file) for file in files}) < len(files):
        raise SettingsError(f"{where}: the files of {key} must hold its weights ({made.weights}), and no two of one name.")
    return made


def _whole(least: int) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number from {least}", lambda value: type(value) is int and value >= least


def _inside(path: Any) -> bool:
    """Whether it names a file below the folder that it is put into."""
    return isinstance(path, str) and bool(path) and not path.startswith("/") and ".." not in PurePosixPath(path).parts and "\\" not in path


_TEXT: tuple[str, Callable[[Any], bool]] = ("a text", lambda value: isinstance(value, str))
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("name", "licence", "source", "revision", "query_prefix", "passage_prefix", "requirement", "inside", "probe"), _TEXT),
    "languages": ('a list of language codes, such as ["ko", "en"]',
                  lambda value: isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)),
    "max_tokens": _whole(8), "disk_bytes": _whole(0), "dim": _whole(1),
    "weights": ("the path of a file in the repository, such as onnx/model.onnx", _inside),
    "pooling": (f"one of {', '.join(POOLINGS)}", lambda value: value in POOLINGS),
    "files": ("a table of file names and their sha256, empty where it is unknown", lambda value: isinstance(value, dict) and all(
        _inside(file) and isinstance(digest, str) and re.fullmatch("([0-9a-f]{64})?", digest) for file, digest in value.items())),
    "cosines": ("two numbers between -1 and 1, the lower first", lambda value: isinstance(value, list) and len(value) == 2 and all(
        isinstance(each, int | float) for each in value) and -1 <= value[0] < value[1] <= 1),
    "probe_vector": ("a list of numbers", lambda value: isinstance(value, list) and all(isinstance(each, int | float) for each in value)),
}
