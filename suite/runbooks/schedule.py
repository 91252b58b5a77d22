"""A job definition at a Jupyter server that has jupyter-scheduler: which checks run there, and when.

The REST API: https://jupyter-scheduler.readthedocs.io/en/latest/developers/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx

from suite.errors import BadRequest, Denied, NotFound, UpstreamError
from suite.runbooks.expected import PHASES
from suite.runbooks.nightly import NOTEBOOK, PARAMETERS, notebook

NAME = "suite nightly"
SECONDS = 30.0  # for one answer of the server
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Scheduled:
    """A job definition: `schedule` is a crontab line in `timezone`, `made` whether it is new, `url` the server."""

    id: str
    name: str
    schedule: str
    timezone: str
    active: bool
    parameters: Mapping[str, str]
    url: str
    made: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


class Scheduler:
    """The scheduler of one Jupyter server.

    Every call raises UpstreamError when the server cannot be asked, Denied when it does not know the token.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"token {token}"} if token else {}, timeout=SECONDS, trust_env=False)

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def nightly(self, at: str, timezone: str, parameters: Mapping[str, Any], folder: str = "") -> Scheduled:
        """Have the release check run every day at `at` (HH:MM in `timezone`); a definition that is there already is changed.

        `folder` is where below the server's root the notebook is put. Raises BadRequest for a time, a zone or a parameter that there is not,
        NotFound for a server without jupyter-scheduler or a folder that is not there.
        """
        schedule, zone = _crontab(at), _zone(timezone)
        given = _literals(parameters)
        environment = self._environment()
        place = self._put(folder)
        body = {"name": NAME, "input_uri": place, "runtime_environment_name": environment, "output_formats": ["ipynb"], "parameters": given,
                "schedule": schedule, "timezone": zone}
        there = next((row for row in self.list() if row.name == NAME), None)
        if there is None:
            made = str(self._ask("POST", "/scheduler/job_definitions", body)["job_definition_id"])
        else:
            made = there.id
            # it leaves a definition alone whose schedule and file are the same, whatever its parameters; one that is woken up it takes over whole
            self._ask("PATCH", f"/scheduler/job_definitions/{quote(made)}", {"active": False})
            self._ask("PATCH", f"/scheduler/job_definitions/{quote(made)}", {**body, "active": True})
        found = self._one(self._ask("GET", f"/scheduler/job_definitions/{quote(made)}"))
        return Scheduled(**{**asdict(found), "made": there is None})

    def list(self) -> list[Scheduled]:
        """The job definitions that this command made."""
        rows = self._ask("GET", f"/scheduler/job_definitions?name={quote(NAME)}").get("job_definitions") or []
        return [self._one(row) for row in rows if row.get("name") == NAME]

    def remove(self) -> int:
        """Take the definitions away that this command made, and the scheduler's list of their jobs; gives how many. Sealed reports stay."""
        found = self.list()
        for row in found:
            self._ask("DELETE", f"/scheduler/job_definitions/{quote(row.id)}")
        return len(found)

    def _one(self, row: Mapping[str, Any]) -> Scheduled:
        return Scheduled(str(row["job_definition_id"]), str(row["name"]), str(row.get("schedule") or ""), str(row.get("timezone") or "UTC"),
                         bool(row.get("active")), dict(row.get("parameters") or {}), self.url)

    def _environment(self) -> str:
        """The name of the environment that jobs run in."""
        rows = self._ask("GET", "/scheduler/runtime_environments")
        names = [str(row["name"]) for row in rows if "ipynb" in row.get("file_extensions", [])]
        if not names:
            raise NotFound(f"The scheduler of {self.url} knows no environment that runs notebooks; see its settings.")
        return names[0]

    def _put(self, folder: str) -> str:
        """Put the notebook below the server's root; gives its path there."""
        if folder and self._client.get(f"/api/contents/{quote(folder)}", params={"content": 0}).status_code == 404:
            raise NotFound(f"The Jupyter server {self.url} has no folder {folder!r}; make it, or name another one with --folder.")
        place = "/".join(part for part in (*folder.split("/"), NOTEBOOK) if part)
        self._ask("PUT", f"/api/contents/{quote(place)}", {"type": "notebook", "format": "json", "content": notebook()})
        return place

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise UpstreamError(f"The Jupyter server {self.url} does not answer ({type(error).__name__}: {error}); is it running?") from error
        if answer.status_code in (401, 403):
            raise Denied(f"The Jupyter server {self.url} does not accept the token; name the environment variable that holds it with --token-env.")
        if answer.status_code == 404 and path.startswith("/scheduler"):
            raise NotFound(f"The Jupyter server {self.url} has no scheduler that runs; `pip install 'local-ai-suite[schedule]'` there and "
                           "restart it, or see its log.")
        if not answer.is_success:
            raise UpstreamError(f"The Jupyter server {self.url} refused {method} {path} with {answer.status_code}: {_message(answer)}")
        return answer.json() if answer.content else {}


def servers() -> list[tuple[str, str]]:
    """URL and token of each Jupyter server of this user that runs on this machine."""
    import psutil
    from jupyter_core.paths import jupyter_runtime_dir

    found = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        try:
            body = json.loads(file.read_bytes())
            if psutil.pid_exists(int(body["pid"])):
                found.append((str(body["url"]), str(body.get("token") or "")))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is being written, or of another make
    return found


def choose(url: str, token: str) -> tuple[str, str]:
    """The server that is meant: the one named, else the only one that runs here. Raises NotFound for none, BadRequest for several."""
    running = servers()
    if url:
        known = next((secret for one, secret in running if one.rstrip("/") == url.rstrip("/")), "")
        return url, token or known
    if not running:
        raise NotFound("No Jupyter server of yours runs on this machine; start `jupyter lab`, or name one with --server URL.")
    if len(running) > 1:
        raise BadRequest(f"{len(running)} Jupyter servers run here ({', '.join(one for one, _ in running)}); name one with --server URL.")
    return running[0][0], token or running[0][1]


def _crontab(at: str) -> str:
    found = _TIME.fullmatch(at.strip())
    if not found:
        raise BadRequest(f"{at!r} is no time of day; write it as HH:MM, such as 02:00.", param="at")
    return f"{int(found.group(2))} {int(found.group(1))} * * *"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadRequest(f"There is no time zone {name!r}; write it as Asia/Seoul or UTC.", param="timezone") from error
    return name


def _literals(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The scheduler writes `name = text` into a cell: each value goes there as Python that can mean nothing else."""
    unknown = [name for name in parameters if name not in PARAMETERS]
    if unknown:
        raise BadRequest(f"The nightly check has no parameter {unknown[0]!r}; it has {', '.join(PARAMETERS)}.")
    strange = [name for name in parameters.get("phases", ()) if name not in PHASES]
    if strange:
        raise BadRequest(f"A release has no phase {strange[0]!r}; it has {', '.join(PHASES)}.")
    return {name: repr(value) for name, value in parameters.items()}


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message"))[:300]
    except (ValueError, AttributeError):
        return answer.text[:300]
