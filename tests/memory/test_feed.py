"""A chat that remembers: which earlier turns the model is given, and what is kept of the new one."""

from __future__ import annotations

import time

import pytest

from suite.errors import BadRequest, ContextOverflow
from suite.memory.feed import Feeding
from suite.serving.reply import Reply, ReplyStream


class Model:
    """Answers with `text`, notes what it was asked, and has a window of `room` characters."""

    def __init__(self, text="In the cellar.", room=10_000):
        self.text, self.room, self.asked = text, room, []

    def __call__(self, messages, stream=False, **options):
        self.asked.append(messages)
        size = sum(len(row["content"]) for row in messages)
        reply = Reply(self.text, 3, 4, 0.1, "m")
        if not stream:
            if size > self.room:
                raise ContextOverflow("too long", needed=size, limit=self.room)
            return reply

        def pieces():
            if size > self.room:
                raise ContextOverflow("too long", needed=size, limit=self.room)
            yield from self.text.split(" ")

        return ReplyStream(pieces(), lambda: reply, lambda: None)


def test_the_turns_that_have_to_do_with_the_question_are_given_and_the_new_one_is_kept(light):
    lamp = light.remember("Where is the brass lamp?", "It stands in the cellar.")
    light.remember("What does the canteen serve?", "Soup.")
    model = Model()
    reply = Feeding(model, light, "Where did we put the lamp?", 400).reply(max_tokens=5)
    assert [row["id"] for row in reply.memories] == [lamp.id] and reply.text == "In the cellar."
    system, asked = model.asked[0]
    assert f"[1] {time.strftime('%Y-%m-%d', time.gmtime(lamp.created))}" in system["content"] and asked["role"] == "user"
    assert "It stands in the cellar." in asked["content"] and "Soup." not in asked["content"] and "Where did we put the lamp?" in asked["content"]
    kept = light.get(reply.remembered)
    assert (kept.question, kept.reply, kept.model, kept.tokens) == ("Where did we put the lamp?", "In the cellar.", "m", 3)
    assert "remembered" in repr(reply) and "brass lamp" in reply._repr_html_()


def test_a_bare_reply_is_given_as_what_its_question_names(light):
    light.remember("What is the backup time of the Alder server?", "03:15")
    light.remember("Alder 서버의 담당자는 누구인가요?", "김민아")
    light.remember("When is the Alder server down?", "The Alder server is down\non Sundays.")
    model = Model()
    talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    Feeding(model, light, [*talk, {"role": "user", "content": "Alder server?"}], 400).reply()
    system, *turns, asked = model.asked[0]
    assert "] What is the backup time of the Alder server: 03:15\n" in asked["content"] and "] Alder 서버의 담당자는 누구인가요: 김민아\n" in asked["content"]
    assert "] When is the Alder server down?\nThe Alder server is down\non Sundays.\n" in asked["content"]
    assert system["role"] == "system" and system["content"].startswith("Be short.\n\nThe numbered passages") and turns == talk[1:]


def test_without_anything_to_the_point_the_question_goes_as_it_is(light):
    light.remember("What does the canteen serve?", "Soup.")
    model = Model()
    reply = Feeding(model, light, [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who painted it?"}], 400).reply()
    assert model.asked == [[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who painted it?"}]] and reply.memories == ()


def test_what_is_given_stays_within_the_budget_and_the_window(light):
    for number in range(8):
        light.remember(f"Where is lamp number {number}?", f"Lamp {number} is in hall {number}. " * 10)
    small, none, tight = Model(), Model(), Model(room=900)
    assert 0 < len(Feeding(small, light, "lamp?", 250).reply().memories) < 4
    assert Feeding(none, light, "lamp?", 0).reply().memories == ()
    assert 0 < len(Feeding(tight, light, "lamp?", 2000).reply().memories) < 8 and len(tight.asked) > 1
    with pytest.raises(ContextOverflow):
        Feeding(Model(room=2), light, "lamp?", 100).reply()


def test_a_stream_is_kept_when_it_has_come_to_its_end_and_not_when_it_is_broken_off(light):
    lamp = light.remember("Where is the brass lamp?", "It stands in the cellar.")
    stream = Feeding(Model(), light, "Where is the lamp?", 400).stream()
    assert "".join(stream) == "Inthecellar." and [row["id"] for row in stream.reply.memories] == [lamp.id]
    assert light.get(stream.reply.remembered).reply == "In the cellar."
    broken = Feeding(Model(), light, "Where is the lamp?", 400).stream()
    next(broken)
    broken.close()
    assert len(light.turns()) == 2


@pytest.mark.parametrize("message", [[], [{"role": "assistant", "content": "x"}], [{"role": "user", "content": [{"type": "text"}]}]])
def test_only_a_question_in_words_can_be_remembered(light, message):
    with pytest.raises(BadRequest, match="question in words"):
        Feeding(Model(), light, message, 100)


def test_a_reply_without_words_is_not_kept(light):
    assert Feeding(Model(text=""), light, "lamp?", 100).reply().remembered == "" and light.turns() == []
