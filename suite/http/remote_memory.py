"""The memory of a running host, as a guest sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from suite.errors import BadRequest, HostGone, NotFound
from suite.memory import folder as folders
from suite.memory.feed import MAX_QUERY
from suite.memory.record import (
    MAX_NAME,
    Forgotten,
    Imported,
    Project,
    Recall,
    Recalled,
    Remembered,
    absent,
    as_tags,
    checked_context,
    checked_number,
    checked_text,
    checked_time,
    flatten,
    size_of,
)

PATIENT = httpx.Timeout(None, connect=3.0)  # for what takes as long as there is much to do
STATS = ("project", "memories", "importance_mean", "oldest", "newest", "importance", "models", "sync", "kinds")
_ID = re.compile(r"[0-9a-f-]{36}")


class RemoteMemory:
    """The same methods as `Memory`, over HTTP; errors are those of the host, the project of the current directory is the guest's own."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self._joined: set[tuple[str, ...]] = set()  # projects of folders that the host was told of

    @property
    def default(self) -> str:
        """The project that is meant by callers who name none and are in no project's folder."""
        return str(self.client.get("/v1/memory/project").json()["project_id"])

    def remember(self, question: str, reply: Any, *, project: str = "", tags: Iterable[str] = (), session: str = "", importance: int | None = None,
                 model: str = "", tokens: int | None = None, seconds: float | None = None, context: dict[str, Any] | None = None,
                 saved: bool = False, important: bool = False, supersedes: str = "", valid_from: Any = None) -> Remembered:
        """Store a turn verbatim; `reply` is text or a Reply."""
        text, model, tags = flatten(reply, model, tags)
        tokens, seconds = size_of(reply, tokens, seconds)
        body = {"valid_from": checked_time(valid_from, "valid_from"), "user_query": checked_text(question, "question"),
                "ai_response": checked_text(text, "reply"), "model_used": model, "alias": getattr(reply, "alias", ""), "session_id": session,
                "tags": _tags(tags), "importance": importance, "token_count": tokens, "seconds": seconds,
                "context": checked_context({} if context is None else context), "saved": bool(saved), "important": bool(important),
                "supersedes": supersedes}
        return Remembered.from_dict(self._post("conversations", {**body, **self._meant(project)})["memory"])

    def note(self, text: str, kind: str = "fact", *, project: str = "", tags: Iterable[str] = (), about: str = "", source: str = "",
             importance: int | None = None, supersedes: str = "", valid_from: Any = None) -> Remembered:
        """Store a `fact` or a `summary` as somebody wrote it."""
        body = {"kind": kind, "tags": _tags(tags), "about": about, "source": source, "importance": importance, "text": text,
                "supersedes": supersedes, "valid_from": checked_time(valid_from, "valid_from")}
        return Remembered.from_dict(self._post("notes", {**body, **self._meant(project)})["memory"])

    def recall(self, query: str, *, how: str = "hybrid", limit: int = 5, offset: int = 0, project: str = "", tags: Iterable[str] = (),
               importance_min: int = 1, since: Any = None, until: Any = None, at: Any = None, kind: str = "", session: str = "",
               favourite: bool | None = None) -> Recall:
        """The remembered turns of a project that match, best first."""
        body = {"query": checked_text(query, "query", MAX_QUERY), "how": how, "limit": limit, "offset": offset,
                **_narrowed(tags, importance_min, since, until, at, kind, session, favourite)}
        found = self._post("conversations/search", {**body, **self._meant(project)})
        return Recall((Recalled.from_dict(row) for row in found["results"]), found["note"])

    def turns(self, project: str = "", *, tags: Iterable[str] = (), importance_min: int = 1, since: Any = None, until: Any = None, at: Any = None,
              kind: str = "", session: str = "", favourite: bool | None = None, limit: int = 50, offset: int = 0,
              order: str = "newest") -> list[Remembered]:
        """The turns of a project that count, without a query."""
        body = {"limit": limit, "offset": offset, "order": order,
                **_narrowed(tags, importance_min, since, until, at, kind, session, favourite)}
        return [Remembered.from_dict(row) for row in self._post("turns", {**body, **self._meant(project)})["results"]]

    def get(self, id: str) -> Remembered:
        """One remembered turn; raises NotFound."""
        return Remembered.from_dict(self.client.get(_at(id)).json())

    def edit(self, id: str, *, question: str | None = None, reply: str | None = None, tags: Iterable[str] | None = None,
             importance: int | None = None, favourite: bool | None = None, valid_until: Any = None) -> Remembered:
        """Change what is given of a turn."""
        body = {"user_query": question, "ai_response": reply, "tags": None if tags is None else _tags(tags), "importance": importance,
                "favourite": None if favourite is None else bool(favourite), "valid_until": checked_time(valid_until, "valid_until")}
        return Remembered.from_dict(self.client.patch(_at(id), **_json(body)).json())

    def forget(self, id: str) -> Forgotten:
        """Delete one turn; what the answer says was counted afterwards. False when there is none."""
        try:
            return Forgotten.from_dict(self.client.delete(_at(id)).json())
        except NotFound:
            return Forgotten(str(id), False)

    def expire(self, now: float | None = None, project: str = "") -> int:
        """Delete the turns that expired at or before `now`, of one project or of all, and return how many."""
        return int(self._post("expire", {"now": now, "project_id": _project(project)}, timeout=PATIENT)["deleted_conversations"])

    def sync(self, project: str = "") -> dict[str, int]:
        """Write the vectors that are pending and make the removals that are queued; waits as long as it takes."""
        found = self._post("sync", {"project_id": _project(project)}, timeout=PATIENT)["sync_stats"]
        return {name: count for name, count in found.items() if name != "skipped"}

    def queue(self, project: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """What of a project still waits for the vector store."""
        checked_number(limit, "limit", 1, 1_000)
        return list(self._get("sync/queue", {"limit": limit, **self._meant(project)})["queue"])

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project's living turns."""
        found = self._get("stats", self._meant(project))
        return {name: found[name] for name in STATS}

    def projects(self) -> list[Project]:
        """Every project, with the number of its living turns."""
        return [Project.from_dict(row) for row in self._get("projects", {})["projects"]]

    def create_project(self, name: str, path: str = "") -> Project:
        """Make a project; with `path`, relative to the guest's directory, that folder becomes its own."""
        folder = str(folders.named(path)) if path else ""
        return Project.from_dict(self._post("projects", {"name": name, "path": folder})["project"])

    def join_project(self, id: str, name: str = "", path: str = "") -> str:
        """Note a project that a folder's file names, if it is not known yet, and return its id."""
        return str(self._post("projects/join", {"id": id, "name": name, "path": path})["project_id"])

    def export(self, project: str = "") -> Iterator[str]:
        """A project as JSON lines; they come as they are read, and HostGone is raised where they break off."""
        request = self.client.build_request("GET", "/v1/memory/export", params=self._meant(project), timeout=PATIENT)
        return _lines(self.client.send(request, stream=True))

    def bring(self, lines: Iterable[str], project: str = "") -> Imported:
        """Import what `export` gave, into the project that it came from or another."""
        content = (line.rstrip("\n").encode("utf-8", "surrogatepass") + b"\n" for line in lines)
        found = self.client.post("/v1/memory/import", params={"project_id": _project(project)}, content=content, timeout=PATIENT,
                                 headers={"Content-Type": "application/x-ndjson"})
        return Imported.from_dict({name: found.json()[name] for name in ("project", "new", "known")})

    def backup(self, project: str = "") -> dict[str, Any]:
        """Write what `export` gives into a file of its own in the host's data directory."""
        made = self._post("backup", self._meant(project), timeout=PATIENT)
        return {"project": made["project_id"], "path": made["backup_path"], "turns": made["turns"]}

    def optimize(self) -> dict[str, Any]:
        """Merge the word index and give the space of deleted rows back: `bytes` now, `freed`."""
        made = self._post("optimize", {}, timeout=PATIENT)
        return {"bytes": made["bytes"], "freed": made["freed"]}

    def rebuild_words(self, project: str = "") -> int:
        """Make the word index of a project anew from its turns, and return how many those are."""
        return int(self._post("fts/rebuild", self._meant(project), timeout=PATIENT)["turns"])

    def project(self, project: str = "") -> str:
        """The id of the project that is meant; raises NotFound for one that is not there."""
        return str(self._get("project", self._meant(project))["project_id"])

    def series(self) -> dict[str, float]:
        """Numbers for metrics."""
        return dict(self._get("series", {}))

    def _meant(self, project: str) -> dict[str, str]:
        """Whose memory: the project that is named, else that of the guest's own directory, of which the host is told, else the host's default."""
        if project:
            return {"project_id": _project(project)}
        here = folders.here()
        if here is None:
            return {"project_id": ""}
        if tuple(here.values()) not in self._joined:
            self.join_project(**here)
            self._joined.add(tuple(here.values()))
        return {"project_id": here["id"]}

    def _get(self, path: str, params: dict[str, Any]) -> Any:
        return self.client.get(f"/v1/memory/{path}", params=params).json()

    def _post(self, path: str, body: dict[str, Any], **options: Any) -> Any:
        return self.client.post(f"/v1/memory/{path}", **_json(body), **options).json()


def _json(body: dict[str, Any]) -> dict[str, Any]:
    """The body in ASCII, so that whatever text there is arrives and is judged there; raises BadRequest for what JSON cannot hold."""
    try:
        content = json.dumps(body).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"A value cannot be sent to the host ({error}); pass texts, numbers, lists and dicts.") from error
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _narrowed(tags: Iterable[str], importance_min: int, since: Any, until: Any, at: Any, kind: str, session: str,
              favourite: bool | None) -> dict[str, Any]:
    return {"tags": _tags(tags), "importance_min": importance_min, "since": checked_time(since, "since"), "until": checked_time(until, "until"),
            "at": checked_time(at, "at"), "kind": kind, "session_id": session, "favourite": None if favourite is None else bool(favourite)}


def _tags(tags: Iterable[str]) -> list[str]:
    return [checked_text(tag, "tag", MAX_NAME) for tag in as_tags(tags)]


def _project(project: str) -> str:
    return checked_text(project, "project", MAX_NAME) if project else ""


def _at(id: str) -> str:
    """The address of a turn. Raises NotFound for what is the id of none: it may not even be possible to write it into an address."""
    if not _ID.fullmatch(str(id)):
        raise absent(str(id))
    return f"/v1/memory/conversations/{id}"


def _lines(response: httpx.Response) -> Iterator[str]:
    """The lines of a body, cut at line feeds only: a text may hold what else ends lines."""
    held = b""
    try:
        for piece in response.iter_bytes():
            *whole, held = (held + piece).split(b"\n")
            yield from (line.decode() for line in whole)
    except httpx.TransportError as error:
        raise HostGone(f"The export broke off ({error}); call suite.start() again, then export anew.") from error
    finally:
        response.close()
