"""Tiles in JupyterLab's launcher for two ports of the stack: `jupyter-server-proxy` finds them by entry points, and calls the ports for the browser.

The token is added in the Jupyter server, to each request and only while the stack listens on that very port: no URL and no browser holds it.
"""

from __future__ import annotations

from typing import Any

from suite.host import PORTS, HostRecord, read
from suite.settings import load, package_file

DASHBOARD, METRICS = "dashboard", "monitoring"


def dashboard() -> dict[str, Any]:
    """The entry of the page with the dashboards, port 3001."""
    return _entry(DASHBOARD, "Suite dashboard", "")


def metrics() -> dict[str, Any]:
    """The entry of what is watched and how it is, port 9090."""
    return _entry(METRICS, "Suite targets", "api/v1/targets")


def allowed(handler: Any, host: str) -> bool:
    """The hosts that a Jupyter server may call for a browser, for `c.ServerProxy.host_allowlist`: this machine by its number, no other."""
    return host == "127.0.0.1"


def _entry(part: str, title: str, path: str) -> dict[str, Any]:
    """What jupyter-server-proxy takes: no command, because the stack is started elsewhere; a port, and the headers of each request."""
    port = _port(part)
    name = f"suite-{part}"
    return {"port": port, "request_headers_override": lambda: headers(part, port), "new_browser_tab": True,
            "launcher_entry": {"title": title, "path_info": f"{name}/{path}", "category": "Local AI Suite",
                               "icon_path": str(package_file("kernels/suite/logo-svg.svg"))}}


def headers(part: str, port: int) -> dict[str, str]:
    """What replaces headers of a request to a part: its Host, no cookie of Jupyter's, and the token, if it is our stack that listens there."""
    replaced = {"Host": f"127.0.0.1:{port}", "Cookie": ""}
    record = _record()
    if record is not None and record.alive() and record.ports.get(part) == port:
        replaced["Authorization"] = f"Bearer {record.token()}"
    return replaced


def _port(part: str) -> int:
    """Where the stack that runs has the part, else where the settings say that it will be."""
    record, base = _record(), load().port_base
    if record is not None and part in record.ports:
        return record.ports[part]
    return PORTS[part] + (0 if base == "auto" else int(base))


def _record() -> HostRecord | None:
    return read(load().data_dir / "run")
