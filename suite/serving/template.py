"""From messages to prompt tokens, by the chat template that the model file carries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

import jinja2
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from suite.errors import BadRequest, WeightsError

# (text, whether to add the model's begin token, whether control words such as <|user|> are read as controls) -> tokens
Tokenize = Callable[[bytes, bool, bool], list[int]]


class Template:
    """One model's chat template. Raises WeightsError when the source is no valid Jinja."""

    def __init__(self, source: str, begin: str, end: str, tokenize: Tokenize) -> None:
        self._begin, self._tokenize = begin, tokenize
        try:
            # jinja2's sandbox: the source comes with the file, from whoever made the file
            self._formatter = Jinja2ChatFormatter(source, eos_token=end, bos_token=begin)
        except jinja2.TemplateError as error:
            raise WeightsError(f"The model's chat template is damaged ({error}); choose another file of this model.") from error

    def encode(self, messages: tuple[dict[str, str], ...]) -> list[int]:
        """Prompt tokens that end where the reply begins. Raises BadRequest when the template refuses these messages.

        What a message says is never read as a control word: a user who types `<|assistant|>` gets those characters, not a change of speaker.
        """
        if not any(self._forges(message["content"]) for message in messages):
            return self._pieces([self._render(messages)], controls=(0,))
        mark = secrets.token_hex(8)
        marked = tuple({**message, "content": f"{mark}:{index}:"} for index, message in enumerate(messages))
        parts = re.split(f"{mark}:([0-9]+):", self._render(marked))  # template text and message numbers by turns
        texts = [part if at % 2 == 0 else messages[int(part)]["content"] for at, part in enumerate(parts)]
        return self._pieces(texts, controls=range(0, len(texts), 2))

    def _forges(self, content: str) -> bool:
        raw = content.encode()
        return self._tokenize(raw, False, True) != self._tokenize(raw, False, False)

    def _render(self, messages: tuple[dict[str, str], ...]) -> str:
        try:
            return self._formatter(messages=[dict(message) for message in messages]).prompt
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise BadRequest(f"The model's chat template refuses these messages: {error}.", param="messages") from error

    def _pieces(self, texts: list[str], controls: range | tuple[int, ...]) -> list[int]:
        tokens: list[int] = []
        for at, text in enumerate(texts):
            begins = at == 0 and not (self._begin and text.startswith(self._begin))  # many templates write the begin token themselves
            if text or begins:
                tokens += self._tokenize(text.encode(), begins, at in controls)
        return tokens
