"""What can be read of a running host, as a guest sees it."""

from __future__ import annotations

import httpx

from suite.access.caller import Caller
from suite.tools.shelf import TEMPLATES, Item


class RemoteShelf:
    """The same methods as `Shelf`, over HTTP; the host knows who asks by the token."""

    templates = TEMPLATES

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def list(self, caller: Caller | None = None) -> list[Item]:
        """What may be read."""
        return [Item.from_dict(row) for row in self.client.get("/api/v1/resources").json()["resources"]]

    def read(self, uri: str, caller: Caller | None = None) -> tuple[Item, str]:
        """One of them and its text; raises what the host raised."""
        body = self.client.get("/api/v1/resources/read", params={"uri": uri}).json()
        return Item.from_dict(body), str(body["text"])
