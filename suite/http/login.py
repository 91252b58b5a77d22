"""Signing in with a browser: the token once, in a form; from then on a cookie that holds a random id and nothing else."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

SECONDS = 12 * 3600.0  # how long somebody stays signed in
MOST = 100  # sessions; the oldest makes room
MOST_BYTES = 4096  # of a form


class Logins:
    """The sessions of one port, in memory: they end with the stack. `matches` says whether a token is ours; `name` is the cookie's."""

    def __init__(self, matches: Callable[[str], bool], name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._matches, self.name, self._clock = matches, name, clock
        self._sessions: dict[str, float] = {}
        self._turn = threading.Lock()

    def open(self, token: str) -> str | None:
        """A `Set-Cookie` for who knows the token, None for anybody else."""
        if not self._matches(token):
            return None
        id = secrets.token_urlsafe(32)
        with self._turn:
            self._sessions[id] = self._clock() + SECONDS
            while len(self._sessions) > MOST:
                del self._sessions[next(iter(self._sessions))]
        return f"{self.name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SECONDS:.0f}"

    def close(self, cookies: str) -> str:
        """End the session of a `Cookie` header; gives the `Set-Cookie` that forgets it."""
        with self._turn:
            self._sessions.pop(self._id(cookies), None)
        return f"{self.name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"

    def known(self, cookies: str) -> bool:
        """Whether a `Cookie` header is of somebody who signed in."""
        with self._turn:
            return self._sessions.get(self._id(cookies), float("-inf")) > self._clock()

    def _id(self, cookies: str) -> str:
        try:
            found = SimpleCookie(cookies).get(self.name)
        except CookieError:
            return ""
        return found.value if found is not None else ""
