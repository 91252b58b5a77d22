"""Who is at the other end of a call, once that was proven."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """An actor who proved who they are: by the kernel itself or its access token (`key` empty), or by the API key with this id.

    `client` says how the call came: kernel, http, mcp, stdio.
    """

    actor: str
    key: str = ""
    client: str = "kernel"

    @property
    def owner(self) -> bool:
        """Whether this is the owner of the kernel, who needs no key."""
        return not self.key
