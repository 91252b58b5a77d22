"""Alerts that are kept quiet for a while: which, until when, by whom and why; kept in one small file."""

from __future__ import annotations

import json
import math
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotFound, SettingsError, StorageError
from suite.monitoring.rule import Matcher

FILE = "silences.json"
MOST = 1000  # silences that are kept; those that are over go first
UNTOLD = "Nobody is told of alerts in this stack, so that there is nothing to silence; set ALERTMANAGER_ENABLED=true and start it again."


@dataclass(frozen=True)
class Silence:
    """One silence; it mutes an alert when all `matchers` hold for its labels and the moment lies between `begin` and `until` (UTC seconds)."""

    id: str
    matchers: tuple[str, ...]
    begin: float
    until: float
    by: str
    reason: str

    def holds(self, at: float) -> bool:
        """Whether it is in force at that moment."""
        return self.begin <= at < self.until

    def mutes(self, labels: Mapping[str, str], at: float) -> bool:
        """Whether an alert with these labels is quiet at that moment."""
        return self.holds(at) and all(Matcher.parse(text).matches(labels) for text in self.matchers)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


class Silences:
    """The silences of one stack, in `silences.json` of a folder, or in memory only when there is none. Safe from several threads."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read what is there. Raises StorageError when the file is damaged or cannot be read."""
        self._file = folder / FILE if folder else None
        self._lock = threading.Lock()
        self._rows = self._read()

    def add(self, matchers: Sequence[str], at: float, until: float, by: str, reason: str) -> Silence:
        """Begin a silence at the moment `at`. Raises BadRequest when it names no alert, is over already, or says not who and why."""
        if not matchers:
            raise BadRequest("A silence without a matcher would mute everything; name at least one like alertname=\"GpuHot\".")
        try:
            for text in matchers:
                Matcher.parse(text)
        except SettingsError as error:
            raise BadRequest(error.message) from error
        if not at < until:
            raise BadRequest(f"The silence would end at {until:.0f}, which is not after {at:.0f}; give a later moment.")
        if not by.strip() or not reason.strip():
            raise BadRequest("A silence needs somebody and a reason; give both.")
        silence = Silence(secrets.token_hex(8), tuple(matchers), _whole(at), _whole(until), by, reason)
        with self._lock:
            self._write(sorted([*self._rows, silence], key=lambda one: one.until)[-MOST:])
        return silence

    def end(self, id: str, at: float) -> Silence:
        """End a silence now. Raises NotFound when there is none of that id that still holds."""
        with self._lock:
            found = next((one for one in self._rows if one.id == id and at < one.until), None)
            if found is None:
                raise NotFound(f"There is no silence {id!r} that still holds; list them first.")
            ended = Silence(**{**asdict(found), "until": _whole(at)})
            self._write([ended if one.id == id else one for one in self._rows])
        return ended

    def all(self) -> tuple[Silence, ...]:
        """Every silence that is kept, the one that ends last first."""
        with self._lock:
            return tuple(sorted(self._rows, key=lambda one: -one.until))

    def muting(self, labels: Mapping[str, str], at: float) -> Silence | None:
        """The silence that mutes an alert with these labels at that moment; None when it may be told."""
        with self._lock:
            rows = list(self._rows)
        return next((one for one in rows if one.mutes(labels, at)), None)

    def _read(self) -> list[Silence]:
        if self._file is None or not self._file.exists():
            return []
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))
            return [Silence(**{**row, "matchers": tuple(row["matchers"])}) for row in rows]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(f"The silences in {self._file} cannot be read ({type(error).__name__}: {error}); mend or remove the file.") from error

    def _write(self, rows: list[Silence]) -> None:
        if self._file is not None:
            partial = self._file.with_suffix(".partial")
            try:
                with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
                    json.dump([row.to_dict() for row in rows], file, ensure_ascii=False, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, self._file)
            except OSError as error:
                raise StorageError(f"The silences cannot be written to {self._file} ({error.strerror}); free space or mend its mode.") from error
        self._rows = rows


def _whole(seconds: float) -> float:
    """A moment to the millisecond, as guests are told it; never a later one, so that what begins or ends now has done so at once."""
    return math.floor(seconds * 1000) / 1000
