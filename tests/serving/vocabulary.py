"""Vocabularies of both kinds that llama.cpp reads, without weights, and a random model that writes by a grammar alone."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from suite.serving.grammar import SPOKEN, Matcher

CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "[TOOL_CALLS]")
WORDS = ("true", "false", "null", "name", "argument", "the", "city", '":', '",', "{\"", '"}', "},", "안", "녕")


def write_bpe(target: Path, end: str = "<|im_end|>") -> None:
    """A byte-level BPE as GPT-2's, with controls of which two end a reply, and a word of the user's: `<tool_call>`; without `end` it has few."""
    letters = _letters()
    tokens, merges = list(letters.values()), []
    for word in WORDS:
        spelled = "".join(letters[byte] for byte in word.encode())
        for length in range(2, len(spelled) + 1):
            if spelled[:length] not in tokens:
                merges.append(f"{spelled[:length - 1]} {spelled[length - 1]}")
                tokens.append(spelled[:length])
    controls = CONTROLS if end else ("<|im_start|>",)
    kinds = [1] * len(tokens) + [3] * len(controls) + [4]
    tokens += [*controls, "<tool_call>"]
    out = _writer(target, tokens, kinds, "gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_merges(merges)
    if end:
        out.add_eos_token_id(tokens.index(end))
    out.add_bos_token_id(tokens.index("<|im_start|>"))
    _finish(out)


def write_endless(target: Path) -> None:
    """A vocabulary without a token that ends a reply (RWKV's kind has none)."""
    _finish(_writer(target, ["<s>", *'"abc', "a\\n"], [3, 1, 1, 1, 1, 1], "rwkv"))


def _writer(target: Path, tokens: list[str], kinds: list[int], kind: str) -> gguf.GGUFWriter:
    out = gguf.GGUFWriter(target, "llama")
    out.add_context_length(64)
    out.add_embedding_length(8)
    out.add_block_count(1)
    out.add_feed_forward_length(8)
    out.add_head_count(1)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(8)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model(kind)
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    return out


def _finish(out: gguf.GGUFWriter) -> None:
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def _letters() -> dict[int, str]:
    """GPT-2's alphabet: bytes that can be printed stand for themselves, the others for the characters from 256 on."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return {byte: chr(byte if byte in printed else next(others)) for byte in range(256)}


class Vocabulary:
    """The vocabulary of a model file."""

    def __init__(self, path: Path) -> None:
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        assert self.model, path
        self.pointer = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.pointer)
        self.names = [llama_cpp.llama_vocab_get_text(self.pointer, token).decode() for token in range(self.size)]
        self.pieces = [self._piece(token, name in SPOKEN) for token, name in enumerate(self.names)]
        self.ends = {token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self.pointer, token)}

    def close(self) -> None:
        """Free it."""
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text: bytes, begin: bool = False, controls: bool = False) -> list[int]:
        """As llama.cpp does."""
        tokens = (llama_cpp.llama_token * (len(text) + 8))()
        count = llama_cpp.llama_tokenize(self.pointer, text, len(text), tokens, len(tokens), begin, controls)
        return tokens[:count]

    def bytes(self, tokens: list[int], controls: bool = False) -> bytes:
        """What tokens write."""
        return b"".join(self._piece(token, True) if controls else self.pieces[token] for token in tokens)

    def _piece(self, token: int, controls: bool) -> bytes:
        buffer = ctypes.create_string_buffer(512)
        return buffer[:llama_cpp.llama_token_to_piece(self.pointer, token, buffer, 512, 0, controls)]


class RandomModel:
    """Writes tokens by chance, closing what is open with some preference, so that it comes to an end."""

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self._vocabulary, self._rng = vocabulary, np.random.default_rng(seed)
        closers = [token for token, raw in enumerate(vocabulary.pieces) if raw in (b'"', b"}", b"]", b"</tool_call>", b'"}')]
        self._lean = np.zeros(vocabulary.size, np.float32)
        self._lean[[*closers, *vocabulary.ends]] = 5.0

    def write(self, matcher: Matcher, most: int = 1500, favour: tuple[int, ...] = ()) -> tuple[list[int], bool]:
        """The tokens without the end, and whether it came to an end."""
        tokens: list[int] = []
        while len(tokens) < most:
            logits = self._rng.normal(scale=2.0, size=self._vocabulary.size).astype(np.float32) + self._lean * (1 + len(tokens) / 100)
            logits[list(favour)] += 6.0
            matcher.restrict(logits)
            token = int(logits.argmax())
            assert np.isfinite(logits[token])
            matcher.accept(token)
            if token in self._vocabulary.ends:
                return tokens, True
            tokens.append(token)
            if matcher.ended:
                return tokens, True
        return tokens, False


def accepts(vocabulary: Vocabulary, matcher: Matcher, text: str) -> bool:
    """Whether the matcher lets a text through, from its beginning to an end after it."""
    for token in vocabulary.tokenize(text.encode()):
        if not np.isfinite(allowed(vocabulary, matcher)[token]):
            return False
        matcher.accept(token)
    return bool(np.isfinite(allowed(vocabulary, matcher)[list(vocabulary.ends)]).all())


def allowed(vocabulary: Vocabulary, matcher: Matcher) -> np.ndarray:
    """Zeros where a token may come, -inf elsewhere."""
    logits = np.zeros(vocabulary.size, np.float32)
    matcher.restrict(logits)
    return logits
