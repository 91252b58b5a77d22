"""A short way to routes that are asked all the time: FastAPI's layers would cost more than what these answer."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.routing import APIRoute

from suite.monitoring.table import MONITORING

SCRAPED = frozenset({"/metrics", f"/metrics/{MONITORING}"})


class ShortWay:
    """ASGI layer around an app: a GET of what whoever scrapes asks for is answered by the route's function, in a thread.

    Such a function takes nothing and gives a Response. Where it fails, the app is asked, which tells of errors as it does for all its routes.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._routes = {route.path: route for route in app.routes if isinstance(route, APIRoute) and route.path in SCRAPED}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await run_sync(route.endpoint)
        except Exception:  # noqa: BLE001 - whatever it is, the app meets it again and answers for it
            await self.app(scope, receive, send)
            return
        scope["route"] = route  # by which the request is counted
        await response(scope, receive, send)
