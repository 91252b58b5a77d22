"""Usage on the gateway's port: single requests, requests added up, and what they suggest. No text of anybody is in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query

from suite.usage.frame import MOST_ROWS, AccountsFace

Since = Annotated[float, Query(ge=0, le=1e11)]


def add_usage(app: FastAPI, accounts: AccountsFace) -> None:
    """The routes below /v1/usage; `since` is in UTC seconds, `by` names keys with commas between them."""

    @app.get("/v1/usage")
    def requests(since: Since = 0.0, n: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 1000) -> dict[str, Any]:
        return {"rows": accounts.requests(since, n)}

    @app.get("/v1/usage/summary")
    def summary(by: str, since: Since = 0.0) -> dict[str, Any]:
        return {"rows": accounts.summary(since, by.split(","))}

    @app.get("/v1/usage/advice")
    def advice(since: Since = 0.0) -> dict[str, Any]:
        return {"rows": accounts.advice(since)}
