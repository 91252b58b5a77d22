"""A model of any size whose weights are noise, made on the spot: for measuring how fast a model is served, never for what it says.

    python -m suite.serving.random_model TARGET.gguf

It needs no network and no licence, and computes exactly as much as a trained model of its shape does. The usual shape has the vocabulary of the
report's models and, as they have, widths that 256 divides: Qwen2.5-0.5B's own 896 would leave nine tenths of a "Q4_K_M" in other formats. It never
ends a reply by itself and says nothing but whole words, one token each: the rows of all other tokens in the embedding, by which the next token is
chosen too, are so small that the best of many random scores is never one of theirs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from suite.errors import WeightsError

RECIPE = 4  # part of the file's name: another recipe makes another file
CONSONANTS, VOWELS = "bcdfghjklmnprstvwxyz", "aeiou"
ROLES = ("system", "user", "assistant", "tool")
CONTROLS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
UNKNOWN, BEGIN, END = 0, 1, 2
NORMAL, UNKNOWN_KIND, CONTROL, BYTE = 1, 2, 3, 6
MAKING_SECONDS = 1800


@dataclass(frozen=True)
class Shape:
    """The sizes of a llama; `words` is how many whole words its vocabulary has (every beginning of a word is a word too)."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    kv_heads: int = 4
    feed_forward: int = 4096
    words: int = 151_561  # with bytes, controls and single characters Qwen's 151,936
    context: int = 8192

    @property
    def parameters(self) -> int:
        """How many numbers it has, norms and the little rest of the vocabulary not counted."""
        keys = self.width * self.kv_heads // self.heads
        return self.layers * self.width * (2 * self.width + 2 * keys + 3 * self.feed_forward) + self.words * self.width


HALF_BILLION = Shape()


def words(shape: Shape = HALF_BILLION) -> list[str]:
    """The words of the vocabulary, shortest first; a blank before one makes it one token."""
    pairs = [a + b for a, b in itertools.product(CONSONANTS, VOWELS)]
    triples = [a + b for a, b in itertools.product(pairs, CONSONANTS)]
    fours = [a + b for a, b in itertools.product(triples, VOWELS)]
    fives = [a + b for a, b in itertools.product(fours, CONSONANTS)]
    return [*CONSONANTS, *pairs, *triples, *fours, *fives][:shape.words]


def dialogue(text: str) -> str:
    """What the template makes of one message of the user, for those who write to llama.cpp without one."""
    return f"<|im_start|>user{text}<|im_end|><|im_start|>assistant"


def cached(folder: Path, shape: Shape = HALF_BILLION) -> Path:
    """The model of that shape in `folder`, quantised to Q4_K_M; made at the first call, which takes a minute at most.

    Raises WeightsError when the disk is too full or llama.cpp cannot make it.
    """
    digest = hashlib.sha256(json.dumps([RECIPE, asdict(shape), TEMPLATE]).encode()).hexdigest()[:12]
    target = folder / f"random-{shape.parameters // 1_000_000}m-q4_k_m-{digest}.gguf"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    needed = shape.parameters * 3  # half precision and the quantised file side by side, for a moment
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(f"{folder} has {free >> 20:,} MiB free, but making the model to measure with takes {needed >> 20:,}; free some space "
                           "or set DATA_DIR.")
    with tempfile.TemporaryDirectory(prefix="random-model-", dir=folder) as scratch:
        made = Path(scratch) / "made.gguf"
        # in a process of its own: the half-precision weights are a gigabyte of memory that is given back for certain
        command = [sys.executable, "-m", "suite.serving.random_model", str(made), json.dumps(asdict(shape))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=MAKING_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise WeightsError(f"The model to measure with was not made within {MAKING_SECONDS} s; use a faster disk for DATA_DIR.") from None
        if done.returncode or not made.exists():
            raise WeightsError(f"The model to measure with could not be made (status {done.returncode}): {done.stderr.strip()[-300:]}")
        made.chmod(0o600)
        os.replace(made, target)
    return target


def vocabulary(shape: Shape) -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and kinds of a SentencePiece vocabulary with byte fallback; the words are its last `shape.words` tokens."""
    tokens, kinds = ["<unk>", "<s>", "</s>"], [UNKNOWN_KIND, CONTROL, CONTROL]
    tokens += [f"<0x{value:02X}>" for value in range(256)] + list(CONTROLS)
    kinds += [BYTE] * 256 + [CONTROL] * len(CONTROLS)
    scores = [0.0] * len(tokens)
    beginnings = sorted({role[:length] for role in ROLES for length in range(2, len(role) + 1)})
    spoken = ["▁" + word for word in words(shape)]
    # pairs are merged from the left, best score first: words before roles, so that no role is found inside a word
    for group, score in ((["▁", *map(chr, range(0x21, 0x7F))], -9000.0), (beginnings, -5000.0), (spoken, -1000.0)):
        tokens += group
        scores += [score + len(token) for token in group]
        kinds += [NORMAL] * len(group)
    return tokens, scores, kinds


def write(target: Path, shape: Shape) -> None:
    """Write the model in half precision; a gigabyte for HALF_BILLION."""
    import gguf

    tokens, scores, kinds = vocabulary(shape)
    out = gguf.GGUFWriter(target, "llama")
    out.add_name(f"Random weights, {shape.parameters // 1_000_000} million")
    out.add_license("apache-2.0")
    out.add_bool("suite.smoke", True)
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.width)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.feed_forward)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(shape.width // shape.heads)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_scores(scores)
    out.add_token_types(kinds)
    out.add_unk_token_id(UNKNOWN)
    out.add_bos_token_id(BEGIN)
    out.add_eos_token_id(END)
    out.add_add_bos_token(False)
    out.add_add_space_prefix(False)
    out.add_chat_template(TEMPLATE)
    _tensors(out, shape, len(tokens))
    out.close()


def _tensors(out: object, shape: Shape, size: int) -> None:
    """Declare all tensors, then make and write one after the other: never more than one of them is in memory."""
    import numpy as np

    keys = shape.width * shape.kv_heads // shape.heads
    blocks = {"attn_norm": (shape.width,), "ffn_norm": (shape.width,), "attn_q": (shape.width, shape.width), "attn_k": (keys, shape.width),
              "attn_v": (keys, shape.width), "attn_output": (shape.width, shape.width), "ffn_gate": (shape.feed_forward, shape.width),
              "ffn_up": (shape.feed_forward, shape.width), "ffn_down": (shape.width, shape.feed_forward)}
    sizes = {"token_embd": (size, shape.width), "output_norm": (shape.width,)}
    sizes |= {f"blk.{layer}.{name}": each for layer in range(shape.layers) for name, each in blocks.items()}
    for name, each in sizes.items():
        kind = np.dtype(np.float32 if len(each) == 1 else np.float16)
        out.add_tensor_info(f"{name}.weight", each, kind, int(np.prod(each)) * kind.itemsize)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    noise = np.random.default_rng(0)
    for name, each in sizes.items():
        if len(each) == 1:
            out.write_tensor_data(np.ones(each, np.float32))
            continue
        # what the layers add has to outweigh the embedding, or every token would be followed by itself
        values = noise.standard_normal(each, np.float32) * np.float32(0.1 if name == "token_embd" else shape.width**-0.5)
        if name == "token_embd":
            values[:size - shape.words] *= np.float32(0.02)
        out.write_tensor_data(values.astype(np.float16))


def quantise(source: Path, target: Path) -> None:
    """Q4_K_M by llama.cpp. Raises WeightsError when it refuses."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    parameters.nthread = os.cpu_count() or 1
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), parameters):
        raise WeightsError(f"llama.cpp could not quantise {source}; its reason is in its own output.")


def main(arguments: list[str]) -> int:
    """Make a model at the path that the first argument names, of the shape that the second, if there is one, gives as JSON."""
    target = Path(arguments[0])
    shape = Shape(**json.loads(arguments[1])) if len(arguments) > 1 else HALF_BILLION
    half = target.with_suffix(".f16.gguf")
    try:
        write(half, shape)
        quantise(half, target)
    finally:
        half.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
