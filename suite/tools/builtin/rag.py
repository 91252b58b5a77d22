"""The tool that answers from documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from suite.tools.tool import Tool, tool_of

_QUERY = {"description": "The question, in Korean or English.", "minLength": 1, "maxLength": 4000}


class Source(TypedDict):
    """A passage that the answer goes by: characters `start` to `end` of the file at `path`."""

    path: str
    page: int | None
    start: int
    end: int
    quote: str


class Answered(TypedDict):
    """An answer and its sources; `refused` says that the documents do not have it, `extractive` that the words are those of the passages."""

    query: str
    response: str
    sources: list[Source]
    refused: bool
    extractive: bool
    smoke: bool


def rag_tools(ask: Callable[[str, str, int | None], Any]) -> tuple[Tool, ...]:
    """`rag_search` over `ask(collection, question, topk)`, which gives an Answer."""

    def rag_search(query: Annotated[str, _QUERY], collection: Annotated[str, {"minLength": 1, "maxLength": 120}] = "default",
                   topk: Annotated[int, {"minimum": 1, "maximum": 50}] = 4) -> Answered:
        """Answer a question from the indexed documents of a collection, with the passages that it goes by."""
        found = ask(collection, query, topk)
        sources: list[Source] = [{"path": row.path, "page": row.page, "start": row.start, "end": row.end, "quote": row.quote}
                                 for row in found.citations]
        return {"query": query, "response": found.text, "sources": sources, "refused": found.refused, "extractive": found.extractive,
                "smoke": found.smoke}

    return (tool_of(rag_search),)
