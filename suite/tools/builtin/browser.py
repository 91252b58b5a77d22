"""One visit of a page by a headless Chromium whose only way out is the proxy."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import psutil

from suite.errors import BadRequest, Denied, NotReady, SuiteError, TimedOut, ToolFailed
from suite.tools.builtin.address import Addresses
from suite.tools.builtin.proxy import Proxy
from suite.tools.tool import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

T = TypeVar("T")
LOOK = 0.05  # seconds between two looks at whether anybody still waits
ENDING = 30.0  # seconds in which a browser that was ended must be gone
NAMES = ("chromium", "chromium-browser", "google-chrome")
# what would reach the network past the proxy: QUIC, WebRTC over UDP, names that the browser resolves itself
_FLAGS = ("--disable-quic", "--webrtc-ip-handling-policy=disable_non_proxied_udp", "--dns-prefetch-disable",
          "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--deny-permission-prompts", "--disable-gpu")
# the same once more, where versions that do not know the flag look for it
_PREFERENCES = {"webrtc": {"ip_handling_policy": "disable_non_proxied_udp", "multiple_routes_enabled": False, "nonproxied_udp_enabled": False}}


@dataclass(frozen=True)
class WebOptions:
    """Settings of the web tools: the browser's program ("" finds one), places that may be reached though not public, seconds of one call."""

    executable: str = ""
    allowed: tuple[str, ...] = ()
    seconds: float = 60.0


class Facts(TypedDict):
    """Where a page ended up, its title, and its HTTP status."""

    url: str
    title: str
    status: int


class Visit:
    """An open page, and the time that is left for it."""

    def __init__(self, page: Page, addresses: Addresses, proxy: Proxy, until: float) -> None:
        self.page, self.status, self._addresses, self._proxy, self._until = page, 0, addresses, proxy, until
        self._last = ""
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.is_navigation_request() and request.frame == self.page.main_frame:
            self._last = request.url

    def left(self, most: float = float("inf")) -> float:
        """Milliseconds for the next step."""
        return max(0.001, min(most, self._until - time.monotonic())) * 1000

    def open(self, url: str) -> None:
        """Go to a URL and wait until it is loaded."""
        response = self.page.goto(url, wait_until="load", timeout=self.left())
        self.status = response.status if response else 0
        self.check()

    def appears(self, selector: str, seconds: float) -> bool:
        """Whether an element matches within some seconds; raises BadRequest for a selector that cannot be read."""
        from playwright.sync_api import Error, TimeoutError

        try:
            self.page.locator(selector).first.wait_for(state="attached", timeout=self.left(seconds))
        except TimeoutError:
            return False
        except Error as error:
            if "selector" not in str(error) and "Unknown engine" not in str(error):
                raise
            raise BadRequest(f"The selector {selector[:80]!r} cannot be read; write a CSS selector such as `main h2`.", param="selector") from None
        return True

    def facts(self) -> Facts:
        """Where the page ended up."""
        return {"url": self.page.url[:4096], "title": self.page.title()[:1000], "status": self.status}

    def check(self) -> None:
        """Raise unless the page is one of the web that may be reached: a redirect or a click may have led elsewhere."""
        if (refused := self.refusal()) is not None:
            raise refused
        if not self.page.url.startswith(("http://", "https://")):
            raise Denied(f"The page led to {self.page.url[:80]!r}, which is not of the web; tools look at http and https only.", param="url")

    def refusal(self) -> SuiteError | None:
        """Why the proxy did not reach the page that was last asked for; None when it did."""
        if not self._last.startswith(("http://", "https://")):
            return None
        with suppress(BadRequest):
            return self._proxy.refused.get(self._addresses.target(self._last).place)
        return None


class _Work:
    """The thread that drives the browser: Playwright's calls must all come from one, without an event loop of its own."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.done, self.value, self.error = threading.Event(), None, None  # type: ignore[var-annotated]
        self._run = run
        self.thread = threading.Thread(target=self._drive, name="suite-web", daemon=True)
        self.thread.start()

    def _drive(self) -> None:
        try:
            self.value = self._run()
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, which raises it
            self.error = error
        finally:
            self.done.set()


def visit(tool: str, options: WebOptions, watch: Watch, url: str, look: Callable[[Visit], T], width: int = 1280, height: int = 720) -> T:
    """Open a page in a fresh browser, let `look` look at it, and leave nothing behind.

    Raises Denied for addresses that may not be reached, NotReady without a browser, TimedOut, and ToolFailed for pages that fail.
    """
    addresses = Addresses(options.allowed)
    addresses.check(url)
    executable = _executable(options)
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        raise NotReady('The web tools need Playwright; run `pip install "local-ai-suite[web]"`.', part="mcp-server", retry_after=60) from None
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="suite-web-") as folder, Proxy(addresses, seconds=options.seconds) as proxy:
        work = _Work(lambda: _drive(Path(folder), executable, addresses, proxy, until, url, look, width, height))
        ended = _wait(work, tool, watch, until)
        if ended is not None:
            _end(work, folder)
            raise ended
        work.thread.join(ENDING)
        if work.error is not None:
            raise _told(work.error, tool, options)
        return work.value  # type: ignore[return-value]


def _wait(work: _Work, tool: str, watch: Watch, until: float) -> ToolFailed | None:
    """Wait for the work; gives why it must be ended, if so."""
    while not work.done.wait(LOOK):
        if watch.halted():
            return ToolFailed(f"{tool} was ended, since nobody waits for it any longer; call it again.", tool=tool)
        if time.monotonic() > until:
            return TimedOut(f"{tool} was ended because the page took too long; try a lighter page, or raise WEB_SECONDS.", tool=tool)
    return None


def _end(work: _Work, folder: str) -> None:
    """End the browser under the work, which then fails; a page that computes forever cannot be asked."""
    until = time.monotonic() + ENDING
    while True:
        family = _family(folder)
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=ENDING)
        if work.done.wait(LOOK) or time.monotonic() > until:
            work.thread.join(ENDING)
            return


def _family(folder: str) -> list[psutil.Process]:
    """The processes of the browser whose profile is in a folder."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(folder in word for word in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return list(dict.fromkeys(found))


def _drive(folder: Path, executable: str, addresses: Addresses, proxy: Proxy, until: float, url: str, look: Callable[[Visit], T], width: int,
           height: int) -> T:
    from playwright.sync_api import Error, sync_playwright

    (folder / "profile" / "Default").mkdir(parents=True)
    (folder / "profile" / "Default" / "Preferences").write_text(json.dumps(_PREFERENCES), encoding="utf-8")
    (folder / "artifacts").mkdir()  # the driver's own temporary folder outlives a browser that is ended
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", artifacts_dir=folder / "artifacts", executable_path=executable, headless=True, args=list(_FLAGS),
            ignore_default_args=["--disable-popup-blocking"], timeout=max(1.0, until - time.monotonic()) * 1000,
            chromium_sandbox=os.geteuid() != 0,  # the browser's own sandbox does not start for root
            env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, "LANG": "C.UTF-8"},  # none of this process's secrets
            proxy={"server": proxy.url, "username": proxy.user, "password": proxy.password, "bypass": "<-loopback>"},
            viewport={"width": width, "height": height}, accept_downloads=False, service_workers="block")
        try:
            visit = Visit(context.pages[0], addresses, proxy, until)
            try:
                visit.open(url)
                return look(visit)
            except Error:
                if (refused := visit.refusal()) is not None:
                    raise refused from None
                raise
        finally:
            context.close()


def _executable(options: WebOptions) -> str:
    """The browser's program; raises NotReady with the next step."""
    if options.executable:
        found = shutil.which(options.executable)
        if found is None:
            raise NotReady(f"WEB_BROWSER names {options.executable[:200]!r}, which is not a program; name an installed Chromium.", part="mcp-server",
                           retry_after=60)
        return found
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    raise NotReady("The web tools need a browser; run `apt install chromium`, or name one in WEB_BROWSER.", part="mcp-server", retry_after=60)


def _told(error: BaseException, tool: str, options: WebOptions) -> BaseException:
    """An error of the browser as one sentence; our own as they are."""
    from playwright.sync_api import Error, TimeoutError

    if not isinstance(error, Error):
        return error
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")[:200]
    if isinstance(error, TimeoutError):
        return TimedOut(f"{tool} was ended because the page took too long ({first}); check the selector, or raise WEB_SECONDS ({options.seconds:g}).",
                        tool=tool)
    return ToolFailed(f"{tool} could not do that with the page ({first}); check the URL and the selectors.", tool=tool)
