"""The tools that talk to the models, say which are loaded, and load another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

from suite.tools.tool import Tool, tool_of

TOKENS, TEMPERATURE = 512, 0.3  # of a reply, as in the original
_MESSAGE = {"description": "What the model is asked.", "minLength": 1, "maxLength": 32_000}


class Answered(TypedDict):
    """A model's reply: which alias answered, and how long it took in seconds."""

    text: str
    model: str
    tokens: int
    seconds: float
    smoke: bool


class Loaded(TypedDict):
    """What a model server has in memory; `id` is empty where nothing is."""

    role: str
    id: str
    file: str
    loaded: bool


class Models(TypedDict):
    """Both model servers."""

    models: list[Loaded]


class Switched(TypedDict):
    """The model that serves now, and the seconds until it did."""

    success: bool
    message: str
    current_model: str
    switch_time_seconds: float


def model_tools(chat: Callable[..., Any], loaded: Callable[[], list[dict[str, Any]]],
                switch: Callable[[str, str], dict[str, Any]]) -> tuple[Tool, ...]:
    """`ai_chat` over a gateway's chat, `get_current_model` and `switch_model` over the model servers of a stack."""

    def ai_chat(message: Annotated[str, _MESSAGE], model: Annotated[str, {"description": "An alias; chosen by the message when left out.",
                                                                          "maxLength": 120}] = "") -> Answered:
        """Ask a model of the stack one question."""
        reply = chat(message, **({"model": model} if model else {}), max_tokens=TOKENS, temperature=TEMPERATURE)
        return {"text": reply.text, "model": reply.alias, "tokens": reply.tokens, "seconds": round(reply.seconds, 3), "smoke": reply.smoke}

    def get_current_model() -> Models:
        """Say which models the chat and the code server have loaded."""
        return {"models": [_loaded(row) for row in loaded()]}

    def switch_model(model_type: Literal["chat", "code"], model: Annotated[str, {
            "description": "A model of the catalogue or a GGUF file; the settings' own when left out.", "maxLength": 400}] = "") -> Switched:
        """Load another model into the chat or the code server; what is running is ended first."""
        began = time.monotonic()
        row = _loaded(switch(model_type, model))
        return {"success": row["loaded"], "message": f"The {model_type} server serves {row['id']}.", "current_model": row["id"],
                "switch_time_seconds": round(time.monotonic() - began, 3)}

    return tool_of(ai_chat), tool_of(get_current_model), tool_of(switch_model)


def _loaded(row: dict[str, Any]) -> Loaded:
    return {"role": str(row["role"]), "id": str(row["id"]), "file": str(row.get("file", "")), "loaded": bool(row["loaded"])}
