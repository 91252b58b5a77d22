"""The stack under test, seen from outside: base URLs, a token and one kept HTTP client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from suite.checks.surroundings import Surroundings
from suite.errors import BadRequest, NotReady, UpstreamError

PORTS = {"mcp-server": 8020, "api-gateway": 8000, "rag": 8002, "embedding": 8003, "inference-chat": 8001, "inference-code": 8004,
         "qdrant": 6333, "memory-api": 8005}
NINE = (*PORTS, "memory-maintainer")
WATCHING = {"monitoring": 9090, "alerts": 9093, "logs": 3100, "dashboard": 3001}  # the ports of monitoring, which are none of the nine


@dataclass(frozen=True)
class ExpectedModel:
    """The file that a server's profile asks for; an empty field is not compared."""

    file: str = ""
    sha256: str = ""


@dataclass
class Target:
    """One stack. `urls` maps a part to its base URL; `profile` is the one it should run; `expected` the model per server.

    `owned` says that this process started the stack, so that a missing route of ours is a fault, not a foreign make. `clock` gives seconds.
    `folder` is where a check may put a document for the stack to read; None is the system's place for temporary files. `ci_result` is the file
    in which another job left what came of the tests; None when nobody named one. `surroundings` is the
    machine. `load` holds what a runbook was told about the load that it makes, by name; `evidence` is the folder for raw files that are kept.
    """

    urls: Mapping[str, str]
    token: str = ""
    profile: str = ""
    aliases: tuple[str, ...] = ("chat-7b", "code-7b")
    expected: Mapping[str, ExpectedModel] = field(default_factory=dict)
    owned: bool = False
    timeout: float = 60.0
    transport: httpx.BaseTransport | None = None
    clock: Callable[[], float] = time.perf_counter
    folder: Path | None = None
    ci_result: Path | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)
    load: Mapping[str, Any] = field(default_factory=dict)
    evidence: Path | None = None

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        # one client for all parts, kept: building one costs 36 ms; no proxy may stand between a check and the stack
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(self.timeout, connect=3.0), trust_env=False, transport=self.transport)
        self._foreign: bool | None = None
        self._plain: httpx.Client | None = None

    def call(self, method: str, part: str, path: str, **options: Any) -> httpx.Response:
        """Send one request to a part; any status is returned.

        Raises NotReady when nobody answers, BadRequest when the part has no URL.
        """
        if part not in self.urls:
            example = f'{{"{part}": "http://127.0.0.1:{(PORTS | WATCHING).get(part, 8000)}"}}'
            raise BadRequest(f"There is no URL for {part}; name it in base_urls, as in {example}.")
        url = self.urls[part].rstrip("/") + path
        try:
            return self._client.request(method, url, **options)
        except httpx.HTTPError as error:
            raise NotReady(f"{part} does not answer {method} {url} ({type(error).__name__}: {error}); start it, or correct base_urls.",
                           part=part) from error

    def call_other(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send one request as anybody would, without token and cookies: to the stack's Prometheus, or to see whether a door opens.

        Raises NotReady when nobody answers.
        """
        if self._plain is None:
            self._plain = httpx.Client(timeout=httpx.Timeout(self.timeout, connect=3.0), trust_env=False, transport=self.transport)
        self._plain.cookies.clear()
        try:
            return self._plain.request(method, url, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotReady(f"Nothing answers {method} {url} ({type(error).__name__}: {error}); start it, or correct the setting.") from error

    def json(self, method: str, part: str, path: str, **options: Any) -> Any:
        """The JSON body of a 2xx answer; raises UpstreamError with status and body for any other."""
        return told(self.call(method, part, path, **options), f"{part} answered {method} {path}")

    def parts(self) -> dict[str, Any] | None:
        """The host's own record of its parts (`GET /v1/parts`), or None on a stack that is not ours."""
        response = self.call("GET", "api-gateway", "/v1/parts")
        if response.status_code in (404, 405) and not self.owned:
            self._foreign = True
            return None
        if not response.is_success:
            raise UpstreamError(f"api-gateway answered GET /v1/parts with status {response.status_code}: {response.text[:300]}")
        self._foreign = False
        return response.json()

    @property
    def foreign(self) -> bool:
        """Whether the stack is of another make. While its gateway is down nobody knows, and it is held to our full surface."""
        if self._foreign is None:
            try:
                self.parts()
            except (NotReady, UpstreamError, BadRequest):
                return False
        return bool(self._foreign)

    def ready(self, part: str, *paths: str) -> tuple[bool, str]:
        """Whether the part says that it would serve now, on the first of `paths` that exists (default /health), and its reasons."""
        for path in paths or ("/health",):
            response = self.call("GET", part, path)
            if response.status_code == 404:
                continue
            body = _body(response)
            reasons = body.get("reasons") or [] if isinstance(body, dict) else []
            return response.status_code == 200, "; ".join(map(str, reasons)) or (f"status {response.status_code}" if response.is_error else "")
        return False, f"{part} has none of the routes {', '.join(paths or ('/health',))}"

    def deep(self, part: str) -> tuple[bool | None, str]:
        """The part's own deep answer, and its reasons; None where a foreign stack has no such route."""
        response = self.call("POST", part, "/deep")
        if response.status_code in (404, 405) and self.foreign:
            return None, "this stack has no POST /deep; what is observed from outside decides"
        body = _body(response)
        said = body if isinstance(body, dict) else {}
        why = "; ".join(map(str, said.get("reasons") or [])) or f"status {response.status_code}"
        return response.status_code == 200 and said.get("ok") is True, why

    def close(self) -> None:
        """Close the clients."""
        self._client.close()
        if self._plain is not None:
            self._plain.close()


def told(response: httpx.Response, who: str) -> Any:
    """The JSON body of a 2xx answer; raises UpstreamError with status and body for any other."""
    if not response.is_success:
        raise UpstreamError(f"{who} with status {response.status_code}: {response.text[:300]}")
    try:
        return response.json()
    except ValueError as error:
        raise UpstreamError(f"{who} with a body that is no JSON: {response.text[:300]}") from error


def read_urls(value: Any) -> dict[str, str]:
    """Base URLs from a dict, its JSON text (papermill's -p gives text), or one address whose parts listen on the usual ports.

    Raises BadRequest for an unknown part or a value that is no URL.
    """
    if "@" in str(value):  # URLs are kept in the report
        raise BadRequest("base_urls holds a user name or password; put the access token in an environment variable and name it in token_env.")
    if isinstance(value, str) and value.strip().startswith(("http://", "https://")):
        address = value.strip().rstrip("/")
        return {part: f"{address}:{port}" for part, port in (PORTS | WATCHING).items()}
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError:
            example = '{"api-gateway": "http://127.0.0.1:8000"}'
            raise BadRequest(f"base_urls is {value!r} but must be JSON such as {example}, or one address.") from None
    if not isinstance(value, Mapping):
        raise BadRequest(f"base_urls is {value!r} but must map a part to its base URL.")
    for part, url in value.items():
        if part not in PORTS | WATCHING or not str(url).startswith(("http://", "https://")):
            raise BadRequest(f"base_urls has {part!r}: {url!r} but must map one of {', '.join(PORTS | WATCHING)} to a URL that starts with http.")
    return {str(part): str(url) for part, url in value.items()}


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
