"""Fire drills of the rules about requests, replies and questions: those that fail, and those that take too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from suite.checks.fire import Fire, Scene, bent, once
from suite.checks.trace import fixture
from suite.errors import StorageError

ENOUGH = 22  # requests; a rule about their share wants twenty
SOME, MANY, FAILED_SEARCHES = 3, 12, 12
SLOW_REQUEST_S, SLOW_SEARCH_S, SLOW_TOKEN_S, SLOW_REPLY_S = 2.2, 0.8, 10.5, 75.0
COLLECTION = "fire-drill"


def greet(scene: Scene) -> None:
    """Ask everything once that is asked later on: no rule can tell how fast a number grows that was not there before."""
    for part in ("api-gateway", "inference-chat"):
        scene.chat(part)
    scene.call("POST", "embedding", "/embed", json={"texts": ["hello"]})


def fail_requests(count: int) -> Callable[[Scene], None]:
    """Answer some requests to the chat server, and refuse `count` for want of a model."""
    def act(scene: Scene) -> None:
        server = scene.stack.parts["inference-chat"]
        scene.ask_all(ENOUGH, lambda _: scene.chat("inference-chat"))
        server.unload()
        scene.ask_all(count, lambda _: scene.chat("inference-chat"))
        server.load()

    return act


def slow_requests(scene: Scene) -> None:
    """Let the embedder take its time for every text."""
    embedder = scene.stack.parts["embedding"]
    with bent(embedder, "embed", _after(SLOW_REQUEST_S, embedder.embed)):
        scene.ask_all(ENOUGH, lambda number: scene.call("POST", "embedding", "/embed", json={"texts": [f"text {number}"]}))


def fail_replies(scene: Scene) -> None:
    """Let some replies be written, and two be asked for while no model is loaded: one more, and the servers would be left alone."""
    scene.ask_all(ENOUGH, lambda _: scene.chat())
    servers = [scene.stack.parts[name] for name in ("inference-chat", "inference-code")]
    for server in servers:
        server.unload()
    scene.ask_all(2, lambda _: scene.chat())
    for server in servers:
        server.load()


def slow_replies(scene: Scene) -> None:
    """Let the gateway's stop-watch say of every reply that it took more than a minute."""
    gateway = scene.stack.parts["api-gateway"]
    honest = gateway._record
    with bent(gateway, "_record", lambda usage: honest(replace(usage, seconds=usage.seconds + SLOW_REPLY_S))):
        scene.ask_all(ENOUGH, lambda _: scene.chat())


def slow_tokens(scene: Scene) -> None:
    """Let the chat server stand still for a while when many have asked it."""
    context = scene.stack.parts["inference-chat"]._loaded.decoder._context
    goes_on, honest = time.monotonic() + SLOW_TOKEN_S, context.step

    def step() -> None:
        time.sleep(max(0.0, goes_on - time.monotonic()))
        honest()

    with bent(context, "step", step):
        scene.ask_all(ENOUGH, lambda _: scene.chat("inference-chat"))


def add_document(scene: Scene) -> None:
    """Index a small document, so that there is something to be asked about."""
    with fixture("fire", scene.target.folder) as document:
        scene.stack.parts["rag"].add(COLLECTION, [str(document.path)], document.path.parent)


def ask(scene: Scene, number: int) -> None:
    """Ask a question that nobody has asked before."""
    scene.call("POST", "rag", "/query", json={"query": f"How many steps does lighthouse keeper {number} count?", "collection": COLLECTION})


def slow_searches(scene: Scene) -> None:
    """Let the vector store take its time for every search."""
    store = scene.stack.parts["qdrant"]
    with bent(store, "query", _after(SLOW_SEARCH_S, store.query)):
        scene.ask_all(ENOUGH, lambda number: ask(scene, number))


def fail_searches(good: int, bad: int) -> Callable[[Scene], None]:
    """Answer some questions, then let the vector store fail at `bad` more."""
    def fail(*_: Any, **__: Any) -> None:
        raise StorageError("The disk of the vectors cannot be read; a drill does that.")

    def act(scene: Scene) -> None:
        scene.ask_all(good, lambda number: ask(scene, number))
        with bent(scene.stack.parts["qdrant"], "query", fail):
            scene.ask_all(bad, lambda number: ask(scene, good + number))

    return act


def _after(seconds: float, act: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return act(*args, **options)

    return slow


FIRES = (
    Fire("RequestErrors/warning", "caused", "3 of 25 requests came while no chat model was loaded", once(fail_requests(SOME)), before=greet),
    Fire("RequestErrors/critical", "caused", "12 of 34 requests came while no chat model was loaded", once(fail_requests(MANY)), before=greet),
    Fire("RequestsSlow/warning", "caused", "the embedder took 2.2 s for every text", once(slow_requests), before=greet),
    Fire("ModelErrors/warning", "caused", "2 of 24 replies were asked for while no model was loaded", once(fail_replies), before=greet),
    Fire("RepliesSlow/warning", "reported", "the gateway's stop-watch said 75 s more of every reply", once(slow_replies), before=greet),
    Fire("FirstTokenSlow/warning", "caused", "the chat server stood still for 10.5 s", once(slow_tokens)),
    Fire("SearchSlow/warning", "caused", "the vector store took 0.8 s every time that it was asked", once(slow_searches), before=add_document),
    Fire("QueryErrors/warning", "caused", "the vector store failed at 3 of 25 questions", once(fail_searches(ENOUGH, SOME)), before=add_document),
    Fire("VectorErrors/warning", "caused", "the vector store failed at 12 searches", once(fail_searches(0, FAILED_SEARCHES)), before=add_document),
)
