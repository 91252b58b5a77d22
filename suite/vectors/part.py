"""Which vector store the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from suite.vectors.edge import EdgeStore
from suite.vectors.store import Store

if TYPE_CHECKING:
    from suite.settings import Settings


def open_store(settings: Settings, folder: Path) -> Store:
    """The part `qdrant`, started: embedded in `folder`, or on the server that QDRANT_URL names.

    Never raises for a store that cannot be used: `ready` tells why, and every call raises NotReady with that reason.
    """
    if settings.qdrant_url:
        from suite.vectors.remote import connect  # qdrant-client takes 0.5 s to import and is only needed for a server

        return connect(settings.qdrant_url, settings.qdrant_timeout, {"api-key": settings.qdrant_api_key} if settings.qdrant_api_key else None)
    store = EdgeStore(folder)
    store.start()
    return store
