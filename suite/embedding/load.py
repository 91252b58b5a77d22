"""A converted embedding model loaded into memory, offline."""

from __future__ import annotations

import threading
from pathlib import Path

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from suite.embedding.model import EmbeddingModel
from suite.errors import WeightsError

ONNX_FILE = "onnx/model.onnx"
_registering = threading.Lock()


def load(model: EmbeddingModel, folder: Path, cache_dir: Path, threads: int = 0) -> TextEmbedding:
    """Load `folder` (ONNX file, config and tokenizer) as mean-pooled, unit-length embeddings; `threads` 0 means all cores.

    No network is touched, because the folder is given. WeightsError when fastembed or ONNX Runtime refuse the files.
    """
    name = f"suite/{model.id}"
    with _registering:  # fastembed refuses a name that it knows, and a cell may be run twice
        if not any(row["model"] == name for row in TextEmbedding.list_supported_models()):
            TextEmbedding.add_custom_model(model=name, pooling=PoolingType.MEAN, normalization=True, dim=model.dim, model_file=ONNX_FILE,
                                           sources=ModelSource(hf="local/none"))  # a source is demanded and never contacted
    try:
        (cache_dir / "fastembed").mkdir(parents=True, exist_ok=True, mode=0o700)  # else fastembed makes it, with the umask's mode
        return TextEmbedding(name, cache_dir=str(cache_dir / "fastembed"), threads=threads or None, specific_model_path=str(folder),
                             providers=["CPUExecutionProvider"])
    except Exception as error:  # fastembed, tokenizers and ONNX Runtime each raise plain Exceptions of their own
        raise WeightsError(f"The embedding model in {folder} cannot be loaded ({type(error).__name__}: {str(error)[:200]}); "
                           f"run `suite models pull {model.id}` to fetch it anew.") from error
