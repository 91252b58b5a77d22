"""From a request to the tokens of its prompt: by the chat template, as raw text, or around a gap to fill."""

from __future__ import annotations

from typing import Any

from suite.errors import BadRequest, ContextOverflow
from suite.serving.model import LoadedModel
from suite.serving.request import Request
from suite.serving.template import Template, control_words

LONGEST_TOKEN = 256  # characters; the longest of known vocabularies are runs of 128 blanks


class Prompts:
    """Encodes for one loaded model whose conversations have at most `n_ctx` tokens; `name` is the server's, for errors."""

    def __init__(self, model: LoadedModel, template: str, name: str, n_ctx: int) -> None:
        """Raises WeightsError when the template is damaged."""
        self._model, self._name, self._n_ctx = model, name, n_ctx
        self._template = Template(template, model.begin_word, model.end_word, model.tokenize, control_words(model.vocab))

    def encode(self, request: Request, messages: tuple[dict[str, Any], ...], tools: tuple[dict[str, Any], ...]) -> list[int]:
        """Prompt tokens that end where the reply begins. Raises ContextOverflow with both numbers, BadRequest when the model cannot do it."""
        texts = [request.prompt or "", request.suffix or ""] if request.raw else [str(message.get("content") or "") for message in messages]
        self._fits(sum(map(len, texts)))
        if not request.raw:
            tokens = self._template.encode(messages, tools)
        elif request.suffix is None:
            tokens = self._model.tokenize(texts[0].encode("utf-8", "replace"), True, True)
        else:
            tokens = self._around(*texts)
        if len(tokens) >= self._n_ctx:
            raise ContextOverflow(f"The prompt has {len(tokens)} tokens but {self._name} has a context of {self._n_ctx}; shorten it, "
                                  "or raise LLAMA_CTX.", param="prompt" if request.raw else "messages", prompt_tokens=len(tokens), n_ctx=self._n_ctx)
        if not tokens:
            raise BadRequest("The prompt has no tokens; write some text.", param="prompt" if request.raw else "messages")
        return tokens

    def tokenize(self, text: str, special: bool) -> list[int]:
        """The tokens of a text alone."""
        self._fits(len(text))
        return self._model.tokenize(text.encode("utf-8", "replace"), False, special)

    def _around(self, before: str, after: str) -> list[int]:
        if self._model.infill is None:
            raise BadRequest(f"{self._name} has a model without infill tokens, so it cannot fill a gap; load a code model such as Qwen2.5-Coder.",
                             param="suffix")
        prefix, suffix, middle = self._model.infill
        begin = self._model.tokenize(b"", True, False)
        return [*begin, prefix, *self._model.tokenize(before.encode("utf-8", "replace"), False, False),
                suffix, *self._model.tokenize(after.encode("utf-8", "replace"), False, False), middle]

    def _fits(self, characters: int) -> None:
        if characters > self._n_ctx * LONGEST_TOKEN:  # before tokens are counted, which takes seconds per megabyte
            raise ContextOverflow(f"The prompt has {characters:,} characters, more than the context of {self._name} holds ({self._n_ctx} tokens); "
                                  "shorten it, or raise LLAMA_CTX.", param="messages", n_ctx=self._n_ctx)
