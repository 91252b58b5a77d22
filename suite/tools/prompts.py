"""Prompts that an MCP client offers to a person: beginnings of conversations that use the tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from suite.errors import BadArguments, NotFound
from suite.tools.shelf import REPORT

MAX_ARGUMENT = 4000


@dataclass(frozen=True)
class Prompt:
    """A prompt: `arguments` maps each name to what it is; `text` has them in braces.

    `attached` names the arguments that are addresses of resources, each with how its address begins: what they lead to comes before the text.
    """

    name: str
    description: str
    arguments: Mapping[str, str]
    text: str
    attached: Mapping[str, str] = field(default_factory=dict)

    def filled(self, given: Mapping[str, str]) -> str:
        """The text with its arguments in it; raises BadArguments for one that is missing, unknown, blank, too long or another kind of address."""
        if strange := sorted(given.keys() ^ self.arguments.keys()):
            raise BadArguments(f"The prompt {self.name} takes {', '.join(self.arguments) or 'no arguments'}, all of them and no others; "
                               f"{strange[0][:80]!r} is one too many or too few.", param=strange[0][:80])
        for name, value in given.items():
            if not value.strip() or len(value) > MAX_ARGUMENT:
                raise BadArguments(f"The argument {name!r} of the prompt {self.name} must have 1 to {MAX_ARGUMENT} characters.", param=name)
        for name, begins in self.attached.items():
            if not given[name].startswith(begins):
                raise BadArguments(f"The argument {name!r} of the prompt {self.name} must be an address that begins with {begins!r}.", param=name)
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
           "This is the report {report}. Say its verdict, then each check that is not a pass: what was demanded, what was seen, and what to do next. "
           "Do not repeat the checks that passed.", attached={"report": REPORT}),
)}


def prompt(name: str, among: Mapping[str, Prompt] = PROMPTS) -> Prompt:
    """The prompt of that name; raises NotFound with those that there are."""
    if name not in among:
        raise NotFound(f"There is no prompt {name[:80]!r}; there are {', '.join(among)}.", param="name")
    return among[name]
