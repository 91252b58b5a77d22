"""Documents of one collection prepared on a Dask cluster (RAG_DASK_URL): its workers read, split and embed; this host alone writes.

What comes back is what this host would have made itself, in the same order. A worker needs the same suite, the same model in MODELS_DIR and the
documents, all under the same paths. It is sent only the settings that preparation needs: no database, no key, no token.

Use a scheduler that you trust: whoever may speak to it can run any code on its workers, and whoever runs a worker can run any code here, since
results are pickles. The documents' texts go over the network; TLS is set up in Dask's own configuration (`distributed.comm.tls`).
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from suite.errors import BadRequest, NotReady, SettingsError, SuiteError
from suite.knowledge.desk import Desk, Found, Order, Prepared, Want, desk_for, ordered, why_not
from suite.knowledge.index import GROUP, Piece
from suite.knowledge.prepare import Preparation
from suite.knowledge.read import Reader
from suite.text.secret import masked_text

TASK_BYTES, TASK_FILES = 64 << 10, 64  # small documents that go to a worker together, at most
PART = 4 * GROUP  # chunks in one result: a few megabytes, however large the document
AHEAD = 2  # tasks for each thread of the cluster that are under way, or done and not yet written
TRIES = 2  # times that Dask may give a document up because its workers die, before it is skipped
CONNECT_S = 10.0  # how long a scheduler may take to answer
GONE_S = 120.0  # how long there may be no worker: one that died is being replaced, or a cluster that grows on demand begins to
LOOK_S = 1.0  # between two looks at whether anybody still works

_SHOWN = 3  # workers in one message


@dataclass
class _Task:
    """Some documents that one worker prepares; `front` where it was put before others that may have begun."""

    wants: Sequence[Want]
    tries: int = 0
    front: bool = False
    running: Any = None

    def continues(self, path: str) -> bool:
        """Whether it is a later part of that document."""
        return self.wants[0].path == path and self.wants[0].start > 0


class _Place(Protocol):
    """Where tasks are done: `found` waits for one that was begun, and gives None where it was given up because worker after worker died."""

    def room(self) -> int: ...
    def begin(self, task: _Task) -> Any: ...
    def found(self, running: Any) -> Found | None: ...


def read(settings: Any, reader: Reader, preparation: Preparation, paths: Iterable[str]) -> Iterator[tuple[str, Prepared | BadRequest]]:
    """The documents at resolved paths, in order, prepared by the workers of RAG_DASK_URL; a long one comes in parts, one after the other.

    A document that cannot be read comes as the BadRequest that says why. A single one is prepared here. Raises SettingsError when Dask is not
    installed or the URL is none, and NotReady when the scheduler does not answer, a worker would prepare otherwise than this host, or none is left;
    what came before that is good. Close this generator to let go of the cluster.
    """
    waiting = iter(paths)
    few = list(islice(waiting, 2))
    if len(few) < 2:
        yield from _in_order(_tasks(few), _Here(Desk(reader, preparation)))
        return
    cluster = _Cluster(settings.rag_dask_url, ordered(settings, reader, preparation))
    try:
        cluster.check(few[0])
        yield from _in_order(_tasks(chain(few, waiting)), cluster)
    finally:
        cluster.close()


def pieces(documents: Iterable[Prepared]) -> Iterator[list[Piece]]:
    """The groups that Index.pieces makes of the same documents, so that the mean length by which terms are weighed is the same too."""
    group: list[Piece] = []
    held = 0
    for document in documents:
        at = 0
        while at == 0 or at < len(document.passages):
            part = document.passages[at:at + GROUP - held]
            group.append(Piece(document.source, part, document.first and at == 0, document.last and at + len(part) >= len(document.passages)))
            at, held = at + max(len(part), 1), held + len(part)
            if held >= GROUP:
                yield group
                group, held = [], 0
    if group:
        yield group


def _tasks(paths: Iterable[str]) -> Iterator[_Task]:
    """Small neighbours go together, a large document for itself."""
    wants: list[Want] = []
    held = 0
    for path in paths:
        try:
            size = os.stat(path).st_size
        except OSError:
            size = 0  # whoever reads it will say why not
        if wants and (held + size > TASK_BYTES or len(wants) == TASK_FILES):
            yield _Task(wants)
            wants, held = [], 0
        wants.append(Want(path))
        held += size
    if wants:
        yield _Task(wants)


def _in_order(tasks: Iterator[_Task], place: _Place) -> Iterator[tuple[str, Prepared | BadRequest]]:
    """What is found of all documents, in the order of the tasks, of which a bounded number is begun ahead."""
    line: deque[_Task] = deque()
    while True:
        room = place.room()
        line.extend(islice(tasks, max(0, room - len(line))))
        if not line:
            return
        for task in islice(line, room):
            if task.running is None:
                task.running = place.begin(task)
        task = line.popleft()
        found = place.found(task.running)
        task.running = None  # so that the cluster can forget it
        if found is None and len(task.wants) == 1 and task.tries + 1 >= TRIES:
            found = [(task.wants[0].path, BadRequest("the workers that prepared it died, one after the other; split it, or give them more memory"))]
        if found is None:  # one of them may be to blame, so each goes for itself
            line.extendleft([_Task([want], task.tries + 1, front=True) for want in reversed(task.wants)])
            continue
        for path, outcome in found:
            while isinstance(outcome, BadRequest) and line and line[0].continues(path):
                line.popleft()  # its last part would make it look whole
            yield path, outcome if isinstance(outcome, BadRequest) else outcome.prepared()
        line.extendleft(reversed(_rest(task, found)))


def _rest(task: _Task, found: Found) -> list[_Task]:
    """What is left to be done of a task: the later parts of the last document that was found, and the documents after it."""
    path, outcome = found[-1]
    begun = not isinstance(outcome, BadRequest) and outcome.start == 0  # a later part comes with all others in the line behind it
    left = [_Task([Want(path, at, outcome.source.sha256)], front=True) for at in range(outcome.end, outcome.total, PART)] if begun else []
    after = task.wants[len(found):]
    return left + ([_Task(after, task.tries, front=True)] if after else [])


class _Here:
    """This process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def room(self) -> int:
        return 1

    def begin(self, task: _Task) -> Any:
        return task.wants

    def found(self, running: Any) -> Found:
        return self._desk.found(running, PART)


class _Cluster:
    """The workers of a Dask scheduler."""

    def __init__(self, url: str, order: Order) -> None:
        self._named = f"the Dask scheduler {masked_text(url)} of RAG_DASK_URL"
        try:
            from distributed import Client
        except ImportError as error:
            raise SettingsError(f"RAG_DASK_URL is {masked_text(url)}, but Dask is not installed ({error}); run `pip install "
                                "'local-ai-suite[scale]'`, or empty the setting.") from error
        try:
            self._client = Client(url, timeout=CONNECT_S, set_as_default=False, name="local-ai-suite")
        except OSError as error:
            raise NotReady(f"{_begun(self._named)} does not answer ({_short(error)}); start it, or empty the setting to prepare documents on "
                           "this machine.", part="rag", retry_after=30) from error
        except (ValueError, TypeError, RuntimeError, ImportError) as error:
            raise SettingsError(f"{_begun(self._named)} cannot be used ({_short(error)}); give an address such as tcp://host:8786.") from error
        self._order = order
        self._threads, self._looked = 0, float("-inf")
        self._alone: float | None = None  # since when there has been no worker

    def close(self) -> None:
        """Drop what is under way, and end the connection."""
        self._client.close()

    def check(self, sample: str) -> None:
        """Raises NotReady unless all workers that are there now would prepare documents as this host does, and can read the one at `sample`."""
        try:
            told = self._client.run(_unfit, self._order, sample if os.access(sample, os.R_OK) else "", on_error="return")
        except OSError as error:
            raise self._lost(_short(error)) from error
        wrong = [why if isinstance(why, str) else f"On the worker {worker}: {_short(why)}" for worker, why in told.items()
                 if why and not isinstance(why, OSError)]  # an OSError: it died just now
        if wrong:
            more = f"; {len(wrong) - _SHOWN} more are like that" if len(wrong) > _SHOWN else ""
            raise NotReady(f"Workers of {self._named} would not prepare documents as this host does ({'; '.join(wrong[:_SHOWN])}{more}). Give them "
                           "the same installation, MODELS_DIR and documents under the same paths, and add again: nothing was written.", part="rag")

    def room(self) -> int:
        """How many tasks may be under way or done and not yet asked for."""
        if time.monotonic() - self._looked >= LOOK_S:
            self._look()
        return max(2, AHEAD * self._threads)  # with no worker at all, too: some clusters grow only when there is work

    def begin(self, task: _Task) -> Any:
        """Hand the task over. Raises NotReady when the scheduler is gone."""
        try:
            return self._client.submit(_work, self._order, tuple(task.wants), PART, key=f"suite-prepare-{uuid.uuid4().hex}", pure=False,
                                       priority=int(task.front))
        except Exception as error:  # Dask has several for a connection that has ended, with no ancestor in common
            raise self._lost(_short(error)) from error

    def found(self, running: Any) -> Found | None:
        """What a worker found; None when Dask gave the task up because all workers that had it died. Raises NotReady when it cannot be had."""
        fetched = asyncio.run_coroutine_threadsafe(self._client.gather(running, asynchronous=True), self._client.loop.asyncio_loop)
        try:
            while not wait([fetched], LOOK_S).done:  # it is being done, or done again because the worker that had the result died
                self._look()
        except BaseException:
            fetched.cancel()
            raise
        error = fetched.exception()
        return fetched.result() if error is None else self._failed(error)

    def _failed(self, error: BaseException) -> None:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return None
        if isinstance(error, CancelledError):
            raise self._lost("it dropped what was under way, or the connection to it ended") from error
        if isinstance(error, SuiteError):
            raise error
        raise NotReady(f"A worker of {self._named} failed ({_short(error)}); what was written is whole. Its log says more; add again to go on.",
                       part="rag") from error

    def _look(self) -> None:
        """Count the workers. Raises NotReady when the scheduler is gone, or has had no worker for too long."""
        try:
            self._threads = sum(self._client.nthreads().values())
        except Exception as error:  # as above
            raise self._lost(_short(error)) from error
        self._looked = now = time.monotonic()
        self._alone = None if self._threads else now if self._alone is None else self._alone
        if self._alone is not None and now - self._alone >= GONE_S:
            raise NotReady(f"{_begun(self._named)} has had no worker for {GONE_S:.0f} s; start some (`dask worker URL`) and add again; "
                           "what was written is whole.", part="rag", retry_after=30)

    def _lost(self, why: str) -> NotReady:
        return NotReady(f"{_begun(self._named)} was lost ({why}); start it and add again: what was written is whole.", part="rag", retry_after=30)


def _begun(text: str) -> str:
    return text[0].upper() + text[1:]


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(masked_text(str(error)).split())[:300]}"


# what follows runs on the workers


def _work(order: Order, wants: Sequence[Want], room: int) -> Found:
    from distributed import get_worker

    return desk_for(order, get_worker()).found(wants, room)


async def _unfit(order: Order, sample: str, dask_worker: Any = None) -> str:
    return await asyncio.to_thread(why_not, order, sample, dask_worker)  # apart, or the worker would be deaf meanwhile
