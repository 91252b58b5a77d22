"""Shipping the log to a Loki by URL: from a thread of its own, in batches, with retries; whoever writes a line never waits for it."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from typing import Any

import httpx

from suite.errors import SettingsError

PUSH = "/loki/api/v1/push"
MOST_LINES, MOST_BYTES = 20_000, 16 << 20  # that wait; the oldest make room, and are counted
BATCH_LINES, BATCH_BYTES = 1000, 1 << 20
PAUSE = 0.5  # seconds that a line may wait for others to travel with
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds until a failed batch is sent again, doubled each time
ANSWER_SECONDS = 5.0
GRACE_SECONDS = 2.0  # for the rest when the stack stops
AGAIN = (408, 429)  # and all from 500 on: the same batch may be taken later
log = logging.getLogger("suite.monitoring")
Entry = tuple[int, str, str, str]  # nanoseconds since 1970, service, level, line


class Shipper:
    """Sends lines to the push API of a Loki, labelled with nothing but service and level: each further label multiplies its streams.

    `sent` and `lost` count lines. Lost are those that came while too many waited, that Loki refused for good, and that were left at the end; all of
    them are in the file. A line can arrive twice when Loki's answer was lost: Loki drops an entry of the same nanosecond and text.
    """

    def __init__(self, url: str, user: str = "", token: str = "") -> None:
        """Begin with the thread. `token` alone is sent as a bearer token, with `user` as a password. Raises SettingsError for a URL that is none."""
        self._url = _push_url(url)
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token and not user else {})}
        self._client = httpx.Client(headers=headers, auth=(user, token) if user else None, timeout=ANSWER_SECONDS, trust_env=False)
        self._waiting: deque[Entry] = deque()
        self._bytes, self.sent, self.lost, self._failing = 0, 0, 0, ""
        self._changed, self._ended, self._count, self._sending = threading.Condition(), False, 0, 0
        self._thread = threading.Thread(target=self._run, name="suite-loki", daemon=True)
        self._thread.start()

    @property
    def failing(self) -> str:
        """Why the last batch did not arrive; empty when it did."""
        return self._failing

    def put(self, at: float, service: str, level: str, line: str) -> None:
        """Take a line of the moment `at` (UTC seconds since 1970); never waits for Loki and never raises."""
        with self._changed:
            self._count += 1
            # a count in the last digits keeps lines of one microsecond in order
            self._waiting.append((int(at * 1e6) * 1000 + self._count % 1000, service, level, line))
            self._bytes += len(line)
            while len(self._waiting) > MOST_LINES or self._bytes > MOST_BYTES:
                self._bytes -= len(self._waiting.popleft()[3])
                self.lost += 1
            if len(self._waiting) in (1, BATCH_LINES):  # a line between them changes nothing, and to wake a thread takes the writer's time
                self._changed.notify()

    def close(self) -> None:
        """Send what waits, for no longer than two seconds, and end; safe to call twice."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(GRACE_SECONDS)
        with self._changed:
            self.lost += len(self._waiting) + self._sending
            self._waiting.clear()
            self._sending = 0

    def _run(self) -> None:
        wait = FIRST_WAIT
        try:
            while batch := self._next():
                while not self._push(batch):
                    if self._rest(wait * random.uniform(0.8, 1.2)):  # apart from other hosts that lost the same Loki
                        return
                    wait = min(wait * 2, LONGEST_WAIT)
                wait = FIRST_WAIT
        finally:
            self._client.close()

    def _next(self) -> list[Entry]:
        """The next batch, as soon as there is one; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if not self._ended and len(self._waiting) < BATCH_LINES:
                self._changed.wait_for(lambda: len(self._waiting) >= BATCH_LINES or self._ended, PAUSE)
            batch, size = [], 0
            while self._waiting and len(batch) < BATCH_LINES and size < BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][3])
            self._bytes -= size
            self._sending = len(batch)
            return batch

    def _push(self, batch: list[Entry]) -> bool:
        """Whether the batch is done with: taken, or refused for good."""
        try:
            answer = self._client.post(self._url, content=body(batch))
        except Exception as error:  # noqa: BLE001 - the edge of the thread: whatever it is, the next try may do better
            return self._failed(f"{self._url} does not answer ({type(error).__name__})")
        if answer.is_success:
            if self._failing:
                self._failing = ""
                log.info("the log is shipped to %s again", self._url)
            self._done(taken=True)
            return True
        why = f"{self._url} answers with status {answer.status_code}: {answer.text[:200]!r}"
        if answer.status_code >= 500 or answer.status_code in AGAIN:
            return self._failed(why)
        self._failed(f"{why}; such lines are not sent again, see LOKI_URL, LOKI_USER and LOKI_TOKEN")
        self._done(taken=False)
        return True

    def _failed(self, why: str) -> bool:
        first, self._failing = not self._failing, why
        if first:  # once, not for each batch: this line wants to be shipped, too
            log.warning("the log is not shipped: %s", why)
        return False

    def _rest(self, seconds: float) -> bool:
        """Wait so long; gives whether it has ended meanwhile."""
        until = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, max(0.0, until - time.monotonic()))

    def _done(self, taken: bool) -> None:
        with self._changed:
            if taken:
                self.sent += self._sending
            else:
                self.lost += self._sending
            self._sending = 0


def body(batch: list[Entry]) -> bytes:
    """The JSON that the push API takes: a stream for each pair of labels, with [nanoseconds as text, line] in order.

    Source: Loki HTTP API, POST /loki/api/v1/push.
    """
    streams: dict[tuple[str, str], list[list[str]]] = {}
    for at, service, level, line in batch:
        streams.setdefault((service, level), []).append([str(at), line])
    rows = [{"stream": {"service": service, "level": level}, "values": sorted(values, key=lambda value: int(value[0]))}
            for (service, level), values in streams.items()]
    return json.dumps({"streams": rows}).encode("ascii")


def open_shipper(settings: Any) -> Shipper | None:
    """The shipper that LOKI_URL asks for, or None. Raises SettingsError."""
    return Shipper(settings.loki_url, settings.loki_user, settings.loki_token) if settings.loki_url else None


def _push_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or not 0 < (parsed.port or 80) < 65_536:
        raise SettingsError(f"LOKI_URL is {str(url).rpartition('@')[2][:120]!r} but must be such as http://127.0.0.1:3100 (who logs in there is "
                            "LOKI_USER with LOKI_TOKEN).")
    return str(url).rstrip("/").removesuffix(PUSH) + PUSH
