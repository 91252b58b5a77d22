"""Faults of failing over: nobody stands in, nobody comes back, or nothing can be killed at all."""

from __future__ import annotations

from typing import Any

from suite.checks.fault import Fault, Stack


def stay_down(stack: Stack) -> None:
    """Start no model server again whose process has died."""
    server: Any = stack.parts["inference-chat"]
    honest = server._bury
    server._bury = lambda loaded, death, again: honest(loaded, death, False)


def stand_in_nowhere(stack: Stack) -> None:
    """Ask no other server when the first of an alias is out."""
    gateway: Any = stack.parts["api-gateway"]
    honest = gateway._servers_for
    gateway._servers_for = lambda alias: honest(alias)[:1]


def keep_in_kernel(stack: Stack) -> None:
    """Load the chat model into the kernel, where nothing can be killed without all the rest."""
    server: Any = stack.parts["inference-chat"]
    settings = server.settings
    asked = {name: value for name, value in vars(settings).items() if name != "source"} | {"serving_isolation": "kernel"}
    server.settings = type(settings)(asked, settings.source)
    server.unload()
    server.load()


STAYS_DOWN = Fault("a model server whose process died was not started again", stay_down)
NO_STAND_IN = Fault("no server stood in for one that was out", stand_in_nowhere)
IN_KERNEL = Fault("the model ran in the kernel, where nothing can be killed alone", keep_in_kernel)
