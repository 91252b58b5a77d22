"""Every exception of the suite.

    SuiteError                  anything we raise on purpose; its text is one sentence: what, which value, what next
    ├── SettingsError           a setting is malformed, unknown or out of range
    ├── StartError              the stack cannot be started (or found)
    │   ├── PortBusy            a port belongs to somebody else
    │   ├── DataDirError        the data directory cannot be used
    │   ├── HostMismatch        a running host is not the stack that was asked for
    │   └── HostGone            the host of this guest has ended or does not answer
    ├── StorageError            the database is locked, corrupt, full or of a newer schema
    ├── WeightsError            a model file is missing, damaged, unverified or cannot be loaded
    ├── NotReady                a part would not serve now; says why and when to try again
    ├── BadRequest              a caller's value cannot be used
    │   ├── BadArguments        what a tool was called with is not what it takes
    │   ├── ContextOverflow     a prompt is longer than the model's context
    │   └── TooLarge            a body has more bytes than are read
    ├── NotFound                a named thing does not exist
    ├── Denied                  the actor may not do this
    │   └── ApprovalNeeded      the actor may do this once somebody approved it
    ├── NotPending              what is to be decided was decided already, or its time is over
    ├── TooMany                 this caller has asked too often, or for too much at once; says when to try again
    ├── ToolFailed              a tool was allowed, ran, and failed
    │   └── TimedOut            it was ended because it took too long
    ├── UpstreamError           a model server failed or broke off in the middle of a reply
    └── RunFailed               a runbook ran and at least one required check did not pass

Each class carries the HTTP status it is sent with, so that a guest raises what the host raised.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any


class SuiteError(Exception):
    """Base of all errors of the suite."""

    status = 500
    code = ""  # OpenAI's word for the error, where its clients look for one; else the status stands there

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def to_dict(self) -> dict[str, Any]:
        """The error in OpenAI's shape, with our class name as `type`."""
        return {"error": {"type": type(self).__name__, "message": self.message, "param": self.facts.get("param"),
                          "code": self.code or self.status, "facts": self.facts}}


class SettingsError(SuiteError):
    status = 400


class StartError(SuiteError):
    status = 503


class PortBusy(StartError):
    pass


class DataDirError(StartError):
    pass


class HostMismatch(StartError):
    status = 409


class HostGone(StartError):
    pass


class StorageError(SuiteError):
    status = 503


class WeightsError(SuiteError):
    status = 503

    @classmethod
    def of_folder(cls, error: OSError, name: str, folder: Path, bytes: int) -> WeightsError:
        """What the system said while `name`, of so many bytes, was being fetched into a folder."""
        again = f"then run `suite models pull {name}`."
        size = f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return cls(f"The disk of {folder} is full; free {size} or set MODELS_DIR, {again}")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return cls(f"{folder} is not writable ({error.strerror}); change its mode or set MODELS_DIR, {again}")
        return cls(f"Fetching {name} into {folder} failed ({type(error).__name__}: {error}); mend that, {again}")


class NotReady(SuiteError):
    """A part would not serve now. `facts["part"]` names it, `facts["retry_after"]` is in seconds."""

    status = 503


class BadRequest(SuiteError):
    status = 400


class ContextOverflow(BadRequest):
    code = "context_length_exceeded"


class TooLarge(BadRequest):
    status = 413


class BadArguments(BadRequest):
    """A tool's arguments are not those of its schema."""

    status = 422


class NotFound(SuiteError):
    status = 404


class Denied(SuiteError):
    status = 403


class ApprovalNeeded(Denied):
    """Nobody has refused: the call waits. `facts["approval"]` is the id to approve, `facts["expires"]` when that is over (UTC seconds since 1970)."""

    status = 202


class NotPending(SuiteError):
    status = 409


class TooMany(SuiteError):
    """More than a limit lets through; `facts["retry_after"]` is in seconds."""

    status = 429


class ToolFailed(SuiteError):
    status = 502


class TimedOut(ToolFailed):
    status = 408


class UpstreamError(SuiteError):
    status = 502


class RunFailed(SuiteError):
    status = 500


def from_dict(body: Any, status: int) -> SuiteError:
    """The error that a response body of `to_dict` describes; a SuiteError where the body is of another make."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or "message" not in error:
        return SuiteError(f"The host answered with status {status} and no reason: {str(body)[:200]}", status=status)
    kind = {cls.__name__: cls for cls in _family(SuiteError)}.get(str(error.get("type")), SuiteError)
    return kind(str(error["message"]), **(error.get("facts") or {}))


def _family(cls: type[SuiteError]) -> list[type[SuiteError]]:
    return [cls] + [deeper for child in cls.__subclasses__() for deeper in _family(child)]
