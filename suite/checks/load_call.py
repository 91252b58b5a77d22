"""What a load asks, and how its content is judged: every question has a word of its own that no other reply may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from suite.checks.target import Target

TOWNS = ("Norwick", "Tarvel", "Ostholm", "Lindau", "Brekke", "Solgard", "Hafnir", "Varde", "Mosund", "Kelso", "Ardmore", "Tindra")
TOKENS = 16
GATEWAY = "api-gateway"


@dataclass(frozen=True)
class Call:
    """One thing to ask: the route's name, where it goes and with what; `word` is in no other call."""

    route: str
    path: str
    body: dict[str, Any]
    word: str

    def text(self, answer: Any) -> str:
        """What was said; of vectors, their first numbers."""
        if self.route == "embeddings":
            return " ".join(f"{number:.4f}" for number in answer["data"][0]["embedding"][:4])
        return str(answer["choices"][0]["message"]["content"] or "").strip()

    def sound(self, text: str) -> str:
        """Why the text can be no answer to this call; empty when it can."""
        if not text:
            return "empty"
        return "mixed" if any(town in text for town in TOWNS if town != self.word) else ""


def calls(target: Target) -> list[Call]:
    """Each town is asked about by one route: by turns the chat alias, the code alias and embeddings."""
    made = []
    for place, town in enumerate(TOWNS):
        if place % 3 == 2:
            made.append(Call("embeddings", "/v1/embeddings", {"input": f"The harbour of {town} has {place + 20} lamps."}, town))
            continue
        content = (f"Passages:\n[1] The harbour of {town} has {place + 20} lamps.\n\nQuestion: How many lamps has the harbour of {town}?\n"
                   "Answer in English.")
        body = {"model": target.aliases[place % 3], "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "temperature": 0,
                "seed": 7}
        made.append(Call(f"chat {target.aliases[place % 3]}", "/v1/chat/completions", body, town))
    return made
