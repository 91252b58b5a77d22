"""Every tool that a stack offers, over the parts that it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from suite.errors import NotReady
from suite.tools.builtin.files import FILE_TOOLS, WRITE_TOOLS
from suite.tools.builtin.git import git_tools
from suite.tools.builtin.memory import memory_tools
from suite.tools.builtin.models import model_tools
from suite.tools.builtin.notion import URL as NOTION
from suite.tools.builtin.notion import notion_tools
from suite.tools.builtin.rag import rag_tools
from suite.tools.builtin.run import sandbox_tools
from suite.tools.builtin.runbook import runbook_tools
from suite.tools.builtin.web import WebOptions, web_tools
from suite.tools.tool import Tool


def _absent(*_given: Any, **_more: Any) -> Any:
    raise NotReady("This tool is only described in this process; call it on a stack.", part="mcp-server")


@dataclass(frozen=True)
class Parts:
    """What tools work with. Without anything the tools can be described and not called.

    `ask(collection, question, topk)` answers from documents; `chat` is a gateway's; `loaded` and `switch` are those of the model servers;
    `run(name)` executes a runbook; `refusal` says why no program may run; `notion_token()` gives Notion's token.
    """

    memory: Any = None
    ask: Callable[..., Any] = _absent
    chat: Callable[..., Any] = _absent
    loaded: Callable[..., Any] = _absent
    switch: Callable[..., Any] = _absent
    run: Callable[..., Any] = _absent
    sandbox: Any = None
    sessions: Any = None
    refusal: Callable[..., str] = _absent
    web: WebOptions = field(default_factory=WebOptions)
    notion_token: Callable[[], str] = str
    notion_url: str = NOTION


def every_tool(parts: Parts) -> tuple[Tool, ...]:
    """All of them."""
    return (*FILE_TOOLS, *WRITE_TOOLS, *git_tools(), *rag_tools(parts.ask), *model_tools(parts.chat, parts.loaded, parts.switch),
            *memory_tools(parts.memory), *runbook_tools(parts.run), *sandbox_tools(parts.sandbox, parts.sessions, parts.refusal),
            *web_tools(parts.web), *notion_tools(parts.notion_token, parts.web, parts.notion_url))
