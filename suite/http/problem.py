"""Every failure of a route as JSON: our errors with their own status, anything else as a 500 without its inside."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from suite.errors import BadRequest, SuiteError

log = logging.getLogger("suite.http")


def add_problems(app: FastAPI) -> None:
    """Translate exceptions of `app`'s routes; a SuiteError carries its sentence, a bug only its class and a log entry."""

    @app.exception_handler(SuiteError)
    def _ours(_request: Request, error: SuiteError) -> JSONResponse:
        retry = error.facts.get("retry_after")
        return JSONResponse(error.to_dict(), error.status, headers={"Retry-After": str(int(retry))} if retry else None)

    @app.exception_handler(RequestValidationError)
    def _body(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step != "body") or "body"
        return JSONResponse(BadRequest(f"{where}: {first['msg']}.", param=where).to_dict(), 422)

    @app.exception_handler(Exception)
    def _bug(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse(SuiteError(f"{type(error).__name__} in {request.url.path}; the log file has the details.").to_dict(), 500)
