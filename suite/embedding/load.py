"""Models loaded into memory, offline: the network and its tokenizer."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from fastembed.rerank.cross_encoder import TextCrossEncoder
from tokenizers import Tokenizer

from suite.embedding.model import EmbeddingModel, EncoderModel, RerankModel
from suite.errors import WeightsError

ONNX_FILE = "onnx/model.onnx"
_registering = threading.Lock()


class Encoder:
    """A loaded embedding model: texts, with their prefix already on, to vectors and to numbers of tokens.

    `model` is fastembed's, `tokenizer` never cuts or fills up; nobody changes either after loading, so all methods may be called from any
    thread. `fingerprint` (hex digits) changes whenever one of its files or its pooling does.
    """

    def __init__(self, text: TextEmbedding, tokenizer: Tokenizer, fingerprint: str) -> None:
        self.model, self.tokenizer, self.fingerprint = text.model, tokenizer, fingerprint

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the model would read of each text, special ones counted."""
        return [len(encoding) for encoding in self.tokenizer.encode_batch_fast(list(texts))]

    def reach(self, text: str, limit: int) -> int:
        """How many characters of a text its first `limit` tokens come from, special ones counted."""
        encoding = self.tokenizer.encode(text)
        ends = [end for (_, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special]
        room = limit - (len(encoding) - len(ends))
        return len(text) if len(ends) <= room else ends[room - 1] if room > 0 else 0

    def embed(self, texts: Sequence[str], batch_size: int = 16, tokens: Sequence[int] | None = None) -> np.ndarray:
        """One row of numbers per text, as the model gives them, shape (n, whatever it gives); `tokens` are their lengths where they are known.

        Texts of like length go through together, because all texts of a batch are filled up to the longest of it.
        """
        lengths = self.tokens(texts) if tokens is None else tokens
        order = sorted(range(len(texts)), key=lambda index: -lengths[index])
        rows = np.array(list(self.model.embed([texts[index] for index in order], batch_size=batch_size)), np.float32)
        found = np.empty_like(rows)
        found[order] = rows
        return found


def load(model: EmbeddingModel, folder: Path, cache_dir: Path, threads: int = 0, fingerprint: str = "") -> Encoder:
    """Load `folder` (ONNX file, config and tokenizer) as unit-length embeddings; `threads` 0 means all cores.

    No network is touched, because the folder is given. WeightsError when fastembed or ONNX Runtime refuse the files, or the tokenizer is for
    shorter texts than the catalogue says.
    """
    name = _name(model, model.pooling, str(model.dim))
    with _registering:  # fastembed refuses a name that it knows, and a cell may be run twice
        if not any(row["model"] == name for row in TextEmbedding.list_supported_models()):
            TextEmbedding.add_custom_model(model=name, pooling=PoolingType(model.pooling.upper()), normalization=True, dim=model.dim,
                                           model_file=model.onnx, sources=ModelSource(hf="local/none"))  # demanded and never contacted
    text = _opened(TextEmbedding, model, name, folder, cache_dir, threads)
    return Encoder(text, _uncut(model, text.model, folder), fingerprint)


def load_reranker(model: RerankModel, folder: Path, cache_dir: Path, threads: int = 0) -> tuple[TextCrossEncoder, Tokenizer]:
    """Load `folder` as a cross-encoder, with its tokenizer, which never cuts or fills up; otherwise as `load`."""
    name = _name(model)
    with _registering:
        if not any(row["model"] == name for row in TextCrossEncoder.list_supported_models()):
            TextCrossEncoder.add_custom_model(model=name, model_file=model.onnx, sources=ModelSource(hf="local/none"))
    text = _opened(TextCrossEncoder, model, name, folder, cache_dir, threads)
    return text, _uncut(model, text.model, folder)


def _name(model: EncoderModel, *facts: str) -> str:
    """A name for fastembed's list, which keeps what it was first told: other facts, another name."""
    return f"suite/{model.id}-{hashlib.sha256(repr((model.onnx, *facts)).encode()).hexdigest()[:8]}"


def _opened(kind: Any, model: EncoderModel, name: str, folder: Path, cache_dir: Path, threads: int) -> Any:
    try:
        (cache_dir / "fastembed").mkdir(parents=True, exist_ok=True, mode=0o700)  # else fastembed makes it, with the umask's mode
        return kind(name, cache_dir=str(cache_dir / "fastembed"), threads=threads or None, specific_model_path=str(folder),
                    providers=["CPUExecutionProvider"])
    except Exception as error:  # fastembed, tokenizers and ONNX Runtime each raise plain Exceptions of their own
        raise WeightsError(f"The model in {folder} cannot be loaded ({type(error).__name__}: {str(error)[:200]}); "
                           f"run `suite models pull {model.id}` to fetch it anew.") from error


class _Filled:
    """What fastembed has instead of its tokenizer: the same without cutting, which fills up the texts of a batch beside it.

    So one tokenizer, unchanged after loading, serves counting too: one of 250,000 words takes hundreds of megabytes, a second one as much again.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        padding = tokenizer.padding
        self._fill = {name: padding[name] for name in ("direction", "pad_id", "pad_type_id", "pad_token")}
        tokenizer.no_truncation()  # a text that slipped through would be an error, and not cut
        tokenizer.no_padding()
        self.plain = tokenizer

    def encode_batch(self, texts: Sequence[Any]) -> list[Any]:
        """As a Tokenizer does that fills up to the longest of a batch."""
        found = self.plain.encode_batch(texts)
        longest = max((len(encoding) for encoding in found), default=0)
        for encoding in found:
            encoding.pad(longest, **self._fill)
        return found


def _uncut(model: EncoderModel, inner: Any, folder: Path) -> Tokenizer:
    """The tokenizer of fastembed's model, which neither cuts nor fills up from here on."""
    limit = (inner.tokenizer.truncation or {}).get("max_length", 0)
    if limit < model.max_tokens:
        raise WeightsError(f"The catalogue says that {model.id} reads {model.max_tokens} tokens, but {folder / 'tokenizer_config.json'} says "
                           f"{limit}; correct max_tokens, or fetch the model anew.")
    inner.tokenizer = _Filled(inner.tokenizer)
    return inner.tokenizer.plain
