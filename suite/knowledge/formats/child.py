"""The child of Parsers: reads documents whose parsers can be made to loop, to eat memory or to crash, one after another.

Run by path, never imported: `python -P child.py <pid of the parent>`. The first line it reads says where modules are found and how much it may
use; then a line of JSON and the file's bytes per document. For each it writes a line when it begins and one when it is done, with the text behind
it. It ends when its input or its parent ends, when nothing has come for a while, or after a document that took much memory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

LOOK_S = 1.0  # where the system cannot tell us that the parent has ended, we look this often
LIBRARIES = {"pdf": "pypdf", "docx": "docx", "html": "bs4"}


def main(parent: int) -> None:
    """Read documents until nobody wants more."""
    hears, tells = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # whatever prints here must not come between our lines
        os.dup2(nothing, standard)
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    order = json.loads(hears.readline())
    sys.path[:] = order["path"]
    from suite.knowledge.formats.extract import extracted  # before there is a limit: what we are made of is not the document's fault

    _limit(order["memory"])
    while line := hears.readline():
        asked = json.loads(line)
        try:
            data = hears.read(asked["bytes"])
        except MemoryError:  # raised before a byte was taken; who sends them hears us only when all are
            left = asked["bytes"]
            while left and (piece := hears.read(min(left, 1 << 16))):
                left -= len(piece)
            _tell(tells, {"begun": True})
            _tell(tells, {"memory": True})
            break
        if not _answer(tells, extracted, asked["reader"], data, order["seconds"]) or _peak_mb() > order["large"]:
            break
        if not select.select([hears], [], [], order["idle"])[0]:  # nothing lies in the buffer: who asked waits for our answer before it sends more
            break


def _answer(tells: IO[bytes], extracted: Any, reader: str, data: bytes, seconds: float) -> bool:
    """Read one document and tell what came of it; whether this process can go on."""
    from suite.errors import BadRequest

    with contextlib.suppress(ImportError):  # the reader will say so
        importlib.import_module(LIBRARIES.get(reader, "json"))
    _tell(tells, {"begun": True})
    signal.alarm(int(seconds) + 10)  # should the parent have gone while a parser loops in C, which no thread of ours can interrupt
    body, on = b"", True
    try:
        found = extracted(reader, data)
        body = found.text.encode("utf-8")
        told = {"bytes": len(body), "pages": found.pages}
    except BadRequest as error:
        told = {"reason": error.message}
    except MemoryError:
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)  # telling so takes memory too
        told, on = {"memory": True}, False
    except Exception as error:  # noqa: BLE001 - the edge of the process: whatever a parser raises over a damaged file
        told = {"reason": f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})"}
    signal.alarm(0)
    _tell(tells, told, body)
    return on


def _tell(tells: IO[bytes], row: dict[str, Any], body: bytes = b"") -> None:
    try:
        tells.write(json.dumps(row).encode("ascii") + b"\n")
        tells.write(body)
        tells.flush()
    except OSError:  # the parent has gone
        os._exit(0)


def _limit(megabytes: int) -> None:
    """No more memory than we have by now and `megabytes`; no core file, and nothing written to a disk."""
    held = 0
    with contextlib.suppress(OSError):  # not Linux: the interpreter itself then counts too
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    for what, most in ((resource.RLIMIT_AS, held + (megabytes << 20)), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # a lower limit is there already, or the system has none of the kind
            resource.setrlimit(what, (most, hard))


def _peak_mb() -> int:
    """The most memory that this process ever had."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) >> 10
    except (OSError, IndexError):  # not Linux, whose getrusage would count what our parent had when it started us
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def _outlive_nobody(parent: int) -> None:
    """End this process when the parent has ended, however it did: killed, or with its end of our input still open in a fork of it."""
    try:
        watched = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not Linux, or not allowed, or it is gone already
        while os.getppid() == parent:
            time.sleep(LOOK_S)
    else:
        if os.getppid() == parent:  # else it ended before we looked, and its number may be somebody else's
            select.select([watched], [], [])
    os._exit(0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(int(sys.argv[1]))
    os._exit(0)  # parsers leave large structures behind, which need not be freed piece by piece
