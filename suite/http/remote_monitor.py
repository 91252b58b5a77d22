"""The monitoring of a stack in another process, by port 9090."""

from __future__ import annotations

from suite.http.client import Client
from suite.monitoring.reading import EmbeddedReading


class RemoteMonitor(EmbeddedReading):
    """Monitor's answers over HTTP; errors as there."""

    def __init__(self, client: Client) -> None:
        super().__init__(lambda path, parameters: client.get(path, params=dict(parameters)).json())
