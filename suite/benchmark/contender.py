"""The processes that a measurement starts: `python -m suite.benchmark.contender KIND JSON`; each answers questions until its input ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.benchmark.child import attend


def bare(path: str, **parameters: Any) -> None:
    """llama.cpp alone."""
    from suite.serving.bare import BareLoops
    from suite.serving.parameters import Parameters

    loops = BareLoops(Path(path), Parameters(**parameters))
    attend({"one": loops.one, "many": loops.many, "ready": lambda: True})


def face(**settings: Any) -> None:
    """The model server as Python sees it."""
    from suite.benchmark.face import Face

    face = Face(settings)
    attend({"ready": face.ready, "many": face.many, "turns": face.turns, "beside": face.beside})


def stack(**settings: Any) -> None:
    """The whole suite with its ports, as `suite up` runs it."""
    from suite.bench import start

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # its token lies outside the scratch folder, and goes when it stops in order
    bench = start(**settings)
    try:
        target = bench.target()
        target.close()
        attend({"ready": lambda: {"urls": dict(target.urls), "token": target.token}})
    finally:
        bench.stop()


def client() -> None:
    """Who calls the ports."""
    from suite.benchmark.client import VERBS

    attend(VERBS)


def upstream(name: str) -> None:
    """A stand-in for a model server behind a URL."""
    from suite.benchmark.upstream import served

    with served(name) as url:
        attend({"ready": lambda: url})


def knowledge(**settings: Any) -> None:
    """A stack whose knowledge indexes and is asked."""
    from suite.benchmark.knowledge_child import Indexer

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as above
    indexer = Indexer(settings)
    try:
        attend(indexer.verbs())
    finally:
        indexer.close()


def embedder(**values: Any) -> None:
    """fastembed alone."""
    from suite.benchmark.knowledge_child import BareEmbedder

    bare_embedder = BareEmbedder(**values)
    attend({"ready": lambda: True, "embed": bare_embedder.embed})


def points(**values: Any) -> None:
    """A vector store with made chunks."""
    from suite.benchmark.knowledge_points import Points

    made = Points(**values)
    attend({"ready": lambda: True, "fill": made.fill, "ask": made.ask, "recall": made.recall})


def tool_calls(data: str) -> None:
    """Calls of tools in process."""
    from suite.benchmark.tools_parts import Calls

    made = Calls(data)
    attend({"ready": lambda: True, "free": made.free, "granted": made.granted})


def mcp_ours(data: str) -> None:
    """Our MCP server."""
    from suite.benchmark.tools_mcp import ours

    with ours(data) as where:
        attend({"ready": lambda: where, "worked": time.process_time})


def mcp_bare() -> None:
    """The SDK's MCP server."""
    from suite.benchmark.tools_mcp import bare

    with bare() as where:
        attend({"ready": lambda: where, "worked": time.process_time})


def mcp_clients() -> None:
    """Who calls those."""
    from suite.benchmark.tools_mcp import calls

    attend({"ready": lambda: True, "calls": calls})


def watched(**settings: Any) -> None:
    """A stack whose monitoring is measured."""
    from suite.benchmark.monitoring_parts import Watched

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as above
    made = Watched(settings)
    try:
        attend({"ready": made.ready, "instrumented": made.instrumented, "rounds": made.rounds, "fill": made.fill})
    finally:
        made.close()


def charts(folder: str) -> None:
    """What panels draw from a history."""
    from suite.benchmark.monitoring_parts import Charts

    made = Charts(folder)
    attend({"ready": lambda: True, "draw": made.draw})


def counted_calls(data: str) -> None:
    """Calls of tools in process, counted or not."""
    from suite.benchmark.monitoring_parts import CountedCalls

    made = CountedCalls(data)
    attend({"ready": lambda: True, "free": made.free, "silent": made.silent})


KINDS: dict[str, Callable[..., None]] = {"bare": bare, "face": face, "stack": stack, "client": client, "upstream": upstream,
                                         "knowledge": knowledge, "embedder": embedder, "points": points, "tool_calls": tool_calls,
                                         "mcp_ours": mcp_ours, "mcp_bare": mcp_bare, "mcp_clients": mcp_clients, "watched": watched, "charts": charts,
                                         "counted_calls": counted_calls}

if __name__ == "__main__":
    KINDS[sys.argv[1]](**json.loads(sys.argv[2]))
