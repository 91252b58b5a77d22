"""The child of a ChildDecoder: one Decoder, told what to do by lines of JSON on its standard input, and telling on its standard output.

Run by path, never imported: `python -P child_main.py <pid of the parent>`. The first line it reads says what to load. It ends when its input
ends, when its parent ends, or by the signal that llama.cpp ends it with.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOOK_S = 1.0  # where the system cannot tell us that the parent has ended, we look this often


def main(parent: int) -> None:
    """Serve the parent until it has had enough."""
    hears, tells = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # whatever prints to standard output here must not come between our lines
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    os.putenv("GGML_NO_BACKTRACE", "1")  # an aborting llama.cpp would otherwise start a debugger on itself, which takes seconds
    order = json.loads(hears.readline())
    sys.path[:] = order["path"]
    logging.basicConfig(stream=sys.stderr, level=order["log_level"], format="%(levelname)s %(message)s")
    from suite.errors import SuiteError

    telling = _Telling(tells)
    try:
        decoder = _loaded(order)
    except SuiteError as error:
        telling.tell({"id": 0, **error.to_dict()})
        return
    telling.tell({"id": 0, "done": {"facts": decoder.facts()}})
    serving = _Serving(decoder, telling)
    for line in hears:
        serving.hear(json.loads(line))
    serving.end(drain=False)


def _loaded(order: dict[str, Any]) -> Any:
    from suite.serving.decoder import SHORT_SWITCH_S, Decoder
    from suite.serving.parameters import Parameters
    from suite.serving.weights import Weights

    sys.setswitchinterval(SHORT_SWITCH_S)
    weights = Weights(**{**order["weights"], "path": Path(order["weights"]["path"])})
    return Decoder(order["name"], order["model"], weights, Parameters(**order["parameters"]), order["defaults"])


def _request(row: dict[str, Any]) -> Any:
    """The request again, which the parent has checked: JSON makes lists of its tuples."""
    from suite.serving.request import Request

    row["logit_bias"] = [tuple(pair) for pair in row["logit_bias"]]
    return Request(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


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


class _Telling:
    """Our output: one line of JSON per row, from any thread. A parent that does not read is waited for; one that has gone ends us."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "wb", buffering=0)
        self._one_at_a_time = threading.Lock()

    def tell(self, row: dict[str, Any]) -> None:
        line = memoryview(json.dumps(row, default=str).encode("ascii") + b"\n")
        try:
            with self._one_at_a_time:
                while line:
                    line = line[self._out.write(line):]
        except OSError:
            os._exit(0)


class _Serving:
    """What the parent asked for and is not done yet: each in a thread of its own, so that none waits for another."""

    def __init__(self, decoder: Any, telling: _Telling) -> None:
        self._decoder, self._telling = decoder, telling
        self._streams: dict[int, Any] = {}
        self._dropped: set[int] = set()
        self._gate = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def hear(self, row: dict[str, Any]) -> None:
        """Do what a row asks for, or begin to."""
        if row["do"] == "cancel":
            self._cancel(row["id"])
        elif row["do"] == "close":
            # in its own thread, because a second order may say that it is to be quick after all
            threading.Thread(target=self.end, args=(row["drain"],), daemon=True).start()
        else:
            thread = threading.Thread(target=self._do, args=(row,), daemon=True)
            with self._gate:
                self._threads.add(thread)
                thread.start()

    def end(self, drain: bool) -> None:
        """Close the decoder, tell how every reply ended, and end this process."""
        self._decoder.close(drain=drain)
        while True:
            with self._gate:
                thread = next(iter(self._threads), None)
            if thread is None:
                break
            thread.join()
        logging.shutdown()
        os._exit(0)  # the memory of a large model goes back to the system faster than piece by piece

    def _do(self, row: dict[str, Any]) -> None:
        from suite.errors import SuiteError, UpstreamError

        try:
            getattr(self, "_" + row["do"])(row)
        except SuiteError as error:
            self._telling.tell({"id": row["id"], **error.to_dict()})
        except Exception as error:  # the edge of the thread: whoever waits for this row must hear something
            logging.exception("%s failed", row["do"])
            failed = UpstreamError(f"{self._decoder.name} failed ({type(error).__name__}: {error}); ask again.", part=self._decoder.name)
            self._telling.tell({"id": row["id"], **failed.to_dict()})
        finally:
            with self._gate:
                self._threads.discard(threading.current_thread())
                self._streams.pop(row["id"], None)
                self._dropped.discard(row["id"])

    def _cancel(self, identity: int) -> None:
        with self._gate:
            self._dropped.add(identity)
            stream = self._streams.get(identity)
        if stream is not None:
            stream.close()

    def _stream(self, row: dict[str, Any]) -> None:
        stream, identity = self._decoder.stream(_request(row["request"])), row["id"]
        with self._gate:
            self._streams[identity] = stream
            dropped = identity in self._dropped
        self._telling.tell({"id": identity, "accepted": True})
        if dropped:
            stream.close()
        for piece in stream:
            told = {"id": identity, "piece": piece}
            if rows := getattr(piece, "logprobs", ()):
                told["logprobs"] = rows
            self._telling.tell(told)
        self._telling.tell({"id": identity, "reply": stream.reply.to_dict()})

    def _tokenize(self, row: dict[str, Any]) -> None:
        self._telling.tell({"id": row["id"], "done": self._decoder.tokenize(row["text"], row["special"])})

    def _detokenize(self, row: dict[str, Any]) -> None:
        self._telling.tell({"id": row["id"], "done": self._decoder.detokenize(row["tokens"])})

    def _stats(self, row: dict[str, Any]) -> None:
        self._telling.tell({"id": row["id"], "done": self._decoder.stats()})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(int(sys.argv[1]))
