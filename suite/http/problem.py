"""Every failure of a route as JSON: our errors with their own status, anything else as a 500 without its inside."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from suite.errors import BadRequest, NotFound, SuiteError

log = logging.getLogger("suite.http")


class Problem(JSONResponse):
    """JSON in ASCII: a sentence quotes what was sent, and that may hold characters that UTF-8 has no bytes for."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content).encode("ascii")


def add_problems(app: FastAPI) -> None:
    """Translate exceptions of `app`'s routes; a SuiteError carries its sentence, a bug only its class and a log entry."""

    @app.exception_handler(SuiteError)
    async def _ours(_request: Request, error: SuiteError) -> Problem:
        retry = error.facts.get("retry_after")
        return Problem(error.to_dict(), error.status, headers={"Retry-After": str(int(retry))} if retry else None)

    @app.exception_handler(HTTPException)
    async def _route(request: Request, error: HTTPException) -> Problem:
        kind = NotFound if error.status_code == 404 else BadRequest
        body = kind(f"{request.method} {request.url.path[:200]} is no route of this port ({error.detail}); look at the list in the README.").to_dict()
        if error.status_code == 404 and hasattr(request.app.state, "endpoints"):  # where clients of the original look for them
            body |= {"success": False, "available_endpoints": request.app.state.endpoints()}
        return Problem(body, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _body(_request: Request, error: RequestValidationError) -> Problem:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step != "body") or "body"
        return Problem(BadRequest(f"{where}: {first['msg']}.", param=where).to_dict(), 422)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Problem:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return Problem(SuiteError(f"{type(error).__name__} in {request.url.path}; the log file has the details.").to_dict(), 500)
