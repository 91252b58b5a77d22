"""Port 3001: the dashboards as a plain page, for people without Jupyter who sign in with the token. Nothing is fetched from elsewhere."""

from __future__ import annotations

import time
from importlib import resources
from typing import Any, Protocol
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response

from suite import __version__
from suite.errors import BadRequest, SettingsError
from suite.http.login import MOST_BYTES, Logins
from suite.http.monitoring import as_json
from suite.monitoring.chart import step_for
from suite.monitoring.dashboard import Line
from suite.monitoring.probe import State
from suite.monitoring.rule import parse_duration

DASHBOARD = "dashboard"
OPEN = frozenset({"/", "/login", "/dashboard.js", "/dashboard.css"})  # paths that hold no numbers
_KINDS = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
                               "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
}
_WRONG = '<p class="wrong" role="alert">That is not the token of this stack. A stack that was started again has a new one.</p>'


class Shown(Protocol):
    """The monitoring of a stack."""

    @property
    def interval(self) -> float:
        """Seconds between two rounds."""

    def dashboards(self) -> list[dict[str, Any]]:
        """What there is to see."""

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]:
        """The lines of a panel."""

    def ready(self) -> State:
        """Whether it works."""


def app(monitor: Shown, logins: Logins) -> FastAPI:
    """The app; the door in front of it lets `OPEN` and who signed in through."""
    served = FastAPI(title=DASHBOARD, docs_url=None, redoc_url=None, openapi_url=None)
    _add_pages(served, logins)

    @served.get("/api/dashboards")
    def dashboards() -> dict[str, Any]:
        return {"version": __version__, "dashboards": monitor.dashboards()}

    @served.get("/api/dashboards/{uid}/panels/{id}/data")
    def data(uid: str, id: int, since: str = "1h") -> dict[str, Any]:
        """The lines of a panel from `since` ago until now, times in UTC seconds. Values that are not finite are text."""
        back, end = _seconds(since), time.time()
        step = step_for(back, monitor.interval)
        lines = monitor.chart(uid, id, end - int(back / step) * step, end, step)  # the last moment is now
        return {"begin": end - back, "end": end, "step": step, "lines": [as_json(line) for line in lines]}

    return served


def _add_pages(served: FastAPI, logins: Logins) -> None:
    @served.get("/")
    def page(request: Request) -> Response:
        return _file("dashboard.html") if getattr(request.state, "trusted", False) else _sign_in("")

    @served.get("/dashboard.js")
    def script() -> Response:
        return _file("dashboard.js")

    @served.get("/dashboard.css")
    def style() -> Response:
        return _file("dashboard.css")

    @served.post("/login")
    async def login(request: Request) -> Response:
        """Take the token from a form; never from an address, where it would be noted and kept."""
        cookie = logins.open(parse_qs((await _body(request)).decode("utf-8", "replace")).get("token", [""])[0].strip())
        return _sign_in(_WRONG, 401) if cookie is None else _home(cookie)

    @served.post("/logout")
    def logout(request: Request) -> Response:
        return _home(logins.close(request.headers.get("cookie", "")))


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise BadRequest(f"The form is longer than {MOST_BYTES} bytes; send the token alone.", param="token")
    return body


def _home(cookie: str) -> Response:
    """Back to the page, by an address that also holds behind a proxy's prefix."""
    return Response(status_code=303, headers={**_HEADERS, "Location": "./", "Set-Cookie": cookie})


def _sign_in(said: str, status: int = 200) -> Response:
    return Response(_text("login.html").replace("<!-- said -->", said), status, headers=_HEADERS, media_type=_KINDS["html"])


def _file(name: str) -> Response:
    return Response(_text(name), headers=_HEADERS, media_type=_KINDS[name.rpartition(".")[2]])


def _text(name: str) -> str:
    return resources.files("suite.http").joinpath("page", name).read_text(encoding="utf-8")


def _seconds(since: str) -> float:
    try:
        return parse_duration(since)
    except SettingsError as error:
        raise BadRequest(f"since is {since[:40]!r} but must be a duration such as 15m or 24h.", param="since") from error
