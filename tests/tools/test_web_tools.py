"""The web tools in a real Chromium: what they give, and that neither a page nor a caller leads them to another place."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from web_stage import NO_BROWSER, Site, site

from suite.errors import BadArguments, BadRequest, Denied, NotReady, SettingsError, TimedOut, ToolFailed
from suite.tools.builtin import browser
from suite.tools.builtin.address import Addresses
from suite.tools.builtin.browser import Visit, visit
from suite.tools.builtin.web import DATA_LIMIT, Web, WebOptions, _answer, web_tools
from suite.tools.schema import check_arguments
from suite.tools.tool import NOBODY, Watch

pytestmark = pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
HOME = """<!doctype html><title>시험 페이지</title><style>body {color: rgb(1, 2, 3); background: rgb(250, 251, 252); font-family: Serif}
h1 {color: rgb(200, 0, 0); font-family: Monospace}</style><header><nav><a href="/next">next</a><a>none</a></nav></header>
<main><h1>안녕</h1><p class="x">one</p><p class="x">two <b>bold</b></p><img src="/pic.png" alt="A"></main>
<form><input id="name"><button type="button" onclick="document.querySelector('#out').textContent = 'hello ' + document.querySelector('#name').value">go</button></form>
<p id="out"></p><script>setTimeout(() => document.body.insertAdjacentHTML("beforeend", "<i id='late'>late</i>"), 300)</script>"""


@pytest.fixture
def home() -> Iterator[Site]:
    with site({"/": HOME, "/moved": (302, {"Location": "/"}, b""), "/next": "<title>next</title><h1>next page</h1>"}) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No browser and no profile outlives a call."""
    with tempfile.TemporaryDirectory(prefix="sw-") as own:  # not below tmp_path: the browser's socket needs a short path
        monkeypatch.setattr(tempfile, "tempdir", own)
        yield
        assert [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()] == []
        assert os.listdir(own) == []


def web(*sites: Site, **options: Any) -> Web:
    return Web(WebOptions(allowed=tuple(made.place for made in sites), **options))


def test_a_screenshot_is_a_png_of_the_window(home: Site) -> None:
    async def inside_a_loop() -> Any:  # as a notebook's kernel calls it
        return web(home).screenshot(f"{home.url}/moved", NOBODY, width=400, height=300)

    seen = asyncio.run(inside_a_loop())
    image = b64decode(seen["image"])
    assert image[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", image[16:24]) == (400, 300) and seen["size"] == len(image)
    assert (seen["title"], seen["url"], seen["status"]) == ("시험 페이지", f"{home.url}/", 200)


def test_texts_links_and_attributes_are_read(home: Site) -> None:
    tools, url = web(home), f"{home.url}/"
    found = tools.scrape_all("web_scrape", url, {"p.x": 1000, "#none": 1000, "#late": 5}, NOBODY)
    assert [(one["data"], one["count"], one["cut"]) for one in found] == [(["one", "two bold"], 2, False), ([], 0, False), (["late"], 1, False)]
    assert tools.scrape(url, "a, img", NOBODY, attribute="href")["data"] == [f"{home.url}/next", "", None]


def test_how_a_page_is_made_is_told(home: Site) -> None:
    made = web(home).analyze_ui(f"{home.url}/", NOBODY)
    assert made["title"] == "시험 페이지" and made["body"]["color"] == "rgb(1, 2, 3)" and made["body"]["background"] == "rgb(250, 251, 252)"
    assert made["layout"] | {"headings": 1, "links": 1, "buttons": 1, "inputs": 1, "images": 1, "nav": 1, "main": 1} == made["layout"]
    assert {"rgb(1, 2, 3)", "rgb(200, 0, 0)"} <= set(made["colors"]) and len(made["colors"]) <= 10
    assert [font.lower() for font in made["fonts"]] == ["serif", "monospace"] or "monospace" in map(str.lower, made["fonts"])


def test_steps_are_made_one_after_the_other(home: Site) -> None:
    done = web(home).automate(f"{home.url}/", [
        {"type": "fill", "selector": "#name", "value": "세계"}, {"type": "click", "selector": "button"}, {"type": "wait", "selector": "#late"},
        {"type": "screenshot"}, {"type": "wait", "seconds": 0}, {"type": "click", "selector": "nav a"}, {"type": "screenshot"}], NOBODY)
    assert done["done"] == 7 and [picture["step"] for picture in done["screenshots"]] == [3, 6]
    assert all(b64decode(picture["image"]).startswith(b"\x89PNG") for picture in done["screenshots"])
    assert done["url"] == f"{home.url}/next" and done["title"] == "next"


def test_a_list_of_places_that_cannot_be_read_is_told_before_any_call() -> None:
    with pytest.raises(SettingsError, match="WEB_ALLOWED"):
        web_tools(WebOptions(allowed=("http://x/",)))


def test_the_tools_are_offered_with_their_schemas() -> None:
    tools = {tool.name: tool for tool in web_tools(WebOptions())}
    assert sorted(tools) == ["web_analyze_ui", "web_automate", "web_scrape", "web_screenshot"]
    for arguments in ({"url": "x", "width": 319}, {"url": "x", "width": 3841}, {"url": "x", "height": 239}, {"url": "x", "height": 2161}, {}):
        with pytest.raises(BadArguments):
            check_arguments("web_screenshot", tools["web_screenshot"].schema, arguments)
    for actions in ([{"type": "hover"}], [{"selector": "a"}], [{"type": "click", "url": "file:///etc/passwd"}], '[{"type": "click"}]'):
        with pytest.raises(BadArguments):
            check_arguments("web_automate", tools["web_automate"].schema, {"url": "x", "actions": actions})


@pytest.mark.parametrize(("actions", "word"), [
    ([], "1 to 50"), ([{"type": "wait", "seconds": 0}] * 51, "1 to 50"), ([{"type": "screenshot"}] * 6, "5 screenshots"), ([{"type": "goto", "value": "file:///etc/passwd"}], "unknown type"),
    ([{"type": "click"}], "'selector'"), ([{"type": "fill", "selector": "a"}], "'value'"), ([{"type": "wait"}], "'seconds'")])
def test_steps_that_cannot_be_made_are_refused_before_a_browser_starts(home: Site, actions: Any, word: str) -> None:
    with pytest.raises(BadRequest, match=word):
        web(home).automate(f"{home.url}/", actions, NOBODY)
    assert home.seen == []


def test_a_selector_that_cannot_be_read_and_an_element_that_is_not_there(home: Site) -> None:
    with pytest.raises(BadRequest, match="selector"):
        web(home).scrape(f"{home.url}/", "p[[", NOBODY)
    with pytest.raises(TimedOut, match="selector"):
        web(home).automate(f"{home.url}/", [{"type": "wait", "selector": "#never", "seconds": 0.1}], NOBODY)


def test_much_data_is_cut_and_says_so() -> None:
    with site({"/": "<p>x</p>" * 1500 + f"<b>{'가' * 200_000}</b><b>{'가' * 200_000}</b>"}) as made:
        many, big = web(made).scrape_all("web_scrape", f"{made.url}/", {"p": 1000, "b": 1000}, NOBODY)
    assert len(many["data"]) == 1000 and many["count"] == 1500 and many["cut"]
    assert len(big["data"]) == 1 and big["count"] == 2 and big["cut"] and len(str(big["data"][0]).encode()) <= DATA_LIMIT


def test_a_page_that_bends_its_own_scripts_is_an_answer_or_an_error_not_a_crash() -> None:
    bend = "<p>x</p><script>Array.prototype.slice = () => 7; Array.prototype.map = () => 8; Map.prototype.set = () => {throw 1}</script>"
    with site({"/": bend}) as made:
        try:
            assert isinstance(web(made).scrape(f"{made.url}/", "p", NOBODY)["data"], list)
        except ToolFailed as error:
            assert "\n" not in str(error)
    for odd in (None, 8, [], {}, {"body": 1, "layout": {}, "colors": [], "fonts": []}, {"body": {}, "layout": {}, "colors": ["x" * DATA_LIMIT], "fonts": []}):
        with pytest.raises(ToolFailed, match="do not let it"):
            _answer(odd)


# ---- where they may not go ----


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:text/html,x", "javascript:alert(1)", "about:blank", "chrome://version", "http://127.0.0.1:9/", "http://localhost/",
                                 "http://[::1]/", "http://2130706433/", "http://0x7f.1/", "http://169.254.169.254/latest/meta-data/", "http://u:p@example.org/"])
def test_no_browser_starts_for_a_url_that_may_not_be_opened(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "_drive", lambda *_: pytest.fail("a browser was started"))
    tools = web()
    for call in (lambda: tools.screenshot(url, NOBODY), lambda: tools.scrape(url, "p", NOBODY), lambda: tools.analyze_ui(url, NOBODY),
                 lambda: tools.automate(url, [{"type": "screenshot"}], NOBODY)):
        with pytest.raises(Denied):
            call()


def ways_out(place: str, udp: int) -> str:
    """A page that tries every way to another place and says when all have been tried."""
    port = place.partition(":")[2]
    return f"""<!doctype html><title>ways</title><base target="_self">
<link rel="preconnect" href="http://{place}/preconnect"><link rel="dns-prefetch" href="http://{place}/"><link rel="prefetch" href="http://{place}/prefetch">
<link rel="stylesheet" href="http://{place}/style.css"><link rel="preload" as="script" href="http://{place}/preload.js">
<iframe src="http://{place}/frame"></iframe><iframe src="file:///etc/passwd" id="file"></iframe><iframe src="/redirect"></iframe>
<iframe src="http://localhost:{port}/frame"></iframe><iframe src="http://[::1]:{port}/frame"></iframe><iframe src="http://[::ffff:127.0.0.1]:{port}/frame"></iframe>
<iframe src="view-source:file:///etc/passwd"></iframe><object data="http://{place}/object"></object><embed src="http://{place}/embed">
<img src="http://{place}/img"><img src="http://2130706433:{port}/img"><img src="http://0x7f.1:{port}/img"><img src="file:///etc/passwd"><video src="http://{place}/video"></video>
<script src="http://{place}/script.js"></script><script>
window.open("http://{place}/popup");
const soon = promise => Promise.race([promise, new Promise(done => setTimeout(done, 1500))]).then(() => "", () => "");
const tries = [
  () => fetch("http://{place}/fetch", {{mode: "no-cors"}}), () => fetch("/redirect"), () => fetch("file:///etc/passwd"),
  () => new Promise(done => {{ const x = new XMLHttpRequest(); x.onloadend = done; x.open("GET", "http://{place}/xhr"); x.send(); }}),
  () => new Promise(done => {{ const s = new WebSocket("ws://{place}/socket"); s.onclose = s.onopen = done; }}),
  () => new Promise(done => {{ const s = new EventSource("http://{place}/events"); s.onerror = () => {{ s.close(); done(); }}; }}),
  () => navigator.sendBeacon("http://{place}/beacon", "x"),
  () => navigator.serviceWorker.register("/worker.js"),
  () => new WebTransport("https://127.0.0.1:{udp}/").ready,
  () => new Promise(done => {{
    const c = new RTCPeerConnection({{iceServers: [{{urls: "stun:127.0.0.1:{udp}"}}, {{urls: "turn:127.0.0.1:{udp}?transport=udp", username: "u", credential: "c"}},
      {{urls: "turn:{place}?transport=tcp", username: "u", credential: "c"}}]}});
    c.createDataChannel("x"); c.onicegatheringstatechange = () => c.iceGatheringState === "complete" && done();
    c.createOffer().then(offer => c.setLocalDescription(offer)); }}),
];
Promise.all(tries.map(one => {{ try {{ return soon(Promise.resolve(one())); }} catch (error) {{ return ""; }} }})).then(() => document.body.insertAdjacentHTML("beforeend", "<i id='done'>done</i>"));
</script>"""


def all_that_is_there(seen: Visit) -> tuple[str, list[str]]:
    """The title, and the URL of every frame once all ways out have been tried."""
    assert seen.appears("#done", 20)
    return seen.page.title(), [frame.url for frame in seen.page.frames]


@pytest.fixture
def inner() -> Iterator[Site]:
    """A service of the machine that nobody listed."""
    with site({"/": "<title>inner</title>hunter2", "/frame": "hunter2"}) as made:
        yield made


def test_a_page_reaches_no_other_place_by_any_way(inner: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, site({}) as outer:
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        outer.pages |= {"/": ways_out(inner.place, udp.getsockname()[1]), "/redirect": (302, {"Location": f"http://{inner.place}/redirected"}, b""), "/worker.js": "x"}
        title, frames = visit("x", WebOptions(allowed=(outer.place,)), NOBODY, f"{outer.url}/", all_that_is_there)
        assert title == "ways" and "/redirect" in outer.seen and "/worker.js" not in outer.seen
        assert len(frames) > 5 and not any(url.startswith(("file:", "view-source:")) for url in frames)
        assert inner.seen == []
        with pytest.raises(BlockingIOError):
            udp.recv(1000)


def test_the_same_page_does_reach_a_listed_place(inner: Site) -> None:
    with site({}) as outer:
        outer.pages |= {"/": ways_out(inner.place, 9), "/redirect": (302, {"Location": f"http://{inner.place}/redirected"}, b"")}
        _, frames = visit("x", WebOptions(allowed=(outer.place, inner.place)), NOBODY, f"{outer.url}/", all_that_is_there)
        assert f"{inner.url}/frame" in frames and {"/frame", "/img", "/fetch", "/xhr", "/socket", "/events", "/redirected", "/script.js"} <= set(inner.seen)


@pytest.mark.parametrize("status", [302, 308])
def test_a_redirect_to_an_unlisted_place_is_denied(inner: Site, status: int) -> None:
    with site({"/": (status, {"Location": f"{inner.url}/"}, b"")}) as outer, pytest.raises(Denied, match="public internet"):
        web(outer).scrape(f"{outer.url}/", "body", NOBODY)
    assert inner.seen == []


def test_a_click_to_an_unlisted_place_is_denied_and_one_to_a_file_goes_nowhere(inner: Site) -> None:
    page = f"<title>links</title><a id='inner' href='{inner.url}/'>x</a><br><a id='file' href='file:///etc/passwd'>y</a><br><input type='file' id='up'>"
    with site({"/": page}) as outer:
        with pytest.raises(Denied, match="public internet"):
            web(outer).automate(f"{outer.url}/", [{"type": "click", "selector": "#inner"}, {"type": "wait", "seconds": 0.2}], NOBODY)
        steps = [{"type": "click", "selector": "#file"}, {"type": "wait", "seconds": 0.2}, {"type": "fill", "selector": "#up", "value": "/etc/passwd"}]
        with pytest.raises(ToolFailed):  # the click led nowhere, which would be Denied, and a file cannot be filled in
            web(outer).automate(f"{outer.url}/", steps, NOBODY)
    assert inner.seen == []


def test_a_name_that_answers_differently_the_second_time_is_denied(inner: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.215.14"]])
    monkeypatch.setattr(browser, "Addresses", lambda allowed: Addresses(allowed, lambda *_: next(answers, ["127.0.0.1"])))
    with pytest.raises(Denied, match=r"rebind\.example:\d+' is not an address of the public internet"):
        web().scrape(f"http://rebind.example:{inner.port}/", "body", NOBODY)
    assert inner.seen == []


def test_a_name_is_resolved_by_the_proxy_and_a_listed_one_is_reached(inner: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "Addresses", lambda allowed: Addresses(allowed, lambda *_: ["127.0.0.1"]))
    tools = Web(WebOptions(allowed=(f"listed.example:{inner.port}",)))
    assert tools.scrape(f"http://listed.example:{inner.port}/", "body", NOBODY)["data"] == ["hunter2"]


def test_a_place_that_does_not_answer_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ToolFailed, match="does not answer"):
        Web(WebOptions(allowed=(place,))).scrape(f"http://{place}/", "p", NOBODY)


def test_a_site_whose_certificate_nobody_signed_is_not_opened(tmp_path: Path) -> None:
    with site({"/": "hunter2"}) as made:
        made.encrypt(tmp_path)
        with pytest.raises(ToolFailed, match="ERR_CERT_AUTHORITY_INVALID"):  # so the tunnel stood, and the other end was looked at
            web(made).scrape(f"https://{made.place}/", "body", NOBODY)
        assert made.seen == []


# ---- bounds ----


def test_a_page_that_computes_forever_is_ended_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER", "hunter2")
    pages = {"/": "<p>x</p><script>addEventListener('load', () => fetch('/loops').then(() => { for (;;); }))</script>"}
    environments: list[dict[str, str]] = []

    with site(pages) as made:
        def halted() -> bool:
            if "/loops" not in made.seen:
                return False
            environments.extend(process.environ() for process in psutil.Process().children(recursive=True)
                                if any("--user-data-dir" in word for word in process.cmdline()))
            return True

        with pytest.raises(ToolFailed, match="nobody waits"):
            web(made).automate(f"{made.url}/", [{"type": "wait", "seconds": 30}, {"type": "screenshot"}], Watch(halted=halted))
    assert environments and not any("HUNTER" in environment for environment in environments)


def test_a_page_that_does_not_come_is_ended_after_its_time() -> None:
    with site({"/": None}) as made, pytest.raises(TimedOut, match="took too long"):
        web(made, seconds=3.0).screenshot(f"{made.url}/", NOBODY)


def test_downloads_popups_and_dialogs_leave_nothing(tmp_path: Path) -> None:
    page = "<title>noise</title><script>alert(1); window.open('/popup'); onload = () => setTimeout(() => { location = '/file'; }, 1)</script><i id='x'>x</i>"
    with site({"/": page, "/file": (200, {"Content-Disposition": "attachment; filename=evil.sh", "Content-Type": "application/x-sh"}, b"evil")}) as made:
        done = web(made).automate(f"{made.url}/", [{"type": "wait", "seconds": 0.3}], NOBODY)
        assert done["url"] == f"{made.url}/" and "/popup" not in made.seen
    assert not list(tmp_path.rglob("evil*"))


# ---- what must be there ----


def test_without_a_browser_or_playwright_the_next_step_is_told(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotReady, match="WEB_BROWSER"):
        web(home, executable="/nonexistent/chromium").scrape(f"{home.url}/", "p", NOBODY)
    with monkeypatch.context() as patch, pytest.raises(NotReady, match=r"pip install \"local-ai-suite\[web\]\""):
        patch.setitem(sys.modules, "playwright.sync_api", None)
        web(home).scrape(f"{home.url}/", "p", NOBODY)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReady, match="apt install chromium"):
        web(home).scrape(f"{home.url}/", "p", NOBODY)


def test_a_program_that_is_no_browser_is_one_sentence(home: Site) -> None:
    with pytest.raises(ToolFailed) as told:
        web(home, executable="/bin/false").scrape(f"{home.url}/", "p", NOBODY)
    assert "\n" not in str(told.value)
