"""Model servers over the real llama.cpp and the bundled model, and relatives of that model that misbehave."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from suite.http.serve import HttpServers, bind
from suite.serving.catalog import profile
from suite.serving.server import ModelServer
from suite.settings import load


def smoke_server(folder: Path, role: str = "chat", **settings: object) -> ModelServer:
    """A server that is not loaded yet; keywords are settings."""
    read = load({"data_dir": str(folder / "data"), **settings}, environ={}, cwd=folder)
    return ModelServer(f"inference-{role}", role, read, folder / "models", folder / "cache", getattr(profile("smoke"), role))


def smoke_maker() -> ModuleType:
    """tests/random_smoke.py as a module: it is imported here, because gguf is heavy."""
    import random_smoke

    return random_smoke


def endless(folder: Path, models_dir: Path) -> dict[str, str]:
    """The environment of a stack whose models never end a reply by themselves, with a context that takes a while to fill."""
    maker = smoke_maker()
    maker.CONTEXT = 32768
    maker.write(folder / "endless.gguf")
    return {"DATA_DIR": str(folder / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "CHAT_MODEL": str(folder / "endless.gguf"),
            "CODE_MODEL": str(folder / "endless.gguf"), "LLAMA_CTX": "32768", "LLM_REQUEST_TIMEOUT": "600", "WORKSPACE_DIR": str(folder),
            "HOME": str(folder), "IPYTHONDIR": str(folder)}


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """An app on a free port, by the uvicorn that the suite itself uses; gives the base URL."""
    sock, servers = bind("127.0.0.1", 0, "a test"), HttpServers()
    servers.start({"a test": (sock, app)})
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        servers.stop()
