"""One ASGI app per port: the part's own routes, and around them the door, the errors and the questions every part answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from suite.http import alerts, backups, dashboard, embedding, gateway, logs, memory, model, monitoring, retrieval, security, tools, usage, vectors
from suite.http.dashboard import DASHBOARD
from suite.http.guard import Guard
from suite.http.login import Logins
from suite.http.problem import add_problems
from suite.http.short_way import ShortWay
from suite.monitoring.metric import CONTENT_TYPE
from suite.monitoring.probe import Part, State, bad, good, guarded
from suite.monitoring.table import MONITORING

FRONTS = {"security-admin": "mcp-server"}  # a port that is no part of its own, and the part that stands behind it
KNOWING = ("mcp-server", "security-admin")  # the ports that API keys of actors open


class Served(Protocol):
    """What the ports need of a stack."""

    parts: Mapping[str, Part]
    key: Any
    door: Any
    admin: Any
    sessions: Any
    backups: Any
    accounts: Any
    metrics: Any
    monitor: Any
    log: Any
    settings: Any

    def observe(self, target: str, part: str, route: str, status: int, seconds: float) -> None: ...

    def address(self, port: str) -> str: ...

    def status(self) -> dict[str, Any]: ...

    def stop(self) -> None: ...


def apps(stack: Served) -> dict[str, Guard]:
    """The guarded app of each port, by the part's name."""
    parts = stack.parts
    made: dict[str, FastAPI] = {
        "api-gateway": gateway.app(parts["api-gateway"]), "inference-chat": model.app(parts["inference-chat"]),
        "inference-code": model.app(parts["inference-code"]), "embedding": embedding.app(parts["embedding"]),
        "qdrant": vectors.app(parts["qdrant"]), "rag": retrieval.app(parts["rag"]), "memory-api": memory.app(parts["memory-api"]),
        "security-admin": security.app(parts["mcp-server"], stack.admin, stack.sessions),
        "mcp-server": tools.app(parts["mcp-server"], stack.door, stack.settings.bind),
    }
    # browsers send a cookie to all ports of a machine, so its name tells stacks apart
    logins = None if stack.monitor is None else Logins(stack.key.matches, f"suite-{stack.address(DASHBOARD).rpartition(':')[2]}")
    guarded_apps = {name: _guarded(stack, name, app, MONITORING, logins) for name, app in _watching(stack, logins).items()}
    embedding.add_embeddings(made["api-gateway"], parts["embedding"])
    _add_host_routes(made["api-gateway"], stack)
    backups.add_backups(made["api-gateway"], stack.backups)
    usage.add_usage(made["api-gateway"], stack.accounts)
    for name, app in made.items():
        _add_questions(app, name, parts[FRONTS.get(name, name)], stack.metrics)
        guarded_apps[name] = _guarded(stack, name, app, name)
    return guarded_apps


def _watching(stack: Served, logins: Logins | None) -> dict[str, FastAPI]:
    """The ports that are no parts: the log, and where monitoring is on what it saw, the page about it, and what is told."""
    made = {"logs": (logs.app(stack.log), stack.log.ready)}
    if stack.monitor is not None and logins is not None:
        made[MONITORING] = (monitoring.app(stack.monitor, stack.address), stack.monitor.ready)
        made[DASHBOARD] = (dashboard.app(stack.monitor, logins), stack.monitor.ready)
        if stack.settings.alertmanager_enabled:
            made["alerts"] = (alerts.app(stack.monitor.watch), stack.monitor.watch.ready)
    for app, ready in made.values():
        _add_readiness(app, good, ready)
    return {name: app for name, (app, _) in made.items()}


def _guarded(stack: Served, name: str, app: FastAPI, target: str, logins: Logins | None = None) -> Guard:
    """The app behind its door; its requests are counted at that target of whoever scrapes."""
    add_problems(app)
    page = {"signed_in": logins.known, "open_paths": dashboard.OPEN} if logins is not None and name == DASHBOARD else {}
    return Guard(ShortWay(app), name, stack.key.matches, stack.settings.bind, partial(stack.observe, target),
                 stack.door if name in KNOWING else None, **page)


def _add_questions(app: FastAPI, port: str, part: Part, metrics: Any) -> None:
    _add_readiness(app, part.live, part.ready)

    @app.post("/deep")
    def deep(request: Request) -> Response:
        return answer(guarded(part.deep), request)

    @app.get("/metrics")
    def exposition() -> Response:
        return Response(metrics.exposition(port), media_type=CONTENT_TYPE)


def _add_readiness(app: FastAPI, is_live: Callable[[], State], is_ready: Callable[[], State]) -> None:
    @app.get("/live")
    def live(request: Request) -> Response:
        return answer(guarded(is_live), request)

    @app.get("/health")
    def health(request: Request) -> Response:
        return answer(guarded(is_ready), request)


def answer(state: State, request: Request) -> JSONResponse:
    """A State as a response: 200 or 503 with Retry-After; facts only for a caller with the token."""
    body = state.to_dict()
    if not getattr(request.state, "trusted", False):
        body.pop("facts")
    headers = {"Retry-After": str(state.retry_after)} if not state.ok and state.retry_after else None
    return JSONResponse(body, 200 if state.ok else 503, headers=headers)


def _add_host_routes(app: FastAPI, stack: Served) -> None:
    @app.get("/v1/parts")
    def parts() -> dict[str, Any]:
        return stack.status()

    @app.post("/v1/parts/memory-maintainer/deep")
    def maintainer(request: Request) -> Response:
        part = stack.parts.get("memory-maintainer")
        return answer(guarded(part.deep) if part else bad("there is no maintainer in this stack"), request)

    @app.post("/v1/stop")
    def stop() -> dict[str, Any]:
        """End the stack a moment later, so that this answer still leaves."""
        import threading

        threading.Thread(target=stack.stop, name="suite-stop", daemon=True).start()
        return {"stopping": True}
