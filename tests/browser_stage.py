"""A real headless Chromium for tests, on a page whose console is watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def page(said: list[str], scheme: str = "light", width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A new page; `said` gets the errors and warnings of its console, what its script throws, and each address outside this machine that it asks for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, chromium_sandbox=os.geteuid() != 0, args=["--disable-gpu"])
        try:
            opened = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}).new_page()
            opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
            opened.on("pageerror", lambda error: said.append(str(error)))
            opened.on("request", lambda request: None if request.url.startswith(("http://127.0.0.1:", "data:")) else said.append(request.url))
            yield opened
        finally:
            browser.close()
