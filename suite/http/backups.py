"""Backups on the gateway's port: made, verified by restoring them, listed, thinned out."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict


class Kept(Protocol):
    """What these routes need of a stack's backups; see suite.backup.backups.Backups."""

    def create(self, key_file: str = "") -> Any: ...

    def verify(self, path: str = "", key_file: str = "") -> Any: ...

    def list(self) -> Any: ...

    def standing(self) -> Any: ...

    def prune(self, dry_run: bool = True) -> Any: ...


class CreateBody(BaseModel):
    """The file of the key that a snapshot is encrypted with, on the host's machine; none when empty. The key itself is never sent."""

    model_config = ConfigDict(extra="forbid")
    key_file: str = ""


class VerifyBody(BaseModel):
    """Which snapshot: a name, a path, or the newest when empty."""

    model_config = ConfigDict(extra="forbid")
    path: str = ""
    key_file: str = ""


class PruneBody(BaseModel):
    """Whether to say only what would be deleted."""

    model_config = ConfigDict(extra="forbid")
    dry_run: bool = True


def add_backups(app: FastAPI, backups: Kept) -> None:
    """The routes below /v1/backups; problems of a snapshot are in the answer, with status 200."""

    @app.get("/v1/backups")
    def rows() -> dict[str, Any]:
        return {"rows": [row.to_dict() for row in backups.list()], "standing": backups.standing().to_dict()}

    @app.post("/v1/backups")
    def create(body: CreateBody) -> dict[str, Any]:
        found: dict[str, Any] = backups.create(body.key_file).to_dict()
        return found

    @app.post("/v1/backups/verify")
    def verify(body: VerifyBody) -> dict[str, Any]:
        found: dict[str, Any] = backups.verify(body.path, body.key_file).to_dict()
        return found

    @app.post("/v1/backups/prune")
    def prune(body: PruneBody) -> dict[str, Any]:
        found: dict[str, Any] = backups.prune(body.dry_run).to_dict()
        return found
