"""Damaged model files by the hundred, and what becomes of each: refused with a sentence, or loaded and answering, never a dead process.

    python tests/damaged_gguf.py [how many] [seed]

Every file goes through the check of its head, then a trial load, then (when both passed) a real load and a reply in a child of its own kind,
so that a crash is seen as such. Prints how many ended where, and which of them killed a child.
"""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.errors import WeightsError
from suite.serving import trial
from suite.serving.parameters import Parameters
from suite.serving.weights import check

SMALL = Parameters(n_ctx=128, kv_tokens=128, slots=2, n_batch=64)
U32, I32, F32, BOOL, TEXT, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
CODES = {U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q"}
BATCH = 25  # files that one child loads one after the other
REPLY = """
import json, sys
from pathlib import Path
from suite.errors import SuiteError
from suite.serving.parameters import Parameters
from suite.serving.weights import check
from suite.serving.request import Request
from suite.serving.decoder import Decoder
for path in sys.argv[1:]:
    print("begin", path, flush=True)
    try:
        decoder = Decoder("test", "damaged", check(Path(path)), Parameters(n_ctx=128, kv_tokens=128, slots=2, n_batch=64),
                          {"temperature": 0.3, "top_p": 0.9, "repeat_penalty": 1.05})
        try:
            tokens = decoder.stream(Request.of("Hello 안녕 1 + 1?", max_tokens=3, ignore_eos=True, timeout=60)).read().tokens
            print("end", path, "works", flush=True)
        finally:
            decoder.close()
    except SuiteError as error:
        print("end", path, "refused in the real load", flush=True)
"""


class Model:
    """A tiny whole model as parts that can be changed one by one before it is written: `keys` name -> (type, value), `tensors` name -> [shape, kind, data]."""

    def __init__(self, family: str, chance: random.Random) -> None:
        self.family, self.alignment, self.version, self.tail = family, 32, 3, b""
        self.counts: dict[str, int] = {}  # what the file claims instead of the truth: keys, tensors
        self.offsets: dict[str, int] = {}
        texts, kinds = _vocabulary(family)
        width, layers, inner = 64, 2, 64
        self.keys: dict[str, tuple[int, Any]] = {
            "general.architecture": (TEXT, family), "general.name": (TEXT, "tiny"), f"{family}.context_length": (U32, 128),
            f"{family}.embedding_length": (U32, width), f"{family}.block_count": (U32, layers), f"{family}.feed_forward_length": (U32, inner),
            f"{family}.attention.head_count": (U32, 4), f"{family}.attention.head_count_kv": (U32, 2), f"{family}.rope.freq_base": (F32, 10000.0),
            f"{family}.attention.layer_norm_rms_epsilon": (F32, 1e-5), f"{family}.rope.dimension_count": (U32, 16),
            f"{family}.vocab_size": (U32, len(texts)), "tokenizer.ggml.model": (TEXT, "llama" if family == "llama" else "gpt2"),
            "tokenizer.ggml.pre": (TEXT, "default"), "tokenizer.ggml.tokens": (ARRAY, (TEXT, texts)),
            "tokenizer.ggml.scores": (ARRAY, (F32, [-float(at) for at in range(len(texts))])),
            "tokenizer.ggml.token_type": (ARRAY, (I32, kinds)), "tokenizer.ggml.bos_token_id": (U32, 1), "tokenizer.ggml.eos_token_id": (U32, 2),
            "tokenizer.ggml.unknown_token_id": (U32, 0), "tokenizer.ggml.add_bos_token": (BOOL, True),
            "tokenizer.chat_template": (TEXT, "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"),
        }
        if family != "llama":
            self.keys["tokenizer.ggml.merges"] = (ARRAY, (TEXT, ["h e", "l l"]))
        self.tensors: dict[str, list[Any]] = {}
        shapes = {"token_embd.weight": (width, len(texts)), "output_norm.weight": (width,), "output.weight": (width, len(texts))}
        for layer in range(layers):
            at = f"blk.{layer}."
            shapes |= {f"{at}attn_norm.weight": (width,), f"{at}ffn_norm.weight": (width,), f"{at}attn_q.weight": (width, width),
                       f"{at}attn_k.weight": (width, 32), f"{at}attn_v.weight": (width, 32), f"{at}attn_output.weight": (width, width),
                       f"{at}ffn_gate.weight": (width, inner), f"{at}ffn_up.weight": (width, inner), f"{at}ffn_down.weight": (inner, width)}
            if family == "qwen2":
                shapes |= {f"{at}attn_q.bias": (width,), f"{at}attn_k.bias": (32,), f"{at}attn_v.bias": (32,)}
        for name, shape in shapes.items():
            count = math.prod(shape)
            self.tensors[name] = [shape, 0, struct.pack(f"<{count}f", *(chance.uniform(-0.3, 0.3) for _ in range(count)))]

    def bytes(self) -> bytes:
        """The file, however wrong."""
        head = b"GGUF" + struct.pack("<IQQ", self.version, self.counts.get("tensors", len(self.tensors)), self.counts.get("keys", len(self.keys)))
        for name, (kind, value) in self.keys.items():
            head += _text(name) + struct.pack("<I", kind) + _value(kind, value)
        data = b""
        for name, (shape, kind, content) in self.tensors.items():
            data += bytes(-len(data) % self.alignment)
            head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, self.offsets.get(name, len(data)))
            data += content
        return head + bytes(-len(head) % self.alignment) + data + self.tail


def _vocabulary(family: str) -> tuple[list[str], list[int]]:
    if family == "llama":
        texts = ["<unk>", "<s>", "</s>"] + [f"<0x{value:02X}>" for value in range(256)] + [chr(code) for code in range(0x21, 0x7F)] + ["▁"]
        return texts, [2, 3, 3] + [6] * 256 + [1] * (len(texts) - 259)
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # how byte-level vocabularies write the 256 bytes
    hidden = [256 + at for at in range(256 - len(visible))]
    texts = ["<unk>", "<s>", "</s>"] + [chr(code) for code in visible + hidden] + ["he", "ll"]
    return texts, [2, 3, 3] + [1] * (len(texts) - 3)


def _text(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    if kind == TEXT:
        return _text(value)
    if kind == ARRAY:
        of, items = value
        return struct.pack("<IQ", of, len(items)) + b"".join(_value(of, item) for item in items)
    return struct.pack("<" + CODES[kind], value)


ODD_NUMBERS = (0, 1, 2, 3, 5, 7, 16, 31, 33, 63, 65, 127, 129, 255, 1000, 4096, 65_537, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
ODD_FLOATS = (0.0, -1.0, 1e-38, 1e38, math.nan, math.inf, -math.inf, 1.0)
EXTRA: dict[str, tuple[Any, ...]] = {
    "rope.scaling.type": (TEXT, "none", "linear", "yarn", "longrope", "nonsense"), "rope.scaling.factor": (F32, *ODD_FLOATS),
    "attention.key_length": (U32, *ODD_NUMBERS), "attention.value_length": (U32, *ODD_NUMBERS), "expert_count": (U32, *ODD_NUMBERS),
    "expert_used_count": (U32, *ODD_NUMBERS), "attention.sliding_window": (U32, *ODD_NUMBERS), "pooling_type": (U32, *ODD_NUMBERS),
    "attention.causal": (BOOL, True, False), "rope.scaling.original_context_length": (U32, *ODD_NUMBERS), "attention.scale": (F32, *ODD_FLOATS),
    "attention.max_alibi_bias": (F32, *ODD_FLOATS), "attention.clamp_kqv": (F32, *ODD_FLOATS), "logit_scale": (F32, *ODD_FLOATS),
    "leading_dense_block_count": (U32, *ODD_NUMBERS), "rope.scaling.attn_factor": (F32, *ODD_FLOATS), "nextn_predict_layers": (U32, *ODD_NUMBERS),
}


def _numbers(model: Model, chance: random.Random) -> None:
    """One or two numbers of the metadata become odd."""
    for _ in range(chance.randint(1, 2)):
        name = chance.choice([name for name, (kind, _) in model.keys.items() if kind in (U32, F32)])
        kind = model.keys[name][0]
        model.keys[name] = (kind, chance.choice(ODD_FLOATS if kind == F32 else ODD_NUMBERS))


def _kinds(model: Model, chance: random.Random) -> None:
    """A key gets a value of another type."""
    name = chance.choice(list(model.keys))
    model.keys[name] = chance.choice([(TEXT, "nonsense"), (BOOL, True), (U64, 1 << 40), (F32, 0.5), (ARRAY, (U32, [1, 2])), (ARRAY, (TEXT, ["a"])),
                                      (ARRAY, (I32, [])), (TEXT, ""), (I32, -1)])


def _extra(model: Model, chance: random.Random) -> None:
    """A key that is optional appears, with an odd value."""
    name = chance.choice(list(EXTRA))
    kind, *values = EXTRA[name]
    model.keys[f"{model.family}.{name}"] = (kind, chance.choice(values))
    if name == "expert_count":
        model.keys[f"{model.family}.expert_used_count"] = (U32, chance.choice(ODD_NUMBERS))


def _missing(model: Model, chance: random.Random) -> None:
    """A key or a tensor is not there, or there under another name."""
    rows = chance.choice([model.keys, model.tensors])
    name = chance.choice(list(rows))
    row = rows.pop(name)
    if chance.random() < 0.3:
        rows[chance.choice([name.replace("attn", "ffn"), name.replace("0", "7"), name + "x", "", "blk.99999999999.x.weight"])] = row


def _shapes(model: Model, chance: random.Random) -> None:
    """A tensor has another shape, type or place; its data may or may not follow."""
    name = chance.choice(list(model.tensors))
    shape, _, data = model.tensors[name]
    what = chance.randrange(4)
    if what == 0:
        model.tensors[name][0] = tuple(reversed(shape)) if chance.random() < 0.4 else chance.choice([(), (64,), (64, 64), (32, 64, 1), (1, 1, 1, 1), (64, 1, 1, 353),
                                                                                                      (1 << 40, 1 << 40), (0, 64), (64, 32), (64, 128)])
    elif what == 1:
        model.tensors[name][1] = chance.choice([*range(0, 42), 99, 1 << 31])
        model.tensors[name][2] = data + bytes(len(data))
    elif what == 2:
        model.offsets[name] = chance.choice([0, 32, 1 << 20, 1 << 40, (1 << 64) - 32, 7])
    else:
        model.tensors[name][2] = data[: chance.randrange(len(data))]


def _words(model: Model, chance: random.Random) -> None:
    """The vocabulary lies: lengths, doubles, empty words, other types, another tokenizer."""
    of, texts = model.keys["tokenizer.ggml.tokens"][1]
    texts, what = list(texts), chance.randrange(7)
    if what == 0:
        texts[chance.randrange(len(texts))] = chance.choice(["", "a", "<s>", "x" * 100_000, "\n"])
    elif what == 1:
        del texts[chance.randrange(len(texts)):]
    elif what == 2:
        texts = [chance.choice(texts) for _ in texts]
    elif what == 3:
        model.keys["tokenizer.ggml.model"] = (TEXT, chance.choice(["llama", "gpt2", "bert", "t5", "rwkv", "none", "plamo2", "no_vocab", "nonsense"]))
    elif what == 4:
        model.keys["tokenizer.ggml.pre"] = (TEXT, chance.choice(["qwen2", "llama-bpe", "nonsense", ""]))
    elif what == 5:
        kinds = [chance.choice([-1, 0, 1, 2, 3, 4, 5, 6, 7, 1 << 30]) for _ in texts]
        model.keys["tokenizer.ggml.token_type"] = (ARRAY, (I32, kinds[: chance.choice([len(kinds), 3])]))
    else:
        model.keys["tokenizer.ggml.merges"] = (ARRAY, (TEXT, chance.choice([["h e"], ["a"], [""], ["x  y", " "], ["zz qq"]])))
    model.keys["tokenizer.ggml.tokens"] = (ARRAY, (of, texts))


def _weights(model: Model, chance: random.Random) -> None:
    """Weights that are no numbers, or far too large."""
    name = chance.choice(list(model.tensors))
    count = len(model.tensors[name][2]) // 4
    model.tensors[name][2] = struct.pack(f"<{count}f", *([chance.choice([math.nan, math.inf, 1e38, 0.0])] * count))


def _claims(model: Model, chance: random.Random) -> None:
    """The file claims other counts, another version or alignment."""
    what = chance.randrange(4)
    if what < 2:
        model.counts[("keys", "tensors")[what]] = chance.choice([0, 1, 5, 40, 1 << 20, 1 << 40, (1 << 64) - 1])
    elif what == 2:
        model.version = chance.choice([0, 1, 2, 4, 1 << 24])
    else:
        model.keys["general.alignment"] = (U32, chance.choice([0, 1, 8, 31, 64, 4096, 1 << 31]))


PARTS: tuple[Callable[[Model, random.Random], None], ...] = (_numbers, _numbers, _numbers, _kinds, _extra, _missing, _shapes, _shapes, _words, _words,
                                                             _weights, _claims)


def damaged(seed: int) -> tuple[str, bytes]:
    """One damaged file: how it was damaged, and its bytes; the same seed gives the same."""
    chance = random.Random(seed)
    model = Model(chance.choice(["llama", "qwen2"]), chance)
    how = chance.choice(["bits", "head bits", "cut", "numbers", "parts", "parts", "parts", "parts"])
    if how == "parts":
        part = chance.choice(PARTS)
        part(model, chance)
        return part.__name__.strip("_"), model.bytes()
    whole = bytearray(model.bytes())
    head = len(whole) - sum(len(data) for _, _, data in model.tensors.values())
    if how == "cut":
        return how, bytes(whole[: chance.choice([chance.randrange(64), chance.randrange(head), chance.randrange(len(whole)), head, len(whole) - 1])])
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(whole) if how == "bits" else head)
        if how == "numbers":  # eight bytes become one absurd number: lengths, counts, offsets
            whole[at:at + 8] = struct.pack("<Q", chance.choice([0, 1, 1 << 31, 1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1]))[: len(whole[at:at + 8])]
        else:
            whole[at] ^= 1 << chance.randrange(8)
    return how, bytes(whole)


def examine(count: int, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Put `count` damaged files through everything: how many of each damage ended where, and a line for each file that killed a child."""
    ends: Counter[tuple[str, str]] = Counter()
    killed: list[str] = []
    waiting: list[tuple[str, Path]] = []
    for at in range(seed, seed + count):
        how, content = damaged(at)
        path = folder / f"{at}.gguf"
        path.write_bytes(content)
        try:
            weights = check(path)
            trial.ensure(weights, SMALL, folder / "cache")
        except WeightsError as error:
            signal = error.facts.get("signal", "")
            ends[how, "killed the trial child" if signal else "refused by its trial load" if "trial load" in error.message else "refused by the check"] += 1
            if signal:
                killed.append(f"seed {at} ({how}): {error.message}")
            path.unlink()
        else:
            waiting.append((how, path))
    for at in range(0, len(waiting), BATCH):
        _reply(waiting[at:at + BATCH], ends, killed)
    return ends, killed


def _reply(batch: list[tuple[str, Path]], ends: Counter[tuple[str, str]], killed: list[str]) -> None:
    """Load a batch in one child; when it dies, the file it was at is the culprit and the rest go to another child."""
    while batch:
        done = subprocess.run([sys.executable, "-c", REPLY, *(str(path) for _, path in batch)], capture_output=True, text=True, check=False)
        said = dict(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("end "))
        for how, path in batch[: len(said)]:
            ends[how, said[str(path)]] += 1
        rest = batch[len(said):]
        if rest:
            how, path = rest[0]
            ends[how, "KILLED THE REAL LOAD"] += 1
            killed.append(f"{path.stem} ({how}): status {done.returncode} in the real load: {done.stderr[-300:]}")
        batch = rest[1:]


def main(count: int, seed: int) -> int:
    """Print the round; 1 when a real load died."""
    with tempfile.TemporaryDirectory() as folder:
        ends, killed = examine(count, seed, Path(folder))
    print(*killed, sep="\n")
    total: Counter[str] = Counter()
    for (how, end), number in sorted(ends.items()):
        print(f"{how:12} {end:28} {number:5}")
        total[end] += number
    print(json.dumps({"files": count, "seed": seed, **total}))
    return int(total["KILLED THE REAL LOAD"] > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
