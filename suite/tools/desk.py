"""What `bench.approvals` is: calls that wait, and deciding about them, in the kernel or with an API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from suite.access.approval import Approval
from suite.access.caller import Caller
from suite.errors import Denied

if TYPE_CHECKING:  # a guest has only the face, and needs no database
    from suite.access.approve import Approver
    from suite.access.identify import Door


class ApprovalsFace(Protocol):
    """The host's desk, or the guest's remote face of it. Without `key` it is the kernel's owner who asks or decides."""

    def list(self, state: str = "pending", *, tool: str = "", limit: int = 50, key: str = "") -> list[Approval]: ...

    def get(self, id: str, *, key: str = "") -> Approval: ...

    def approve(self, id: str, reason: str, *, key: str = "") -> Approval: ...

    def reject(self, id: str, reason: str, *, key: str = "") -> Approval: ...

    def cancel(self, id: str, *, key: str = "") -> Approval: ...


class Desk:
    """The approvals of this process. `key` is the text of an API key; it is used and kept nowhere."""

    def __init__(self, approver: Approver, door: Door) -> None:
        self._approver, self._door = approver, door

    def list(self, state: str = "pending", *, tool: str = "", limit: int = 50, key: str = "") -> list[Approval]:
        """Approvals in a state ('' for all), the newest first. Raises Denied."""
        return self._approver.list(self._caller(key), state=state, tool=tool, limit=limit)

    def get(self, id: str, *, key: str = "") -> Approval:
        """One by its id or the beginning of it. Raises NotFound or Denied."""
        return self._approver.look(id, self._caller(key))

    def approve(self, id: str, reason: str, *, key: str = "") -> Approval:
        """Let a call go ahead once. Raises NotFound, NotPending, BadRequest or Denied."""
        return self._approver.approve(id, reason, self._caller(key))

    def reject(self, id: str, reason: str, *, key: str = "") -> Approval:
        """Refuse a call. Raises NotFound, NotPending, BadRequest or Denied."""
        return self._approver.reject(id, reason, self._caller(key))

    def cancel(self, id: str, *, key: str = "") -> Approval:
        """Withdraw a call of one's own. Raises NotFound, NotPending or Denied."""
        return self._approver.cancel(id, self._caller(key))

    def _caller(self, key: str) -> Caller:
        if not key:
            return Caller(self._door.owner)
        caller = self._door.identify(key, "kernel")
        if caller is None or caller.owner:
            raise Denied("This is not the API key of anybody, or it was revoked or is over; `suite keys list` shows whose keys there are.")
        return caller
