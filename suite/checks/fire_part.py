"""Fire drills of the rules about parts: one that does not answer, is not ready, begins anew, or is left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from suite.checks.fault import close_port, kill_upstream, restart_server
from suite.checks.fault_monitoring import lose_target
from suite.checks.fire import Fire, Scene, bent, once
from suite.checks.watched import wait_for

RESTARTS, TRIES, ASKED, WAITING = 3, 4, 44, 32
SECONDS = 30.0  # until all of them wait


@contextmanager
def closed_port(scene: Scene) -> Iterator[None]:
    """Nobody listens on the chat server's port."""
    close_port(scene.stack)
    yield
    scene.stack.servers.open("inference-chat")


@contextmanager
def lost_target(scene: Scene) -> Iterator[None]:
    """Retrieval is not looked at."""
    scraper = scene.stack.monitor.scraper
    with bent(scraper, "targets", scraper.targets):
        lose_target(scene.stack)
        yield


@contextmanager
def unloaded(scene: Scene) -> Iterator[None]:
    """The code model is not loaded."""
    server = scene.stack.parts["inference-code"]
    server.unload()
    yield
    server.load()


def restart_often(scene: Scene) -> None:
    """Load the chat model anew, again and again."""
    for _ in range(RESTARTS):
        restart_server(scene.stack)


@contextmanager
def dead_upstream(scene: Scene) -> Iterator[None]:
    """The code model's server has died, and somebody asks for it; then the one that lives is asked again."""
    gateway, code = scene.stack.parts["api-gateway"], scene.stack.settings.api_gateway_code_model
    living = gateway.first(code)
    kill_upstream(scene.stack)
    for _ in range(TRIES):
        scene.chat(model=code)
    yield
    gateway.assign(code, [living])


@contextmanager
def full_queue(scene: Scene) -> Iterator[None]:
    """The chat server comes to no end with a step while many ask it."""
    server = scene.stack.parts["inference-chat"]
    context, goes_on = server._loaded.decoder._context, threading.Event()
    honest = context.step

    def step() -> None:
        goes_on.wait()
        honest()

    with bent(context, "step", step):
        asking = scene.together([lambda: scene.chat("inference-chat")] * ASKED)
        try:
            wait_for(lambda: server.stats()["waiting"] > WAITING, SECONDS)
            yield
        finally:
            goes_on.set()
            for thread in asking:
                thread.join()


FIRES = (
    Fire("PartDown/critical", "caused", "the chat server's port was closed", closed_port),
    Fire("PartMissing/critical", "caused", "retrieval was left out of what is looked at", lost_target),
    Fire("PartNotReady/warning", "caused", "the code model was unloaded", unloaded),
    Fire("PartRestarts/warning", "caused", "the chat model had to be loaded anew three times", once(restart_often)),
    # tried again soon, so that the drill sees the half-open state in which a breaker spends its time where few ask
    Fire("BreakerOpen/critical", "caused", "the code model's server died behind the gateway", dead_upstream, settings={"breaker_seconds": 0.1}),
    Fire("QueueDeep/warning", "caused", "44 asked a chat server that came to no end", full_queue),
)
