"""Which models are in memory at the same time: where a profile says that they take turns, loading one first puts the others to sleep."""

from __future__ import annotations

import threading
from typing import Protocol

from suite.serving.catalog import Profile


class Resident(Protocol):
    """What takes part: a server with the catalogue name of its model, which can be told to step aside."""

    name: str

    @property
    def model(self) -> str: ...

    def step_aside(self, why: str) -> None: ...


class Residence:
    """The memory that model servers share; without a profile all of them may be loaded at once.

    Whoever loads, swaps or unloads holds `turn`. There is one for all servers, so that two of them can never wait for each other; requests do
    not take it, and replies that were accepted are finished without it.
    """

    def __init__(self, profile: Profile | None = None) -> None:
        self.turn = threading.RLock()
        self._profile = profile
        self._known = {name for group in profile.resident for name in group} if profile else set()
        self._servers: list[tuple[Resident, str]] = []

    def join(self, server: Resident, own: str) -> None:
        """Take part; `own` is the model that the profile gives this server."""
        self._servers.append((server, own))

    def make_room(self, server: Resident, model: str) -> None:
        """Put to sleep (after their running replies) those that may not be loaded beside `model` in this server; the caller holds `turn`."""
        for other, own in self._servers:
            if other is not server and other.model and not self._together(self._named(model, self._own(server)), self._named(other.model, own)):
                other.step_aside(f"was unloaded to make room for {server.name}")

    def _together(self, one: str, other: str) -> bool:
        return self._profile is None or self._profile.together(one, other)

    def _named(self, model: str, own: str) -> str:
        """A model that the profile says nothing about counts as the one in whose place it was put; whether it fits, its trial load shows."""
        return model if model in self._known else own

    def _own(self, server: Resident) -> str:
        return next((own for known, own in self._servers if known is server), "")
