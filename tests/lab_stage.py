"""A JupyterLab of its own for tests, and a real Chromium that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TOKEN = "a-token-of-this-test"
SECONDS = 120
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},  # what is out of sight is drawn too
}


@contextmanager
def lab(home: Path, env: dict[str, str], theme: str = "JupyterLab Light", *flags: str, program: str = "jupyterlab") -> Iterator[str]:
    """JupyterLab, or another server `program`, on the folder `home / "work"`; gives its base URL. All that it keeps lies below `home`."""
    settings = {**SETTINGS, "apputils-extension/themes": {"theme": theme}}
    for name, values in settings.items():
        file = home / "lab" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    runtime = home / "runtime"
    places = {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "share"),
              "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTERLAB_SETTINGS_DIR": str(home / "lab"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
              "JUPYTER_TOKEN": TOKEN}
    command = [sys.executable, "-m", program, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
               f"--ServerApp.root_dir={home / 'work'}", "--KernelManager.transport=ipc", *flags]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **env, **places}, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            yield _address(server, runtime, home / "lab.log")
        finally:
            server.send_signal(signal.SIGTERM)  # it ends its kernels
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while True:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        for file in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(file.read_text())["url"]).rstrip("/")
                if httpx.get(f"{url}/api/status", params={"token": TOKEN}, trust_env=False).is_success:
                    return url
            except (ValueError, httpx.HTTPError):
                pass  # it is still being written, or the server does not listen yet
        time.sleep(0.05)


@contextmanager
def browser(width: int = 1340, height: int = 1000) -> Iterator[Any]:
    """A page of a Chromium without a window; what a page logs as an error is in `page.troubles`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(SECONDS * 1000)
        try:
            yield page
        finally:
            chromium.close()


def run_all(page: Any, url: str, notebook: str) -> None:
    """Open a notebook and run all of its cells; wait until the last one has ended."""
    page.goto(f"{url}/lab/tree/{notebook}?token={TOKEN}")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").first.wait_for()
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last
    page.wait_for_function("prompt => /\\d/.test(prompt.textContent)", arg=last.element_handle())
