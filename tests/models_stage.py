"""Model servers over the real llama.cpp and the bundled model, and relatives of that model that misbehave."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from suite.http.serve import HttpServers, bind
from suite.serving.catalog import profile
from suite.serving.server import ModelServer
from suite.settings import load, package_file


def smoke_server(folder: Path, role: str = "chat", **settings: object) -> ModelServer:
    """A server that is not loaded yet; keywords are settings."""
    read = load({"data_dir": str(folder / "data"), **settings}, environ={}, cwd=folder)
    return ModelServer(f"inference-{role}", role, read, folder / "models", folder / "cache", getattr(profile("smoke"), role))


def smoke_maker() -> ModuleType:
    """models/make_smoke.py as a module."""
    spec = importlib.util.spec_from_file_location("make_smoke", package_file("models/make_smoke.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """An app on a free port, by the uvicorn that the suite itself uses; gives the base URL."""
    sock, servers = bind("127.0.0.1", 0, "a test"), HttpServers()
    servers.start({"a test": (sock, app)})
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        servers.stop()
