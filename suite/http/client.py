"""The HTTP client that guests and checks keep: one per port, errors of the host raised as what they were."""

from __future__ import annotations

import json
from typing import Any

import httpx

from suite.errors import HostGone, from_dict
from suite.monitoring.request_context import outgoing

ACCEPTED = 202  # only for what waits for an approval, which is an error here: there is no result yet


class Client(httpx.Client):
    """An httpx client for one base URL; raises our errors for refusals, HostGone when nobody answers."""

    def __init__(self, base_url: str, token: str, timeout: float = 60.0, **more: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Timeout(timeout, connect=3.0)
        super().__init__(base_url=base_url, headers=headers, timeout=limits, trust_env=False, **more)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; raises the SuiteError that the response carries, or HostGone."""
        for name, value in outgoing().items():  # so that the host's lines about it carry the caller's id
            request.headers.setdefault(name, value)
        try:
            response = super().send(request, **options)
        except httpx.TimeoutException as error:
            raise HostGone(f"{self.base_url} did not answer in time ({type(error).__name__}): its process is stopped or overloaded; "
                           "wake or end it, then call suite.start() again.") from error
        except httpx.TransportError as error:
            raise HostGone(f"Nobody answers at {self.base_url} ({error}): the host has ended; "
                           "call suite.start() again, it finds the new host or becomes one.") from error
        if response.is_error or response.status_code == ACCEPTED:
            raise from_dict(_json(response), response.status_code)
        return response


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.read())
    except (ValueError, httpx.TransportError):
        return None
