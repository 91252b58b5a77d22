"""What can be read by address over MCP: indexed documents and archived reports; decided and recorded like a call, and nothing that is not listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from suite.access.caller import Caller
from suite.access.decide import decide_act
from suite.access.event import Event
from suite.errors import Denied, NotFound, TooLarge

if TYPE_CHECKING:  # a guest has only the face, and needs no database
    from suite.access.actor import Actors
    from suite.access.audit import Audit

READ_DOCUMENTS, READ_REPORTS = "knowledge.search", "runbook.run"  # the permissions: of whoever may be answered from them, and may make them
MOST = 1_000  # of each kind in a list, the newest reports and the first documents
REPORT_LIMIT = 20_000_000  # bytes
REPORT, REPORT_MIME = "report:///", "application/x-ipynb+json"  # how the address of a report begins, and what it is
REPORT_IS = "An executed runbook: what was checked, and what was seen."


@dataclass(frozen=True)
class Item:
    """One thing that can be read: its address, a name and a sentence for people, its media type."""

    uri: str
    name: str
    description: str
    mime: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"uri": self.uri, "name": self.name, "description": self.description, "mime": self.mime}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Item:
        """The item that `to_dict` described."""
        return cls(data["uri"], data["name"], data["description"], data["mime"])


# addresses that a client can build from a name; those of documents are too long to be typed
TEMPLATES = (Item(REPORT + "{file}", "report", REPORT_IS, REPORT_MIME),)


class ShelfFace(Protocol):
    """The host's shelf, or the guest's remote face of it. `templates` are the addresses that can be built, with one name in braces each."""

    templates: tuple[Item, ...]

    def list(self, caller: Caller | None = None) -> list[Item]: ...

    def read(self, uri: str, caller: Caller | None = None) -> tuple[Item, str]: ...


class Shelf:
    """Documents and reports. `documents()` gives collection and path of each indexed document, `text(path)` its text as it was indexed from."""

    templates = TEMPLATES

    def __init__(self, audit: Audit, actors: Actors, owner: str, reports: Path, documents: Callable[[], Iterable[tuple[str, str]]] = tuple,
                 text: Callable[[str], str] = str) -> None:
        self._audit, self._actors, self._owner, self._reports = audit, actors, owner, reports
        self._documents, self._text = documents, text

    def list(self, caller: Caller | None = None) -> list[Item]:
        """What the caller (None: the kernel's owner) may read."""
        caller = caller or Caller(self._owner)
        kinds = ((READ_DOCUMENTS, self._of_documents), (READ_REPORTS, self._of_reports))
        return [item for permission, items in kinds if self._decide(caller, permission).allowed for item, _ in items()]

    def read(self, uri: str, caller: Caller | None = None) -> tuple[Item, str]:
        """One of them and its text; recorded. Raises NotFound for any other address, Denied, or what reading it raised."""
        caller = caller or Caller(self._owner)
        report = uri.startswith("report:")
        decision = self._decide(caller, READ_REPORTS if report else READ_DOCUMENTS)
        if not decision.allowed:
            self._record(caller, uri, "denied", decision.reason)
            raise Denied(decision.reason, actor=caller.actor)
        # compared with what there is, and never made into a path: no address leads anywhere else
        found = next((pair for pair in (self._of_reports() if report else self._of_documents()) if pair[0].uri == uri), None)
        if found is None:
            self._record(caller, uri, "failed", "There is nothing at this address.")
            raise NotFound(f"There is nothing to read at {uri[:200]!r}; list the resources to see what there is.", param="uri")
        item, path = found
        self._record(caller, uri, "allowed", decision.reason)
        if not report:
            return item, self._text(path)
        if Path(path).stat().st_size > REPORT_LIMIT:
            raise TooLarge(f"The report {item.name} has more than {REPORT_LIMIT} bytes; open the file itself.", param="uri")
        return item, Path(path).read_text(encoding="utf-8")

    def _of_documents(self) -> list[tuple[Item, str]]:
        found = []
        for collection, path in list(self._documents())[:MOST]:
            uri = f"document:///{quote(collection, safe='')}{quote(path)}"
            found.append((Item(uri, Path(path).name, f"A document of the collection {collection!r}: {path}", "text/plain"), path))
        return found

    def _of_reports(self) -> list[tuple[Item, str]]:
        files = sorted((file for file in self._reports.glob("*.ipynb") if file.is_file() and not file.is_symlink()), reverse=True)[:MOST]
        return [(Item(REPORT + quote(file.name), file.name, REPORT_IS, REPORT_MIME), str(file)) for file in files]

    def _decide(self, caller: Caller, permission: str) -> Any:
        return decide_act(self._actors.find(caller.actor), permission, self._actors.policy, asked=caller.actor)

    def _record(self, caller: Caller, uri: str, outcome: Any, reason: str) -> None:
        self._audit.record(Event(caller.actor, "resource_read", uri, outcome, reason, {"client": caller.client, "key": caller.key}))
