"""Whether a model file agrees with itself: where its numbers contradict each other, llama.cpp ends the process instead of raising an error."""

from __future__ import annotations

import re
from typing import Any

from suite.serving.header import TEXT, TOKENS, Header

NEEDED = ("context_length", "embedding_length", "block_count", "attention.head_count")
FAMILY = ("llama", "qwen2", "qwen3")  # how these are built is known here; others are left to the trial load
MOST_LAYERS, MOST_HEADS, MOST_WIDTH, MOST_CONTEXT = 1024, 4096, 1 << 20, 1 << 28
PLAIN = 0  # F32: what norms and biases are; llama.cpp ends the process over half precision there
NEVER_WEIGHTS = (9, 15, 24, 25, 26, 27, 28)  # working formats and whole numbers, which no matrix product takes
SCALINGS = ("none", "linear", "yarn", "longrope")
TOKENIZERS = ("llama", "gpt2")  # those of that family
NO_TOKEN = 0xFFFFFFFF  # -1 as llama.cpp stores "there is none"


def fault(header: Header) -> str:
    """What contradicts what, as the second half of a sentence; empty when nothing does."""
    try:
        _Model(header).agree()
    except _Contradiction as found:
        return str(found)
    return ""


class _Contradiction(Exception):
    """The sentence about it."""


class _Model:
    def __init__(self, header: Header) -> None:
        self.header, self.meta = header, header.meta
        arch = self.meta.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise _Contradiction("it names no architecture")
        self.arch = arch

    def agree(self) -> None:
        absent = [f"{self.arch}.{key}" for key in NEEDED if f"{self.arch}.{key}" not in self.meta]
        if absent:
            raise _Contradiction(f"the key {absent[0]!r} is missing")
        self.vocabulary()
        self.sizes()
        if self.arch in FAMILY:
            self.attention()
            self.tensors()

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number of the architecture within bounds; a list gives its largest item (some models have one number per layer)."""
        name = f"{self.arch}.{key}"
        value = self.header.values.get(name) if name in self.header.lists else self.meta.get(name, default)
        items: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        if not items or any(isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high for item in items):
            raise _Contradiction(f"the key {name!r} is {value!r:.100}")
        return max(items)

    def vocabulary(self) -> None:
        """Lists about tokens are as long as the list of tokens, and the tokens with a name of their own are in it."""
        lists, meta = self.header.lists, self.meta
        self.size = meta[TOKENS] if lists.get(TOKENS) == TEXT else 0
        if self.size < 1:
            raise _Contradiction("its list of tokens is no list of texts")
        if self.header.doubled is not None:
            raise _Contradiction(f"the token {self.header.doubled.decode('utf-8', 'replace')!r:.100} is there twice")
        kind = meta.get("tokenizer.ggml.model")
        if kind in ("none", "no_vocab") or (self.arch in FAMILY and isinstance(kind, str) and kind not in TOKENIZERS):
            raise _Contradiction(f"its tokenizer is {kind!r:.100}, which no {self.arch} model has")
        if meta.get("tokenizer.ggml.model") == "llama":  # what has no token of its own is written byte by byte
            wordless = [value for value in range(256) if not {b"<0x%02X>" % value, bytes((value,))} & self.header.words]
            if wordless:
                raise _Contradiction(f"it has no token for the byte {wordless[0]}")
        for key, kinds in (("scores", (6,)), ("token_type", (4, 5))):
            name = f"tokenizer.ggml.{key}"
            if name in meta and (lists.get(name) not in kinds or meta[name] != self.size):
                raise _Contradiction(f"{name!r} does not have one entry for each of the {self.size} tokens")
        if "tokenizer.ggml.merges" in meta and lists.get("tokenizer.ggml.merges") != TEXT:
            raise _Contradiction("its list of merges is no list of texts")
        for name, value in meta.items():
            named = re.fullmatch(r"tokenizer\.ggml\.(bos|eos|eot|eom|unknown)_token_id", name) and value != NO_TOKEN
            if named and (isinstance(value, bool) or not isinstance(value, int) or name in lists or not 0 <= value < self.size):
                raise _Contradiction(f"{name!r} is {value!r}, but it has {self.size} tokens")
        for name in ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template", "general.name", "general.license"):
            if name in meta and (not isinstance(meta[name], str) or name in lists):
                raise _Contradiction(f"the key {name!r} is no text")

    def sizes(self) -> None:
        """Counts that decide how much memory is asked for."""
        self.layers = self.number("block_count", 1, MOST_LAYERS)
        self.width = self.number("embedding_length", 1, MOST_WIDTH)
        self.number("context_length", 1, MOST_CONTEXT)
        self.heads = self.number("attention.head_count", 0 if self.arch not in FAMILY else 1, MOST_HEADS)
        self.kv_heads = self.number("attention.head_count_kv", 0 if self.arch not in FAMILY else 1, MOST_HEADS, default=self.heads)
        if self.number("expert_used_count", 0, 4096, default=0) > self.number("expert_count", 0, 4096, default=0):
            raise _Contradiction("it uses more experts than it has")
        if self.number("nextn_predict_layers", 0, MOST_LAYERS, default=0) > self.layers:
            raise _Contradiction("it predicts with more layers than it has")
        scaling = self.meta.get(f"{self.arch}.rope.scaling.type", "none")
        if scaling not in SCALINGS:
            raise _Contradiction(f"it stretches positions by the unknown rule {scaling!r:.100}")
        if self.kv_heads > self.heads:
            raise _Contradiction(f"it has {self.kv_heads} heads for keys but only {self.heads} heads")

    def attention(self) -> None:
        """Heads share the width and the keys evenly, and positions are turned within one head."""
        if self.heads % self.kv_heads:
            raise _Contradiction(f"its {self.heads} heads cannot share {self.kv_heads} heads for keys")
        if f"{self.arch}.attention.key_length" not in self.meta and self.width % self.heads:
            raise _Contradiction(f"its width of {self.width} cannot be divided among {self.heads} heads")
        self.key = self.number("attention.key_length", 1, MOST_WIDTH, default=self.width // self.heads)
        self.value = self.number("attention.value_length", 1, MOST_WIDTH, default=self.width // self.heads)
        turned = self.number("rope.dimension_count", 1, MOST_WIDTH, default=self.key)
        if turned != self.key or turned % 2:
            raise _Contradiction(f"it turns {turned} dimensions of heads that have {self.key}")
        self.inner = self.number("feed_forward_length", 1, MOST_WIDTH * 8)
        for key, high in (("attention.layer_norm_rms_epsilon", 1.0), ("rope.freq_base", 1e12)):
            value = self.meta.get(f"{self.arch}.{key}", high / 2)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
                raise _Contradiction(f"the key '{self.arch}.{key}' is {value!r}")

    def tensors(self) -> None:
        """Every layer has its tensors, each of the shape that the numbers above ask for."""
        self.expect("token_embd.weight", (self.width, self.size))
        self.expect("output_norm.weight", (self.width,))
        self.expect("output.weight", (self.width, self.size), needed=False)
        queries, keys, values = self.heads * self.key, self.kv_heads * self.key, self.kv_heads * self.value
        experts = f"{self.arch}.expert_count" in self.meta and self.number("expert_count", 0, 4096) > 0
        for layer in range(self.layers):
            at = f"blk.{layer}."
            for name in ("attn_norm", "ffn_norm"):
                self.expect(f"{at}{name}.weight", (self.width,))
            apart, dense = f"{at}attn_qkv.weight" not in self.header.tensors, not experts
            for name, columns, rows, needed in (
                ("attn_q", self.width, queries, apart), ("attn_k", self.width, keys, apart), ("attn_v", self.width, values, apart),
                ("attn_output", self.heads * self.value, self.width, True), ("ffn_gate", self.width, self.inner, dense),
                ("ffn_up", self.width, self.inner, dense), ("ffn_down", self.inner, self.width, dense),
            ):
                self.expect(f"{at}{name}.weight", (columns, rows), needed=needed)
                self.expect(f"{at}{name}.bias", (rows,), needed=False)
        for name in self.header.tensors:
            layer = re.match(r"blk\.(\d+)\.", name)
            if layer and int(layer[1]) >= self.layers:
                raise _Contradiction(f"it has the tensor {name!r} but only {self.layers} layers")

    def expect(self, name: str, shape: tuple[int, ...], needed: bool = True) -> None:
        """Raise unless the tensor has this shape and a type that fits its use; an absent one is a fault when `needed`."""
        tensor = self.header.tensors.get(name)
        if tensor is None:
            if needed:
                raise _Contradiction(f"the tensor {name!r} is missing")
            return
        found = tensor.shape
        while len(found) > len(shape) and found[-1] == 1:
            found = found[:-1]
        if found != shape:
            raise _Contradiction(f"the tensor {name!r} has the shape {list(tensor.shape)} where {list(shape)} is needed")
        if (len(shape) == 1 and tensor.kind != PLAIN) or tensor.kind in NEVER_WEIGHTS:
            raise _Contradiction(f"the tensor {name!r} is of the type {tensor.kind}, which no weights have")
