"""Who holds a bearer token on the ports that know actors: the kernel's owner by the access token, anybody else by an API key."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from suite.access.apikey import PREFIX, ApiKeys
from suite.access.caller import Caller


class Token(Protocol):
    """The access token of the stack."""

    def matches(self, token: str) -> bool:
        """Whether this is it."""


# Who the door found behind the request that is being answered, with the token: whoever asks again within it needs no second look.
FOUND: ContextVar[tuple[str, Caller] | None] = ContextVar("suite_caller", default=None)


class Door:
    """Tells who is behind a token; an API key is looked up each time, so that a revoked one opens nothing from then on."""

    def __init__(self, token: Token, keys: ApiKeys, owner: str) -> None:
        self.token, self.keys, self.owner = token, keys, owner

    @property
    def quick(self) -> bool:
        """Whether `identify` takes microseconds and waits for nobody, so that no thread is needed for it."""
        return self.keys.storage.quick.local

    def identify(self, token: str, client: str = "http") -> Caller | None:
        """The caller; None when nobody is known by it."""
        if token.startswith(PREFIX):
            key = self.keys.find(token)
            return None if key is None else Caller(key.actor, key.id, client)
        return Caller(self.owner, client=client) if self.token.matches(token) else None
