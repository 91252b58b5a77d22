"""Replies as server-sent events: several may be written side by side, and all of them end when the client goes away."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from suite.errors import SuiteError
from suite.http.completion import dumped
from suite.serving.reply import Reply, ReplyStream

log = logging.getLogger("suite.http")
GONE = object()  # the client has closed the connection


class Writer(Protocol):
    """How the events of a call are written."""

    def opening(self, index: int) -> str: ...

    def piece(self, index: int, piece: str) -> str: ...

    def closing(self, index: int, reply: Reply) -> str: ...

    def ending(self, replies: Sequence[Reply]) -> str: ...


class Events(Response):
    """The events of `streams`, one per choice. Each is read by a thread of its own, so that no pool bounds how many run at once.

    A stream that fails is told as an event with the error, and the missing end ([DONE]) says that the reply is not whole. However the response
    ends, the generation behind it ends too.
    """

    media_type = "text/event-stream"

    def __init__(self, streams: Sequence[ReplyStream], writer: Writer) -> None:
        self.status_code, self.background = 200, None
        # no-cache, no buffering by proxies: pieces are to be seen when they are made
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._streams, self._writer = streams, writer
        self._over: set[int] = set()  # those that have come to their end, whatever it was

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until all streams have ended, one has failed, or the client has gone."""
        news: asyncio.Queue[Any] = asyncio.Queue()
        loop, gone = asyncio.get_running_loop(), threading.Event()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        watch = asyncio.ensure_future(_watch(receive, news))
        try:
            for index in range(len(self._streams)):
                threading.Thread(target=self._read, args=(index, loop, news, gone), name="suite-events", daemon=True).start()
            await self._send_all(news, send)
        finally:
            gone.set()
            watch.cancel()
            close_aside([stream for index, stream in enumerate(self._streams) if index not in self._over])

    async def _send_all(self, news: asyncio.Queue[Any], send: Send) -> None:
        replies: dict[int, Reply] = {}
        while len(replies) < len(self._streams):
            lines = [await news.get()]
            while not news.empty():  # what came while the last was sent goes out in one piece
                lines.append(news.get_nowait())
            texts: list[str] = []
            for item in lines:
                if item is GONE:
                    return
                if isinstance(item, SuiteError):
                    await _send(send, "".join(texts) + f"data: {dumped(item.to_dict())}\n\n", more=False)
                    return
                text, index, reply = item
                texts.append(text)
                if reply is not None:
                    replies[index] = reply
            await _send(send, "".join(texts), more=True)
        await _send(send, self._writer.ending([replies[index] for index in sorted(replies)]), more=False)

    def _read(self, index: int, loop: asyncio.AbstractEventLoop, news: asyncio.Queue[Any], gone: threading.Event) -> None:
        """One stream, in its own thread."""
        stream, writer = self._streams[index], self._writer

        def tell(item: Any) -> None:
            loop.call_soon_threadsafe(news.put_nowait, item)

        try:
            tell((writer.opening(index), index, None))
            for piece in stream:
                tell((writer.piece(index, piece), index, None))
            self._over.add(index)
            if not gone.is_set():
                reply = stream.reply
                tell((writer.closing(index, reply), index, reply))
        except Exception as error:  # noqa: BLE001 - the edge of the thread: the client is told, or has gone and asks for nothing
            self._failed(error, tell, gone)

    @staticmethod
    def _failed(error: Exception, tell: Any, gone: threading.Event) -> None:
        if gone.is_set():
            return
        if not isinstance(error, SuiteError):
            log.error("a stream failed", exc_info=error)
            error = SuiteError(f"{type(error).__name__} while the reply was being written; the log file has the details.")
        try:
            tell(error)
        except RuntimeError:  # the loop has been closed meanwhile: the stack stops
            log.debug("nobody is left to be told: %s", error)


def close_aside(streams: Sequence[ReplyStream]) -> None:
    """Close streams without waiting for it: where one is still being written, closing it may take until its writer has noticed."""
    if streams:
        threading.Thread(target=lambda: [stream.close() for stream in streams], name="suite-close", daemon=True).start()


async def _watch(receive: Receive, news: asyncio.Queue[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    news.put_nowait(GONE)


async def _send(send: Send, text: str, more: bool) -> None:
    if text or not more:
        await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": more})
