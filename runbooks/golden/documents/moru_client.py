"""A small client for Moru, the AI stack of Garamjae Institute.

It needs no package besides the standard library. One `Moru` object keeps one connection and may not be shared by threads.
"""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass, field

ADDRESS = "https://moru.garamjae.example"
PATIENCE = 75.0  # seconds that a reply may take before MoruSilent is raised
RETRIES = 3  # of requests that failed with E2033 only
BACKOFF = (2.0, 7.0, 21.0)  # seconds before each of them
CHUNK_BYTES = 6 << 20  # larger files are uploaded in pieces of this size


class MoruSilent(Exception):
    """The server accepted the request and then said nothing for PATIENCE seconds."""


class KeyRefused(Exception):
    """The key is unknown, expired or not allowed for the collection; ask in #moru-api for a new one."""


@dataclass
class Reply:
    """A text with the passages it was written from."""

    text: str
    sources: list[str] = field(default_factory=list)
    cached: bool = False


class Moru:
    """The stack as seen by one key."""

    def __init__(self, key: str, patience: float = PATIENCE) -> None:
        self._key, self._patience = key, patience

    @classmethod
    def from_env(cls) -> Moru:
        """The client for the key in MORU_KEY; MORU_PATIENCE replaces the patience when it is set."""
        return cls(os.environ["MORU_KEY"], float(os.environ.get("MORU_PATIENCE", PATIENCE)))

    def answer(self, question: str, collection: str, limit: int = 5) -> Reply:
        """Ask one collection. A reply that came out of the cache says so in `cached`."""
        body = self._post("/v3/answer", {"question": question, "collection": collection, "limit": limit})
        return Reply(body["text"], body["sources"], body.get("cached", False))

    def upload(self, path: str, collection: str) -> str:
        """Send a file and return its ticket, which `wait_for_ticket` turns into a document number."""
        with open(path, "rb") as file:
            pieces = iter(lambda: file.read(CHUNK_BYTES), b"")
            return [self._post("/v3/upload", {"piece": piece.hex(), "collection": collection})["ticket"] for piece in pieces][-1]

    def wait_for_ticket(self, ticket: str, minutes: float = 9.0) -> int:
        """Wait until the upload was indexed and return the number of its document."""
        return int(self._post("/v3/tickets", {"ticket": ticket, "wait": minutes * 60})["document"])

    def _post(self, route: str, body: dict[str, object]) -> dict[str, object]:
        head = {"X-Moru-Key": self._key, "Content-Type": "application/json"}
        request = urllib.request.Request(ADDRESS + route, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=self._patience) as answer:
            return json.load(answer)
