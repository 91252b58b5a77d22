"""Port 8005, what concerns a whole project: list, make, count, sync, clean up, optimize."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Query

from suite.errors import SuiteError
from suite.http.memory_form import BackupBody, ExpireBody, JoinBody, Placed, ProjectBody, SyncBody, counted, listed, meant, text
from suite.monitoring.probe import guarded


def add_projects(served: FastAPI, part: Any) -> None:
    """Add the routes; a project in a path must be there."""
    _listing(served, part)
    _syncing(served, part)
    _cleaning(served, part)


def _listing(served: FastAPI, part: Any) -> None:
    @served.get("/v1/memory/projects")
    def projects() -> dict[str, Any]:
        rows = [listed(row) for row in part.projects()]
        return {"success": True, "total_projects": len(rows), "projects": rows}

    @served.post("/v1/memory/projects")
    def create(body: ProjectBody) -> dict[str, Any]:
        made = part.create_project(body.name, text(body.path))
        return {"success": True, "project_id": made.id, "project": listed(made)}

    @served.post("/v1/memory/projects/join")
    def join(body: JoinBody) -> dict[str, Any]:
        return {"success": True, "project_id": part.join_project(body.id, text(body.name), text(body.path))}

    @served.get("/v1/memory/project")
    def known(project_id: str = "", project_path: str = "") -> dict[str, Any]:
        return {"project_id": meant(part, project_id, project_path)}

    @served.get("/v1/memory/series")
    def series() -> dict[str, float]:
        return part.series()

    @served.get("/v1/memory/stats")
    def stats(project_id: str = "", project_path: str = "") -> dict[str, Any]:
        state = guarded(part.ready)
        return {**counted(part.stats(meant(part, project_id, project_path))), "storage_available": bool(state.facts.get("storage")),
                "vector_enabled": bool(state.facts.get("vectors"))}

    @served.get("/v1/memory/projects/{project:path}/stats")
    def project_stats(project: str) -> dict[str, Any]:
        return {"success": True, "project_id": project, "stats": counted(part.stats(_named(part, project)))}


def _syncing(served: FastAPI, part: Any) -> None:
    @served.post("/v1/memory/sync")
    def sync(body: SyncBody | None = None) -> dict[str, Any]:
        body = (body or SyncBody()).checked()
        project = meant(part, body.project_id, body.project_path) if body.project_id or body.project_path else ""
        return _synced(project, part.sync(project))

    @served.post("/v1/memory/sync-vectors")
    def sync_vectors(batch_size: int = Query(default=64, ge=1, le=128), project_path: str = "") -> dict[str, Any]:
        project = meant(part, None, project_path)
        return _synced(project, part.sync(project))

    @served.post("/v1/memory/projects/{project:path}/sync")
    def project_sync(project: str, body: SyncBody | None = None) -> dict[str, Any]:
        (body or SyncBody()).checked()
        return _synced(project, part.sync(_named(part, project)))

    @served.post("/v1/memory/projects/{project:path}/sync/retry")
    def retry(project: str) -> dict[str, Any]:
        retried = part.stats(_named(part, project))["sync"].get("failed", 0)
        failed = part.sync(project)["failed"]
        done = {"retried": retried, "succeeded": max(0, retried - failed), "still_failed": failed}
        return {"success": True, "project_id": project, "retry_stats": done,
                "message": f"{done['succeeded']} of {retried} that had failed are written."}

    @served.get("/v1/memory/sync/queue")
    def queued(project_id: str = "", project_path: str = "", limit: int = 100) -> dict[str, Any]:
        project = meant(part, project_id, project_path)
        return _queue(project, part.queue(project, limit))

    @served.get("/v1/memory/projects/{project:path}/sync/queue")
    def queue(project: str, include_failed: bool = False) -> dict[str, Any]:
        rows = part.queue(_named(part, project))
        return _queue(project, [row for row in rows if include_failed or row["what"] != "failed"])

    @served.post("/v1/memory/vector/recovery")
    def recovery() -> dict[str, Any]:
        try:
            done = part.sync()
            message = f"Vectors are written again: {done['synced']} now, {done['pending']} still wait."
        except SuiteError as error:
            done, message = None, error.message
        vectors = bool(guarded(part.ready).facts.get("vectors"))
        return {"success": done is not None and vectors, "vector_enabled": vectors, "message": message}


def _cleaning(served: FastAPI, part: Any) -> None:
    @served.post("/v1/memory/expire")
    def expire(body: ExpireBody | None = None) -> dict[str, Any]:
        body = body or ExpireBody()
        project = meant(part, body.project_id, body.project_path) if body.project_id or body.project_path else ""
        return _expired(project, part.expire(body.now, project))

    @served.post("/v1/memory/cleanup")
    def cleanup(body: Placed | None = None, project_path: str = "") -> dict[str, Any]:
        project = meant(part, body and body.project_id, (body and body.project_path) or project_path)
        return _expired(project, part.expire(None, project))

    @served.post("/v1/memory/projects/{project:path}/cleanup")
    def project_cleanup(project: str) -> dict[str, Any]:
        return _expired(project, part.expire(None, _named(part, project)))

    @served.post("/v1/memory/backup")
    def backup(body: BackupBody | None = None) -> dict[str, Any]:
        body = (body or BackupBody()).checked()
        return _backed_up(part.backup(meant(part, body.project_id, body.project_path)))

    @served.post("/v1/memory/projects/{project:path}/backup")
    def project_backup(project: str, body: BackupBody | None = None) -> dict[str, Any]:
        (body or BackupBody()).checked()
        return _backed_up(part.backup(_named(part, project)))

    @served.post("/v1/memory/optimize")
    def optimize() -> dict[str, Any]:
        return _optimized(part.optimize())

    @served.post("/v1/memory/projects/{project:path}/optimize")
    def project_optimize(project: str) -> dict[str, Any]:
        _named(part, project)
        return {"project_id": project, **_optimized(part.optimize())}

    @served.post("/v1/memory/fts/rebuild")
    def rebuild(body: Placed | None = None) -> dict[str, Any]:
        project = meant(part, body and body.project_id, body and body.project_path)
        return _rebuilt(project, part.rebuild_words(project))

    @served.post("/v1/memory/projects/{project:path}/fts/rebuild")
    def project_rebuild(project: str) -> dict[str, Any]:
        return _rebuilt(project, part.rebuild_words(_named(part, project)))


def _named(part: Any, project: str) -> str:
    """The project of a path; a blank one is refused: it must not mean some other."""
    return part.project(project if project.strip() else " ")


def _synced(project: str, stats: dict[str, int]) -> dict[str, Any]:
    return {"success": True, "project_id": project, "sync_stats": {**stats, "skipped": 0},
            "message": f"{stats['synced']} vectors were written, {stats['removed']} removed, {stats['failed']} failed."}


def _queue(project: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"success": True, "project_id": project, "queue_size": len(rows), "queue": rows}


def _expired(project: str, count: int) -> dict[str, Any]:
    return {"success": True, "project_id": project, "deleted_conversations": count, "deleted_count": count,
            "message": f"{count} turns whose time was over were deleted."}


def _optimized(done: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, **done, "message": f"The database takes {done['bytes']:,} bytes; {done['freed']:,} were given back."}


def _backed_up(made: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "project_id": made["project"], "backup_path": made["path"], "backup_type": "json", "turns": made["turns"],
            "message": f"{made['turns']} turns are in {made['path']}, one JSON object to a line."}


def _rebuilt(project: str, turns: int) -> dict[str, Any]:
    return {"success": True, "project_id": project, "turns": turns, "message": f"The word index of {turns} turns was made anew."}
