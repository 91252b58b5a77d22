"""Turns over a real gateway: what is sent again, what is left out when the context is full, and what a broken reply leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from models_stage import smoke_maker, smoke_server

from suite.errors import ContextOverflow, NotFound, UpstreamError
from suite.gateway.conversation import Conversation, describe
from suite.gateway.gateway import Gateway
from suite.serving.reply import Reply, ReplyStream

CONTEXT = 160


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """One small context, and a model that never ends a reply by itself."""
    smoke_maker().write(tmp_path / "endless.gguf")
    server = smoke_server(tmp_path, chat_model=str(tmp_path / "endless.gguf"), llama_ctx=CONTEXT)
    server.load()
    yield Gateway({"chat-7b": [server], "code-7b": [server]})
    server.close()


class Overheard:
    """A gateway's chat that notes what was sent."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.sent = gateway, []

    def __call__(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        self.sent.append(messages)
        return self.gateway.chat(messages, **options)


def said(conversation: Conversation, question: str, **options: Any) -> str:
    return "".join(conversation.say(question, **{"max_tokens": 20, "temperature": 0.0, **options}))


def test_each_question_is_asked_with_the_turns_before_it(gateway: Gateway) -> None:
    chat = Overheard(gateway)
    conversation = Conversation(chat, system="Be brief.")
    first = said(conversation, "one")
    said(conversation, "two", model="code-7b")
    assert chat.sent[1] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}, {"role": "assistant", "content": first},
                            {"role": "user", "content": "two"}]
    assert conversation.last is not None and (conversation.last.alias, conversation.last.tokens) == ("code-7b", 20)
    conversation.clear()
    assert said(conversation, "one") == first and len(chat.sent[2]) == 2


@pytest.mark.parametrize("context", [CONTEXT, 0])
def test_the_oldest_turns_go_when_the_context_is_full(gateway: Gateway, context: int) -> None:
    conversation = Conversation(gateway.chat, context=context)
    notes = []
    for number in range(12):
        said(conversation, f"question {number}")
        notes.append(conversation.note)
        whole = conversation.last.tokens == 20  # type: ignore[union-attr]
        assert whole or not context, "with the context known, room for the reply is made before it is cut off"
    assert notes[0] == "" and notes[-1].startswith("The oldest turn was left out, to fit the ") and conversation.turns[-1].question == "question 11"
    assert ("context of 160 tokens" in notes[-1]) == bool(context)


def test_a_question_that_is_too_long_by_itself_is_refused_and_costs_no_turn(gateway: Gateway) -> None:
    conversation = Conversation(gateway.chat, context=CONTEXT)
    said(conversation, "one")
    with pytest.raises(ContextOverflow, match=f"context of {CONTEXT}"):
        said(conversation, "long " * 500)
    with pytest.raises(NotFound):
        said(conversation, "two", model="gpt-9")
    assert [turn.question for turn in conversation.turns] == ["one"] and conversation.dropped == 0


def test_a_reply_that_is_closed_early_is_no_turn_but_can_be_looked_at(gateway: Gateway) -> None:
    conversation = Conversation(gateway.chat)
    with closing(conversation.say("one", max_tokens=140)) as pieces:
        next(pieces)
    assert conversation.turns == [] and conversation.last is not None and conversation.last.finish == "cancelled"


def test_a_reply_that_breaks_off_is_no_turn() -> None:
    def breaking(_messages: Any, **_options: Any) -> ReplyStream:
        def pieces() -> Iterator[str]:
            yield "half"
            raise UpstreamError("broke off")

        return ReplyStream(pieces(), lambda: Reply("", 0, 0, 0.0, "x"), lambda: None)

    conversation = Conversation(breaking)
    with pytest.raises(UpstreamError):
        list(conversation.say("one"))
    assert conversation.turns == [] and conversation.last is None


def test_the_line_about_a_reply_says_what_a_reader_must_know() -> None:
    plain = Reply("x", 10, 5, 2.0, "qwen", alias="chat-7b", timings={"predicted_per_second": 8.04, "first_token_ms": 41.6})
    assert describe(plain) == "chat-7b (qwen) · 10 tokens · 8 tokens/s · first token after 42 ms"
    odd = Reply("x", 10, 5, 2.0, "smoke", alias="chat-7b", why="asked for by name; inference-code stood in", fallback=True, smoke=True, finish="length")
    assert describe(odd) == ("chat-7b (smoke) · 10 tokens · 5 tokens/s · cut off at its limit of tokens · answered by a stand-in: asked for by name; "
                             "inference-code stood in · smoke model: it proves that the stack works, not what is true")
