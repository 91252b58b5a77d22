"""What clients of port 8005 send and get: bodies, a turn under the original's names, and which project a request means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from suite.errors import BadRequest, NotFound
from suite.memory.folder import FILE, nearest
from suite.memory.record import Project, Recalled, Remembered, checked_text


class Body(BaseModel):
    """Fields of `Any` are checked by the part, so that a guest and a cell of the host are told the same of a bad value."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Placed(Body):
    """Whose memory is meant: by id, or by a folder (see `meant`)."""

    project_id: Any = None
    project_path: Any = None


class TurnBody(Placed):
    """A turn to remember.

    `importance` None is the rules', `alias` the gateway's name of the model, `seconds` stands for `response_time_ms` where it is given, and
    `context` may hold the original's flags `user_saved` and `user_important`.
    """

    user_query: Any
    ai_response: Any
    model_used: Any = None
    alias: str | None = None
    session_id: Any = None
    token_count: Any = None
    response_time_ms: Any = None
    seconds: Any = None
    tags: Any = None
    context: Any = None
    importance: Any = None
    saved: bool = False
    important: bool = False
    supersedes: Any = None
    valid_from: Any = None


class NoteBody(Placed):
    """A fact or a summary to store."""

    text: Any
    kind: Any = "fact"
    tags: Any = None
    about: Any = None
    source: Any = None
    importance: Any = None
    supersedes: Any = None
    valid_from: Any = None


class Narrowed(Placed):
    """Which turns count."""

    tags: Any = None
    importance_min: Any = None
    since: Any = None
    until: Any = None
    at: Any = None
    kind: Any = None
    session_id: Any = None
    favourite: bool | None = None
    limit: Any = None
    offset: Any = 0

    def conditions(self) -> dict[str, Any]:
        """As the part takes them."""
        return {"tags": self.tags or (), "importance_min": 1 if self.importance_min is None else self.importance_min, "since": self.since,
                "until": self.until, "at": self.at, "kind": text(self.kind), "session": text(self.session_id), "favourite": self.favourite,
                "offset": self.offset}


class SearchBody(Narrowed):
    """What to recall. The original's switches are short for `how: hybrid`; without any of the three it is words; without a query, a listing."""

    query: Any = None
    how: Any = None
    limit: Any = 10
    use_vector_search: bool = False
    use_vector: bool = False


class ListBody(Narrowed):
    """Which turns to list, and in what order."""

    limit: Any = 50
    order: Any = "newest"


class EditBody(Body):
    """What to change of a turn; what is left out, or null, stays."""

    user_query: Any = None
    ai_response: Any = None
    tags: Any = None
    importance: Any = None
    favourite: bool | None = None
    valid_until: Any = None


class ProjectBody(Body):
    """A project to make."""

    name: Any
    path: Any = None


class JoinBody(Body):
    """A project that a folder's file names."""

    id: Any
    name: Any = None
    path: Any = None


class ExpireBody(Placed):
    """The moment to expire at, in UTC seconds since 1970; None is now. Without a project, those of all."""

    now: float | None = None


class SyncBody(Placed):
    """Where to sync to; `batch_size` is read and bound as the original did, and changes nothing."""

    sync_type: Any = "vectors"
    batch_size: int = Field(default=64, ge=1, le=128)

    def checked(self) -> SyncBody:
        """Itself; raises BadRequest when it asks for what we do not sync to."""
        if self.sync_type not in ("vectors", "qdrant"):
            raise BadRequest(f"There is no sync of type {self.sync_type!r:.80}; ask for 'vectors' or 'qdrant'.", param="sync_type")
        return self


class BackupBody(Placed):
    """What kind of backup to write, and of what."""

    backup_type: Any = "json"

    def checked(self) -> BackupBody:
        """Itself; raises BadRequest when it asks for another kind."""
        if self.backup_type != "json":
            raise BadRequest(f"There is no backup of type {self.backup_type!r:.80}; ask for 'json', a project as JSON lines.", param="backup_type")
        return self


def text(value: Any) -> Any:
    """The value, with nothing as no text."""
    return "" if value is None else value


def meant(part: Any, project_id: Any, project_path: Any = None) -> str:
    """The project of a request: by its id, by the file of the nearest folder at or above a path, or DEFAULT_PROJECT_ID. None is made by asking.

    Raises NotFound with the known ones, or for a path that belongs to none; BadRequest for what can be neither.
    """
    if project_id not in (None, ""):
        return part.project(checked_text(project_id, "project", 120))
    if project_path in (None, ""):
        return part.join_project(part.default)
    folder = Path(checked_text(project_path, "project_path", 4096))
    if not folder.is_absolute():
        raise BadRequest(f"The project_path is {project_path!r:.200}, which is relative; send an absolute path.", param="project_path")
    found = nearest(folder)
    if found is None:
        raise NotFound(f"The folder {folder} belongs to no project, there is no {FILE} in it or above; make one with POST /v1/memory/projects, or "
                       "send a project_id.", param="project_path")
    return part.join_project(**found)


def shown(turn: Remembered) -> dict[str, Any]:
    """A turn under our names and under the original's, times there as text."""
    return {**turn.to_dict(), "conversation_id": turn.id, "project_id": turn.project, "timestamp": _stamp(turn.created), "user_query": turn.question,
            "ai_response": turn.reply, "model_used": turn.model, "session_id": turn.session, "importance_score": turn.importance,
            "token_count": turn.tokens, "response_time_ms": None if turn.seconds is None else turn.seconds * 1000, "project_context": turn.context,
            "created_at": _stamp(turn.created), "updated_at": _stamp(turn.created if turn.edited is None else turn.edited),
            "expires_at": _stamp(turn.expires)}


def found(row: Recalled) -> dict[str, Any]:
    """A turn that matched, the same way."""
    return {**shown(row.memory), **row.to_dict(), "relevance_score": row.score, "search_method": row.arm}


def listed(row: Project) -> dict[str, Any]:
    """A project, the same way."""
    return {**row.to_dict(), "project_id": row.id, "total_conversations": row.memories, "avg_importance": row.importance_mean,
            "latest_conversation": _stamp(row.newest)}


def counted(stats: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a project, the same way."""
    return {**stats, "project_id": stats["project"], "total_conversations": stats["memories"], "avg_importance": stats["importance_mean"],
            "oldest_conversation": _stamp(stats["oldest"]), "latest_conversation": _stamp(stats["newest"]),
            "importance_distribution": stats["importance"], "model_usage": stats["models"]}


def _stamp(moment: float | None) -> str | None:
    try:
        return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # an imported turn may be of the year 5000, but not of every year
        return None
