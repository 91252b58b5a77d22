"""From messages and tools to prompt tokens, by the chat template that the model file carries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import jinja2
import llama_cpp

from suite.errors import BadRequest, WeightsError
from suite.serving.sandbox import Rendering

# (text, whether to add the model's begin token, whether control words such as <|user|> are read as controls) -> tokens
Tokenize = Callable[[bytes, bool, bool], list[int]]
_CANNOT = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def control_words(vocab: Any) -> frozenset[str]:
    """How a vocabulary (a llama_vocab_p) writes the tokens that a text with controls is searched for."""
    controls = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
    words = (llama_cpp.llama_vocab_get_text(vocab, token) for token in range(llama_cpp.llama_vocab_n_tokens(vocab))
             if llama_cpp.llama_vocab_get_attr(vocab, token) & controls)
    return frozenset(word.decode("utf-8", "replace") for word in words if word)


class Template:
    """One model's chat template; `controls` are the control words of its vocabulary. Raises WeightsError when the source is no valid Jinja."""

    def __init__(self, source: str, begin: str, end: str, tokenize: Tokenize, controls: Iterable[str]) -> None:
        self._begin, self._tokenize = begin, tokenize
        self._controls = frozenset(controls)
        self._lengths = sorted({len(word) for word in self._controls}, reverse=True)
        beginnings = "|".join(sorted(re.escape(word[:2]) for word in self._controls)) or "(?!)"
        self._maybe = re.compile(f"(?={beginnings})")
        try:
            self._rendering = Rendering(source, {"bos_token": begin, "eos_token": end})
        except (*_CANNOT, SyntaxError) as error:
            raise WeightsError(f"The model's chat template is damaged ({_reason(error)}); choose another file of this model.") from error

    def encode(self, messages: tuple[dict[str, Any], ...], tools: tuple[dict[str, Any], ...] = ()) -> list[int]:
        """Prompt tokens that end where the reply begins. Raises BadRequest when the template refuses these messages.

        What a message, a call or a tool says is never read as a control word: a user who types `<|assistant|>` gets those characters, not a
        change of speaker. For that each control word is a number while the template works, and comes back when its text is tokenized.
        """
        mark, words = f"{secrets.randbelow(10**18):018d}", []  # digits only: a template may change the case of letters

        def plain(text: str) -> str:
            parts, at = [], 0
            for begin in self._maybe.finditer(text):
                here = begin.start()
                length = next((length for length in self._lengths if text[here:here + length] in self._controls), 0) if here >= at else 0
                if length:
                    parts += [text[at:here], f"{mark}{len(words):09d}"]
                    words.append(text[here:here + length])
                    at = here + length
            return "".join([*parts, text[at:]]) if parts else text

        try:
            said, size = _mapped([list(messages), list(tools) or None], plain)
            text = self._rendering.text(size, messages=said[0], tools=said[1], add_generation_prompt=True, documents=None)
        except _CANNOT as error:
            raise BadRequest(f"The model's chat template refuses these messages: {_reason(error)}.", param="messages") from error
        parts = re.split(f"{mark}([0-9]{{9}})", text)  # template's text and numbers of words by turns
        return self._pieces([words[int(part)] if at % 2 else part for at, part in enumerate(parts)])

    def _pieces(self, texts: list[str]) -> list[int]:
        tokens: list[int] = []
        for at, text in enumerate(texts):
            begins = at == 0 and not (self._begin and text.startswith(self._begin))  # many templates write the begin token themselves
            if text or begins:
                tokens += self._tokenize(text.encode("utf-8", "replace"), begins, at % 2 == 0)
        return tokens


def _mapped(value: Any, change: Callable[[str], str]) -> tuple[Any, int]:
    """A copy with every text in it changed, names of fields too, and how many characters there are."""
    if isinstance(value, str):
        return change(value), len(value)
    if isinstance(value, dict):
        rows = [(_mapped(name, change), _mapped(inner, change)) for name, inner in value.items()]
        return {name: inner for (name, _), (inner, _) in rows}, sum(own + deeper for (_, own), (_, deeper) in rows)
    if isinstance(value, (list, tuple)):
        made = [_mapped(inner, change) for inner in value]
        return [inner for inner, _ in made], sum(size for _, size in made)
    return value, 0


def _reason(error: BaseException) -> str:
    said = "it nests too deeply" if isinstance(error, RecursionError) else str(error).strip() or type(error).__name__
    return said.splitlines()[0].rstrip(".")[:300]
