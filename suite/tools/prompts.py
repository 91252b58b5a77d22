"""Prompts that an MCP client offers to a person: beginnings of conversations that use the tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from suite.errors import BadArguments, NotFound

MAX_ARGUMENT = 4000


@dataclass(frozen=True)
class Prompt:
    """A prompt: `arguments` maps each name to what it is; `text` has them in braces."""

    name: str
    description: str
    arguments: Mapping[str, str]
    text: str

    def filled(self, given: Mapping[str, str]) -> str:
        """The text with its arguments in it; raises BadArguments for one that is missing, unknown, blank or too long."""
        if strange := sorted(given.keys() ^ self.arguments.keys()):
            raise BadArguments(f"The prompt {self.name} takes {', '.join(self.arguments)}, all of them and no others; {strange[0][:80]!r} is one too "
                               "many or too few.", param=strange[0][:80])
        for name, value in given.items():
            if not value.strip() or len(value) > MAX_ARGUMENT:
                raise BadArguments(f"The argument {name!r} of the prompt {self.name} must have 1 to {MAX_ARGUMENT} characters.", param=name)
        text = self.text
        for name in self.arguments:  # not by str.format, which would read braces in a value
            text = text.replace("{" + name + "}", given[name])
        return text


PROMPTS = {prompt.name: prompt for prompt in (
    Prompt("answer_from_documents", "Answer a question from the indexed documents, with their places.", {"question": "what is to be answered"},
           "Look for the answer with rag_search, once in the words of the question and once in others. Answer in the language of the question, say "
           "for every statement which file it is from, and say so when the documents do not have it.\n\nQuestion: {question}"),
    Prompt("what_was_said", "Say what was said earlier about something.", {"topic": "what it was about"},
           "Find what was said about it with memory_search, and tell it in the order of time, with the days. Say so when nothing was said."
           "\n\nTopic: {topic}"),
    Prompt("review_report", "Go through the report of a runbook.", {"report": "the address of the report, from the list of resources"},
           "Read the resource {report}. Say its verdict, then each check that is not a pass: what was demanded, what was seen, and what to do next. "
           "Do not repeat the checks that passed."),
)}


def prompt(name: str) -> Prompt:
    """The prompt of that name; raises NotFound with those that there are."""
    if name not in PROMPTS:
        raise NotFound(f"There is no prompt {name[:80]!r}; there are {', '.join(PROMPTS)}.", param="name")
    return PROMPTS[name]
