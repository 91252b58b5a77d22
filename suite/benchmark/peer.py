"""The peers: other servers, each installed into an environment of its own (kept in the cache), for measurements only."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import filelock
import httpx

from suite.benchmark.child import Process
from suite.errors import RunFailed

LITELLM = "litellm[proxy]==1.106.2"  # pinned: releases of March 2026 carried a credential thief
INSTALL_SECONDS, START_SECONDS = 900, 120
COMPLETE = "complete"  # a file that is there once everything is installed


def environment(cache: Path, name: str, requirements: list[str], shared: bool = False) -> Path:
    """The Python of an environment with these packages; with `shared` it also sees what is installed here, so nothing of that is built again.

    Raises RunFailed when pip cannot install them.
    """
    here = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) if shared else []
    digest = hashlib.sha256(json.dumps([requirements, sys.version, sys.prefix, here]).encode()).hexdigest()[:12]
    folder = cache / f"bench-{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with filelock.FileLock(cache / f"{folder.name}.lock", mode=0o600):
            if not (folder / COMPLETE).exists():
                shutil.rmtree(folder, ignore_errors=True)  # half installed, by somebody who was interrupted
                _install(folder, name, requirements, here)
    except OSError as error:
        raise RunFailed(f"{name} cannot be installed: {error}") from error
    return folder / "bin" / "python"


def _install(folder: Path, name: str, requirements: list[str], here: list[str]) -> None:
    venv.create(folder, symlinks=True)
    if here:
        site = next((folder / "lib").glob("python*/site-packages"))
        (site / "shared.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--disable-pip-version-check",
               "--only-binary", ":all:", *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{name} was not installed within {INSTALL_SECONDS} s") from None
    if done.returncode:
        said = [each for each in done.stderr.splitlines() if each.startswith("ERROR")] or done.stderr.strip().splitlines()[-1:]
        raise RunFailed(f"{name} cannot be installed: {' '.join(said)[:300]}")
    (folder / COMPLETE).touch()


def server_extra() -> list[str]:
    """What `llama_cpp.server` needs besides llama_cpp itself."""
    found = importlib.metadata.requires("llama-cpp-python") or []
    return [row.split(";")[0].strip() for row in found if re.search(r"""extra == ["']server["']""", row)]


class LlamaServer(Process):
    """llama-cpp-python's own server with one model; `url` is where it answers."""

    def __init__(self, cache: Path, model: Path, n_ctx: int, n_threads: int, n_batch: int, n_gpu_layers: int) -> None:
        python, port = environment(cache, "llama-server", server_extra(), shared=True), free_port()
        options = {"model": model, "host": "127.0.0.1", "port": port, "n_ctx": n_ctx, "n_threads": n_threads, "n_threads_batch": n_threads,
                   "n_batch": n_batch, "n_ubatch": n_batch, "n_gpu_layers": n_gpu_layers, "interrupt_requests": False, "verbose": False}
        super().__init__("llama_cpp.server", [str(python), "-m", "llama_cpp.server",
                                              *(part for name, value in options.items() for part in (f"--{name}", str(value)))])
        self.url, self.token = f"http://127.0.0.1:{port}", ""


class LiteLlm(Process):
    """The LiteLLM proxy before one upstream. It sees nothing of our environment, so no key, and is told to send nothing out."""

    def __init__(self, cache: Path, scratch: Path, alias: str, upstream: str) -> None:
        python, port = environment(cache, "litellm", [LITELLM]), free_port()
        config = scratch / "litellm.json"  # JSON is YAML
        route = {"model": f"openai/{alias}", "api_base": f"{upstream}/v1", "api_key": "none"}
        self.token = f"sk-{secrets.token_hex(16)}"  # it refuses to start without one; it lives as long as this run
        config.touch(mode=0o600)
        config.write_text(json.dumps({"model_list": [{"model_name": alias, "litellm_params": route}],
                                      "litellm_settings": {"telemetry": False, "num_retries": 0},
                                      "general_settings": {"master_key": self.token}}), encoding="utf-8")
        alone = ["env", "-i", "PATH=/usr/bin:/bin", f"HOME={scratch}", "LANG=C.UTF-8", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR",
                 "NO_DOCS=True", "NO_REDOC=True", "DISABLE_ADMIN_UI=True"]
        super().__init__("the LiteLLM proxy", [*alone, str(python), str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1",
                                               "--port", str(port), "--num_workers", "1", "--telemetry", "False"])
        self.url = f"http://127.0.0.1:{port}"


def await_models(process: Any) -> None:
    """Wait until a peer lists its models. Raises RunFailed when it ends before or takes too long."""

    headers = {"Authorization": f"Bearer {process.token}"} if process.token else {}

    def lists() -> bool:
        try:
            return httpx.get(f"{process.url}/v1/models", headers=headers, timeout=2.0, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    process.wait_until(lists, START_SECONDS)


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
