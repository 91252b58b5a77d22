"""What of a stack can be listened to or read from elsewhere, as its settings and keys have it; looked at afresh each time."""

from __future__ import annotations

import ipaddress
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from suite.settings import secrets

if TYPE_CHECKING:
    from suite.access.apikey import ApiKey
    from suite.settings import Settings

TOLD = ("prometheus_url", "alertmanager_url", "models_dir", "database_url", "serving_isolation", "reports_dir")  # what the host says of its settings
URLS = ("alertmanager_url", "prometheus_url", "alert_webhook_url", "loki_url", "otel_exporter_otlp_endpoint", "database_url", "qdrant_url",
        "rag_dask_url", "hf_endpoint", "notion_url")
ENCRYPTED = ("https", "tls", "ssl", "wss")
SSL_MODES = ("require", "verify-ca", "verify-full")  # those in which PostgreSQL's client refuses a connection in the clear
DAY = 86_400


def exposure(settings: Settings, keys: Iterable[ApiKey]) -> dict[str, Any]:
    """`links`: what leaves this machine, `{name, encrypted}` each, no address; `keys`: how many open something and the age in days of the oldest
    (None when there is none); `secret_files`: files of settings that hold a secret and that others may read.
    """
    now = time.time()
    ages = [(now - key.created) / DAY for key in keys if key.usable(now)]
    known = {"usable": len(ages), "oldest_days": round(max(ages), 3) if ages else None}
    return {"links": links(settings), "keys": known, "secret_files": _loose(settings)}


def links(settings: Settings) -> list[dict[str, Any]]:
    """Each connection by which something leaves this machine, and whether it is encrypted; addresses stay out of it, some are secret."""
    found = [] if _local(settings.bind) else [{"name": "bind", "encrypted": False}]  # the ports speak plain HTTP
    for name in URLS:
        found += [{"name": name, "encrypted": one} for one in _leaving(str(getattr(settings, name) or ""))]
    if settings.smtp_host and settings.smtp_to and not _local(settings.smtp_host):
        found.append({"name": "smtp_host", "encrypted": settings.smtp_starttls})
    for name, url in _upstreams(settings.api_gateway_upstreams).items():
        found += [{"name": f"api_gateway_upstreams {name}", "encrypted": one} for one in _leaving(url)]
    return found


def _leaving(url: str) -> list[bool]:
    """Whether a URL's connection is encrypted; nothing for one that stays on this machine, or is empty."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return [False] if url else []
    if not url or not host or _local(host):  # a URL without a host is a file, or a socket of this machine
        return []
    if parts.scheme.startswith("postgres"):
        return [parse_qs(parts.query).get("sslmode", [""])[-1] in SSL_MODES]
    return [parts.scheme.partition("+")[0] in ENCRYPTED]


def _local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _upstreams(file: Path | None) -> dict[str, str]:
    """The addresses in the gateway's file of model servers; the gateway itself has refused one that cannot be read."""
    if not file:
        return {}
    try:
        servers = tomllib.loads(file.read_text(encoding="utf-8")).get("servers", {})
    except (OSError, ValueError):
        return {str(file): "unreadable://since.the.start"}
    return {name: str(table.get("url", "")) for name, table in servers.items() if isinstance(table, dict)}


def _loose(settings: Settings) -> list[str]:
    """Files of settings in which a secret stands and whose mode lets others read them."""
    files = {settings.source[name] for name in secrets() if getattr(settings, name)}
    return sorted(file for file in files if Path(file).is_file() and Path(file).stat().st_mode & 0o077)
