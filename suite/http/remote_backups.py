"""The backups of a running host, as a guest sees them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from suite.backup.listing import Listed, Standing
from suite.backup.prune import Pruned
from suite.backup.snapshot import Snapshot
from suite.backup.verification import Verification

PATIENCE = httpx.Timeout(None, connect=3.0)  # a large backup takes minutes, and the host says when it fails


class RemoteBackups:
    """The same methods as `Backups`, over HTTP; errors are those of the host. Relative paths resolve where the guest is."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def create(self, key_file: str = "") -> Snapshot:
        """Have the host make a snapshot now."""
        return Snapshot.from_dict(self._post("/v1/backups", key_file=_absolute(key_file)))

    def verify(self, path: str = "", key_file: str = "") -> Verification:
        """Have the host restore a snapshot into a scratch folder and compare it."""
        named = _absolute(path) if os.sep in path else path
        return Verification.from_dict(self._post("/v1/backups/verify", path=named, key_file=_absolute(key_file)))

    def list(self) -> list[Listed]:
        """The snapshots, the newest first."""
        return [Listed.from_dict(row) for row in self.client.get("/v1/backups").json()["rows"]]

    def standing(self) -> Standing:
        """How well the data is backed up."""
        return Standing.from_dict(self.client.get("/v1/backups").json()["standing"])

    def prune(self, dry_run: bool = True) -> Pruned:
        """Have the host say, or delete, what is no longer needed."""
        return Pruned.from_dict(self._post("/v1/backups/prune", dry_run=dry_run))

    def _post(self, path: str, /, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.client.post(path, json=body, timeout=PATIENCE).json()
        return found


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""
