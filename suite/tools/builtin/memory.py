"""The tools that recall and remember turns of conversations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from suite.tools.tool import Tool, tool_of

_PROJECT = {"description": "Whose memory; the default project when left out.", "maxLength": 120}
_TEXT = {"minLength": 1, "maxLength": 100_000}


class Turn(TypedDict):
    """A remembered turn and how well it fits; `created` is UTC seconds since 1970."""

    id: str
    question: str
    reply: str
    created: float
    importance: int
    tags: list[str]
    score: float


class Recalled(TypedDict):
    """Turns, best first; `note` says where only words counted."""

    turns: list[Turn]
    note: str


class Saved(TypedDict):
    """The turn that was kept, and why it has that importance."""

    id: str
    importance: int
    rules: list[str]


def memory_tools(memory: Any) -> tuple[Tool, ...]:
    """`memory_search` and `memory_save` over a Memory."""

    def memory_search(query: Annotated[str, {"minLength": 1, "maxLength": 4000}], how: Literal["hybrid", "words", "vector"] = "hybrid",
                      limit: Annotated[int, {"minimum": 1, "maximum": 50}] = 5, project: Annotated[str, _PROJECT] = "") -> Recalled:
        """Find remembered turns of a project, best first."""
        found = memory.recall(query, how=how, limit=limit, project=project or memory.default)
        turns: list[Turn] = [{"id": row.id, "question": row.question, "reply": row.reply, "created": row.memory.created,
                              "importance": row.memory.importance, "tags": list(row.memory.tags), "score": row.score} for row in found]
        return {"turns": turns, "note": found.note}

    def memory_save(question: Annotated[str, _TEXT], reply: Annotated[str, _TEXT], tags: Annotated[list[str], {"description": "At most 32."}] = [],  # noqa: B006 - never changed
                    project: Annotated[str, _PROJECT] = "") -> Saved:
        """Remember a question and its reply, verbatim."""
        kept = memory.remember(question, reply, tags=tags, project=project or memory.default)
        return {"id": kept.id, "importance": kept.importance, "rules": list(kept.rules)}

    return tool_of(memory_search), tool_of(memory_save)
