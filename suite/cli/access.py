"""The tables of access as a command uses them: beside a running stack or without one, on the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite.errors import BadRequest, Denied, StartError
from suite.settings import Settings, load

if TYPE_CHECKING:
    from suite.access.actor import Actors
    from suite.access.apikey import ApiKeys
    from suite.access.approve import Approver
    from suite.access.audit import Audit
    from suite.access.caller import Caller
    from suite.access.opening import Openings

VARIABLE = "SUITE_API_KEY"


@dataclass(frozen=True)
class Access:
    """Who there is, their keys, what waits, and the trail; `settings` are those of this command."""

    settings: Settings
    audit: Audit
    actors: Actors
    keys: ApiKeys
    approver: Approver
    openings: Openings

    def caller(self, key_file: str = "") -> Caller:
        """Who types the command: the actor of the API key in the file or in SUITE_API_KEY, else the kernel's owner.

        Raises Denied for a key that opens nothing, BadRequest for a file that cannot be read.
        """
        from suite.access.caller import Caller

        text = _read(Path(key_file)) if key_file else self.settings.api_key
        if not text:
            return Caller(self.settings.mcp_user_id, client="cli")
        found = self.keys.find(text)
        if found is None:
            raise Denied(f"The key in {key_file or VARIABLE} is not that of anybody, or it was revoked or is over; `suite keys list` shows whose "
                         "there are.")
        return Caller(found.actor, found.id, "cli")


@contextmanager
def opened() -> Iterator[Access]:
    """The database of the data directory; raises StartError where there is none yet."""
    from suite.access.actor import Actors
    from suite.access.apikey import ApiKeys
    from suite.access.approvals import Approvals
    from suite.access.approve import Approver
    from suite.access.audit import Audit
    from suite.access.checkpoint import FILE, Checkpoint
    from suite.access.mail import Mail
    from suite.access.opening import Openings
    from suite.storage.engine import open_storage

    settings = load()
    folder = settings.data_dir / "sqlite"
    if not folder.is_dir():
        raise StartError(f"There is no database in {settings.data_dir} yet; `suite up` makes one, or set DATA_DIR to where it is.")
    storage, mail = open_storage(settings.database_url, folder), Mail(settings)
    try:
        actors = Actors(storage)
        actors.seed()
        audit = Audit(storage, Checkpoint(folder / FILE))
        approvals = Approvals(storage, settings.approval_timeout, settings.approval_max_pending)
        approver, openings = Approver(approvals, actors, audit, settings, mail.tell), Openings(storage, actors, audit)
        yield Access(settings, audit, actors, ApiKeys(storage, actors), approver, openings)
    finally:
        mail.close()  # sends what was to be told
        storage.close()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"The key file {file} cannot be read ({error}); name a file that holds an API key and nothing else.") from error
