"""Grammars and JSON schemas as masks over the next token, by llguidance; llama.cpp's own grammars, where an invalid one is a crash, are not used."""

from __future__ import annotations

import ctypes
import functools
import json
import math
import re
import threading
from collections import OrderedDict
from fractions import Fraction
from typing import Any

import llama_cpp
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from suite.errors import BadRequest
from suite.serving.gbnf import GbnfError, to_lark
from suite.serving.request import Request

# Forced text is left to the mask: llguidance would tokenize it through a pointer into the model, which may be gone by then.
HEADER = '%llguidance {"no_forcing": true}\n'
# No blank lines and no endless blanks: a small model would write them until its limit of tokens.
WHITE_SPACE = r"( |\n[ \t]{0,40})"
MOST_MULTIPLES = 10_000  # a schema's multipleOf needs that many states, each of about a kilobyte
MOST_PROPERTIES = 1000  # of one object; the time to compile them grows with their square
KEPT = 32  # compiled grammars
# Control words that begin or end a tool call count as their letters: a grammar names them as text, whatever they are in a vocabulary.
SPOKEN = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
# A step of 20,000 items or 100,000 units of fuel takes tens of milliseconds, which the other replies of the batch wait for.
_LIMITS = LLParserLimits(max_items_in_row=2000, initial_lexer_fuel=1_000_000, step_lexer_fuel=200_000, step_max_items=50_000, max_lexer_states=50_000,
                         max_grammar_size=30_000, precompute_large_lexemes=False, verbose_errors=False)


def constraint(request: Request) -> str:
    """What llguidance reads for the request's grammar or JSON schema, "" when it has none. Raises BadRequest naming the option and the reason."""
    if request.json_schema:
        source, param = HEADER + f"start: {schema_part(request.json_schema, 'json_schema')}\n", "json_schema"
    elif request.grammar:
        try:
            source, param = HEADER + to_lark(request.grammar), "grammar"
        except GbnfError as error:
            raise BadRequest(f"grammar is no valid GBNF: {error}; correct it.", param="grammar") from error
    else:
        return ""
    check(source, param)
    return source


def schema_part(schema: str, param: str) -> str:
    """A JSON schema as a part of a grammar's rule. Raises BadRequest for what cannot be read or kept."""
    try:
        read = json.loads(schema, parse_constant=lambda name: float("nan"))
        text = json.dumps({**read, "x-guidance": {"whitespace_pattern": WHITE_SPACE}}, allow_nan=False) if isinstance(read, dict) else ""
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip(".")
        raise BadRequest(f"{param} is no valid JSON ({reason}); send the text of a JSON schema.", param=param) from error
    if read is True:
        return schema_part("{}", param)
    if not isinstance(read, dict):
        raise BadRequest(f"{param} is {schema:.80} but must be a JSON schema: an object, or true for any JSON.", param=param)
    if "x-guidance" in read:
        raise BadRequest(f"{param} has the keyword x-guidance, which is not for callers; leave it out.", param=param)
    multiples: list[int] = []
    _walk(read, param, multiples)
    if math.lcm(*multiples) > MOST_MULTIPLES:
        raise BadRequest(f"{param} has values of multipleOf with a common multiple above {MOST_MULTIPLES:,}; use rounder ones.", param=param)
    return f"%json {text}"


def _walk(node: Any, param: str, multiples: list[int]) -> None:
    """Refuse what llguidance would silently keep only in part; gather every multipleOf."""
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _walk(inner, param, multiples)
    if not isinstance(node, dict):
        return
    properties = node.get("properties")
    if isinstance(properties, dict) and len(properties) > MOST_PROPERTIES:
        raise BadRequest(f"{param} has an object of {len(properties):,} properties, more than {MOST_PROPERTIES:,}; split it.", param=param)
    step = node.get("multipleOf")
    if isinstance(step, (int, float)) and not isinstance(step, bool) and step > 0:
        multiples.append(Fraction(str(step)).numerator)
    for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(node.get(keyword), bool):
            raise BadRequest(f"{param} has {keyword} as true or false, as in draft 4; give the number itself.", param=param)
    least, required = node.get("minProperties"), node.get("required")
    if isinstance(least, (int, float)) and least > (len(required) if isinstance(required, list) else 0):
        raise BadRequest(f"{param} has minProperties {least:g} with fewer required properties, which cannot be enforced since a key may come "
                         "twice; name the properties in required.", param=param)


@functools.lru_cache(KEPT)
def check(source: str, param: str) -> None:
    """Raises BadRequest when llguidance cannot use the source, tried on an alphabet of single bytes, so that no model is needed."""
    Matcher(LLMatcher(_alphabet(), source, log_level=0, limits=_LIMITS), _alphabet(), param)


class Matcher:
    """Where a reply stands in its grammar. Making one raises BadRequest when nothing fits the grammar."""

    def __init__(self, inner: LLMatcher, tokenizer: LLTokenizer, param: str = "grammar") -> None:
        self._inner, self._size, self._param = inner, tokenizer.vocab_size, param
        self._mask = np.zeros((self._size + 31) // 32, dtype=np.uint32)
        if not self._fitting().any():
            raise BadRequest(f"No text fits {param}; loosen it.", param=param)

    def restrict(self, logits: np.ndarray) -> None:
        """Put -inf in place of each number whose token may not come; the tokens that end a reply may come when its text is complete.

        `logits` is (n_vocab,) float32. Raises BadRequest when the grammar has become too complex to go on with.
        """
        fitting = self._fitting()
        logits[self._size:] = -np.inf
        np.copyto(logits[:self._size], np.float32(-np.inf), where=fitting[:logits.shape[0]] == 0)

    def accept(self, token: int) -> None:
        """Go on by a token that `restrict` allowed."""
        self._inner.consume_token(token)

    def copy(self) -> Matcher:
        """Another reply at the same place."""
        twin = Matcher.__new__(Matcher)
        twin._inner, twin._size, twin._param, twin._mask = self._inner.deep_copy(), self._size, self._param, np.zeros_like(self._mask)
        return twin

    @property
    def ended(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._inner.is_stopped()

    def _fitting(self) -> np.ndarray:
        """(vocabulary,) of 0 and 1."""
        if not self._inner.is_error():
            self._inner.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._inner.is_error():
            raise BadRequest(_sentence(self._inner.get_error(), self._param), param=self._param)
        return np.unpackbits(self._mask.view(np.uint8), bitorder="little", count=self._size)


class Grammars:
    """Compiles grammars for one model's vocabulary (a llama_vocab_p); may be used from any thread."""

    def __init__(self, vocab: Any) -> None:
        self._vocab, self._lock = vocab, threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[str, Matcher] = OrderedDict()

    def compile(self, source: str) -> Matcher:
        """A matcher at the beginning of the grammar that `constraint` gave. Raises BadRequest."""
        with self._lock:
            known = self._kept.get(source)
            if known is not None:
                self._kept.move_to_end(source)
                return known.copy()
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._vocab)  # a second for 150,000 tokens, so not before somebody needs it
        made = Matcher(LLMatcher(self._tokenizer, source, log_level=0, limits=_LIMITS), self._tokenizer)
        with self._lock:
            self._kept[source] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return made.copy()


class _Words:
    """A vocabulary in the form that LLTokenizer takes."""

    is_tokenizer_wrapper, bos_token_id = True, None

    def __init__(self, tokens: list[bytes], special: list[int], ends: list[int]) -> None:
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, special, ends[0]

    def __call__(self, text: bytes | str) -> list[int]:
        """A text as tokens of one byte each: the library asks for this only where a grammar forces a text, which is off here."""
        return [self.tokens.index(bytes([value])) for value in (text.encode() if isinstance(text, str) else text)]


def _alphabet() -> LLTokenizer:
    """Every byte a token, and one more for the end."""
    with _alphabet_lock:
        if not _alphabets:
            letters = [bytes([value]) for value in range(256)]
            _alphabets.append(LLTokenizer(_Words([*letters, b"\xff<end>"], [256], [256]), eos_token=[256], slices=[]))
        return _alphabets[0]


_alphabets: list[LLTokenizer] = []
_alphabet_lock = threading.Lock()


def _tokenizer(vocab: Any) -> LLTokenizer:
    """The vocabulary with the bytes that each token writes; those that write nothing are marked as special, so that no grammar lets them in."""
    buffer, tokens, special, ends = ctypes.create_string_buffer(1 << 16), [], [], []
    silent = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN | llama_cpp.LLAMA_TOKEN_ATTR_UNUSED
    spoken = {word.encode() for word in SPOKEN}
    for token in range(llama_cpp.llama_vocab_n_tokens(vocab)):
        length = max(llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True), 0)
        raw = ctypes.string_at(buffer, length)
        ending = llama_cpp.llama_vocab_is_eog(vocab, token)
        if ending or (llama_cpp.llama_vocab_get_attr(vocab, token) & silent and raw not in spoken):
            raw = b"\xff" + raw
            special.append(token)
        if ending:
            ends.append(token)
        tokens.append(raw)
    if not ends:  # a model without an end: replies end by `ended`
        ends.append(len(tokens))
        special.append(len(tokens))
        tokens.append(b"\xff<end>")
    return LLTokenizer(_Words(tokens, special, ends), eos_token=ends)


def _sentence(reason: str, param: str) -> str:
    """llguidance's reason as one sentence."""
    keywords = re.search(r'Unimplemented keys: \[(.*?)\]', reason)
    if keywords:
        return f"{param} has the keyword {keywords[1].replace(chr(34), '')}, which cannot be enforced; leave it out."
    if "oneOf constraints" in reason:
        return f"{param} has a oneOf whose alternatives overlap, which cannot be enforced; use anyOf."
    if "not present in a registry" in reason:
        return f"{param} has a $ref to another document, which is not fetched; put the schema under $defs."
    if "NoExtension" in reason:
        return f"No text fits {param}; loosen it."
    lines = [line.strip() for line in reason.split("<non-verbose/>")[0].splitlines() if line.strip()] or ["unknown reason"]
    said = next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), lines[0])
    said = re.sub(r"^((at \d+\(\d+\)|Parser Error|failed to compile JSON schema|Unsatisfiable schema): )+", "", said).rstrip(".")
    return f"{param} cannot be used ({said[:200]}); correct or simplify it."
