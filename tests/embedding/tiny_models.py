"""Encoders of a few kilobytes as a model hub publishes them: a BERT in two dialects of tokenizer, and a cross-encoder; and the same without fastembed."""

import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from suite.embedding.convert import convert
from suite.settings import load as load_settings

HIDDEN, INNER, WORDS, PLACES = 8, 16, 12, 32
WORD_LIST = "[PAD] [UNK] [CLS] [SEP] [MASK] the backup runs at night model chat"


def tiny_files(words: int = WORDS) -> dict[str, bytes]:
    """The published files of a one-layer BERT with random weights."""
    random = np.random.default_rng(7)
    dense = {f"encoder.layer.0.attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
    dense |= {"encoder.layer.0.attention.output.dense": (HIDDEN, HIDDEN), "encoder.layer.0.intermediate.dense": (INNER, HIDDEN),
              "encoder.layer.0.output.dense": (HIDDEN, INNER)}
    norms = ["embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm", "encoder.layer.0.output.LayerNorm"]
    tables = {"word": words, "position": PLACES, "token_type": 2}
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


REPOSITORY = "someone/tiny"
SENTENCES = ["the", "backup", "runs", "at", "night", ".", "백업", "은", "밤", "에", "돕니다", "model", "chat"]


def word_pieces() -> Tokenizer:
    """A tokenizer like that of BERT: lower case, words from a list and pieces of them, [CLS] and [SEP] around."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", "the", "backup", "runs", "at", "night", "model", "chat", "long", "##er", "##est", "a", "b", "c", "d", "##a", "##b", "##c", "##d"]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_truncation(128)  # as published files have it, for shorter texts than the model reads
    tokenizer.enable_padding(length=128, pad_id=0, pad_token="[PAD]")
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """A tokenizer like that of XLM-RoBERTa: pieces by probability, a mark in place of spaces, <s> and </s> around, filled up with 1."""
    marked = ["\u2581" + word for word in [*SENTENCES, "query:", "passage:"]]
    letters = sorted({letter for word in [*SENTENCES, "query:passage:", *map(chr, range(97, 123))] for letter in word} | {"\u2581"})
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in marked), *((letter, -6.0) for letter in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer


def published(tokenizer: Tokenizer, folder, scores: bool = False) -> dict[str, bytes]:
    """What a hub has of a tiny encoder with this tokenizer, or of a cross-encoder: the network as ONNX, the tokenizer and its settings."""
    made = tiny_files(tokenizer.get_vocab_size())
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(made[name])
    convert(folder / "config.json", folder / "model.safetensors", folder / "model.onnx")
    if scores:
        _judge(folder / "model.onnx")
    pad = tokenizer.id_to_token(0) if tokenizer.id_to_token(0) == "[PAD]" else "<pad>"
    settings = {"model_max_length": PLACES, "pad_token": pad, "truncation_side": "right"}
    return {"onnx/model.onnx": (folder / "model.onnx").read_bytes(), "config.json": made["config.json"], "tokenizer.json": tokenizer.to_str().encode(),
            "tokenizer_config.json": json.dumps(settings).encode()}


def _judge(file) -> None:
    """Make the first token's vector into one number, as a cross-encoder's head does."""
    model = onnx.load(str(file))
    head = np.random.default_rng(3).normal(size=(HIDDEN, 1)).astype(np.float32)
    model.graph.initializer.extend([numpy_helper.from_array(head, "head"), numpy_helper.from_array(np.array(0, np.int64), "zero_index")])
    model.graph.node.extend([helper.make_node("Gather", ["last_hidden_state", "zero_index"], ["first_vector"], axis=1),
                             helper.make_node("MatMul", ["first_vector", "head"], ["logits"])])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1]))
    onnx.save(model, str(file))


class Oracle:
    """The same network and tokenizer without fastembed, one text at a time."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.session = onnxruntime.InferenceSession(files["onnx/model.onnx"], providers=["CPUExecutionProvider"])

    def run(self, *text: str, types: bool = False) -> np.ndarray:
        found = self.tokenizer.encode(*text)
        ids = np.array([found.ids], np.int64)
        kinds = np.array([found.type_ids], np.int64) if types else np.zeros_like(ids)
        return self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds})[0][0]

    def vector(self, text: str, pooling: str = "mean") -> np.ndarray:
        states = self.run(text)
        row = states.mean(axis=0) if pooling == "mean" else states[0] if pooling == "cls" else states[-1]
        return row / np.linalg.norm(row)


ENTRY = """
[tiny-{dialect}]
name = "someone/tiny-{dialect}"
dim = 8
languages = ["ko", "en"]
licence = "MIT"
max_tokens = 32
source = "someone/tiny"
query_prefix = "query: "
passage_prefix = "passage: "
pooling = "{pooling}"

[judge]
kind = "reranker"
name = "someone/judge"
languages = ["en"]
licence = "MIT"
max_tokens = 32
source = "someone/judge"
"""


class HubStage:
    """A models directory, a catalogue of its own in it, and a hub that carries what that names; `files` are the hub's, as (repository, name)."""

    def __init__(self, folder, stage, files, judge) -> None:
        self.models, self.stage, self.files, self.judge, self.folder = folder / "models", stage, files, judge, folder
        self.models.mkdir()
        self.enter("word")

    def enter(self, dialect: str, pooling: str = "mean", more: str = "") -> None:
        """Write the catalogue; `more` is added to the encoder's entry."""
        entry = ENTRY.format(dialect=dialect, pooling=pooling).replace("[judge]", more + "\n[judge]")
        (self.models / "embedding.toml").write_text(entry, encoding="utf-8")

    def carry(self, files: dict[str, bytes], repository: str = REPOSITORY) -> None:
        """Put files of a repository onto the hub."""
        self.stage.files.update({f"{repository}/{name}": content for name, content in files.items()})

    def settings(self, **values):
        return load_settings({"data_dir": self.folder / "data", "models_dir": self.models, "hf_endpoint": self.stage.url, "embedding_model": "tiny-word",
                              **values}, environ={}, cwd=self.folder)
