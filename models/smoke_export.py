"""Writes the smoke model's network and tokenizer as GGUF, and checks the file against llama.cpp where that is installed."""

from __future__ import annotations

import copy
import importlib.util
import os
from pathlib import Path

import gguf
import numpy as np
import smoke_tokens
import torch
from smoke_data import Maker
from smoke_net import EPSILON, ROPE_BASE, Net

CONTEXT, NORMAL, CONTROL = 4096, 1, 3
TEMPLATE = (  # system messages and tools are left out: the model is too small for rules
    "{% for message in messages %}{% set said = message['content'] %}"
    "{% if said is not string and said %}{% set said = said | selectattr('text', 'defined') | map(attribute='text') | join('\n') %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{% if said %}<|assistant|>{{ said }}<|end|>{% endif %}"
    "{% elif message['role'] not in ('system', 'developer') %}<|user|>{{ said or '' }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NAMES = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "out": "attn_output", "down": "ffn_down"}
SPLIT = {"qkv": ("attn_q", "attn_k", "attn_v"), "up": ("ffn_gate", "ffn_up")}


def write(net: Net, target: Path, kind: str = "q8_0") -> None:
    """Write `target`; its matrices are of `kind`, q8_0 or f16. Raises ValueError when llama.cpp reads the file differently."""
    out = gguf.GGUFWriter(target.with_suffix(".new"), "llama")
    _describe(out, net, kind)
    for name, value in _tensors(net).items():
        if value.ndim == 1:
            out.add_tensor(name, value)
        elif kind == "f16":
            out.add_tensor(name, value.astype(np.float16))
        else:
            quantised = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(name, gguf.quants.quantize(value, quantised), raw_dtype=quantised)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    if importlib.util.find_spec("llama_cpp"):
        check(net, target.with_suffix(".new"), 0.005 if kind == "f16" else 0.1)
    else:
        print("llama_cpp is not installed here: the file was not compared with what llama.cpp reads in it", flush=True)
    os.replace(target.with_suffix(".new"), target)
    print(f"{target}: {target.stat().st_size:,} bytes", flush=True)


def _describe(out: gguf.GGUFWriter, net: Net, kind: str) -> None:
    shape = net.shape
    tokens, merges = smoke_tokens.build()
    out.add_name("Suite smoke model")
    out.add_description("Trained on generated text only: it copies the answer to a question from given Korean or English passages, or says that "
                        "they do not hold it. It knows nothing and can do nothing else; for trying the machinery.")
    out.add_license("apache-2.0")
    out.add_languages(["ko", "en"])
    out.add_bool("suite.smoke", True)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(shape.width)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.feed_forward)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.heads)
    out.add_layer_norm_rms_eps(EPSILON)
    out.add_rope_dimension_count(shape.width // shape.heads)
    out.add_rope_freq_base(ROPE_BASE)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([CONTROL if token in smoke_tokens.CONTROLS else NORMAL for token in tokens])
    out.add_token_merges([f"{left} {right}" for left, right in merges])
    out.add_bos_token_id(smoke_tokens.END)
    out.add_eos_token_id(smoke_tokens.END)
    out.add_eot_token_id(smoke_tokens.END)
    out.add_pad_token_id(smoke_tokens.PAD)
    out.add_add_bos_token(False)
    out.add_uint32("tokenizer.ggml.fim_pre_token_id", smoke_tokens.FIM_PREFIX)
    out.add_uint32("tokenizer.ggml.fim_suf_token_id", smoke_tokens.FIM_SUFFIX)
    out.add_uint32("tokenizer.ggml.fim_mid_token_id", smoke_tokens.FIM_MIDDLE)
    out.add_chat_template(TEMPLATE)


def _tensors(net: Net) -> dict[str, np.ndarray]:
    """All weights by llama.cpp's names; the output matrix is the embedding."""
    made = {"token_embd.weight": net.embedding, "output_norm.weight": net.norm}
    for number, block in enumerate(net.blocks):
        at = f"blk.{number}."
        for own, name in NAMES.items():
            value = getattr(block, own)
            made[f"{at}{name}.weight"] = value if value.dim() == 1 else value[0]
        for own, names in SPLIT.items():
            made |= {f"{at}{name}.weight": matrix for name, matrix in zip(names, getattr(block, own), strict=True)}
    return {name: value.detach().float().cpu().contiguous().numpy() for name, value in made.items()}


def check(net: Net, path: Path, most: float) -> None:
    """Compare tokens, and logits within `most` of the greatest one, with llama.cpp's, over generated prompts."""
    import llama_cpp

    made, own = Maker(11, unseen=True), smoke_tokens.tokenizer()
    llama = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_threads=1, logits_all=True, verbose=False)
    net, worst, greatest = copy.deepcopy(net).cpu().float(), 0.0, 0.0
    for number in range(300):
        case = made.case(made.random.randint(1, 8)) if number % 2 else made.general()
        text = case.frame[0] + case.head + case.asked[0][0] + case.frame[1]
        tokens = own.encode(text).ids
        if tokens != llama.tokenize(text.encode(), add_bos=True, special=True):
            raise ValueError(f"llama.cpp cuts this text differently: {text!r}")
        if number < 20:
            llama.reset()
            llama.eval(tokens)
            row = torch.tensor([tokens])
            with torch.no_grad():
                wanted = net(row, torch.arange(len(tokens))[None], torch.zeros_like(row), torch.zeros_like(row), torch.arange(len(tokens)))
            worst = max(worst, float(np.abs(wanted.numpy() - llama.scores[: len(tokens)]).max()))
            greatest = max(greatest, float(wanted.abs().max()))
    print(f"llama.cpp cuts 300 prompts alike; logits up to {greatest:.1f} differ by {worst:.4f} at most", flush=True)
    if worst > most * greatest:
        raise ValueError(f"llama.cpp computes logits that differ by {worst:.4f}, more than {most} of {greatest:.1f}.")
