"""Port 3001 in a real browser: who does not know the token sees nothing, who does sees charts with data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import browser_stage
import httpx
import pytest
from openai_stage import until
from web_stage import NO_BROWSER

import suite
from suite.bench import Bench
from suite.http.login import MOST, Logins

BOARDS = {"ai-suite-overview": 6, "ai-suite-rbac": 5, "ai-suite-approvals": 5, "ai-suite-sla": 5}
SHOTS = os.environ.get("DASHBOARD_SHOTS")  # a folder for screenshots, for whoever wants to look


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("page")
    (home / "note.md").write_text("The tide tables of Norwick harbour are kept in a green ledger.\n")
    opened = suite.start(data_dir=home / "data", models_dir=models_dir, workspace_dir=home, rag_roots=str(home), port_base="auto", monitoring_interval=1)
    opened.collection("notes").add(str(home / "note.md"))
    opened.tools.call("list_files", path=".")
    yield opened
    opened.stop()


@pytest.fixture
def url(bench: Bench) -> str:
    return bench._behind.record.url("dashboard")


def token(bench: Bench) -> str:
    return bench._behind.record.token()


@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_right_token_shows_six_charts_with_data_and_the_wrong_one_nothing(bench: Bench, url: str, scheme: str) -> None:
    until(lambda: all(len(bench.monitoring.chart("AI Suite Overview", panel, "15m")) for panel in range(1, 7)))
    said: list[str] = []
    with browser_stage.page(said, scheme) as page:
        page.goto(url)
        page.fill("#token", "not the token")
        page.click("text=Sign in")
        assert "That is not the token of this stack" in page.inner_text("[role=alert]") and page.locator("section").count() == 0
        assert len(said) == 1 and "401" in said.pop(), "the browser's own word about the refusal"
        page.fill("#token", token(bench))
        page.click("text=Sign in")
        page.wait_for_selector("section")
        assert page.url == url + "/" and token(bench) not in page.content()
        for panel in range(1, 7):
            page.wait_for_selector(f"#panel-{panel}[data-lines]:not([data-lines='0'])", timeout=60_000)
        assert page.locator(".states li").count() >= 19 and page.locator(".states b.good").count() >= 19
        for panel in range(2, 7):
            assert page.locator(f"#panel-{panel} path.line").count() >= 1, panel
        assert page.locator("#panel-6 .limit").count() == 1
        used = float(page.inner_text("#panel-5 .legend b").split()[0])
        assert 0 < used < 100
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/overview-{scheme}.png", full_page=True)
        for board, panels in list(BOARDS.items())[1:]:
            page.click(f"#board-{board}")
            page.wait_for_selector(f"#board-{board}[aria-current]")
            for panel in range(1, panels + 1):
                page.wait_for_selector(f"#panel-{panel}[data-lines]")
            assert page.locator("section").count() == panels
            if SHOTS:
                page.screenshot(path=f"{SHOTS}/{board}-{scheme}.png", full_page=True)
        page.click("#board-ai-suite-rbac")
        page.wait_for_selector("#panel-3 circle.slice")  # one call, and it was allowed
        page.wait_for_selector("#panel-5 .bar")
        assert {"guest", "developer", "admin"} <= set(page.inner_text("#panel-5").split())
        page.click("text=Sign out")
        page.wait_for_selector("#token")
    assert said == []


@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_charts_are_drawn_anew_by_themselves_and_say_when_nobody_answers(bench: Bench, url: str) -> None:
    until(lambda: len(bench.monitoring.chart("AI Suite Overview", 6, "15m")) > 0)
    with browser_stage.page([]) as page:
        page.add_init_script("const given = setTimeout; window.setTimeout = (call, ms) => given(call, ms === 15000 ? 1500 : ms);")  # a tenth
        page.goto(url)
        page.fill("#token", token(bench))
        page.click("text=Sign in")
        page.wait_for_selector("#panel-6 path.line", timeout=60_000)
        before = page.inner_text("#state")
        with page.expect_response(lambda answer: "/panels/6/data" in answer.url):
            pass  # it comes by itself
        page.wait_for_selector(f"#state:not(:text-is({before!r}))")
        page.route("**/data?*", lambda route: route.fulfill(status=503, json={"message": "The history cannot be read."}))
        page.wait_for_selector("#state.wrong")
        assert page.inner_text("#state") == "No news: The history cannot be read." and page.locator("#panel-6 path.line").count() == 1


def test_numbers_need_the_token_or_a_session_and_no_session_comes_from_elsewhere(bench: Bench, url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/health").status_code == 200 and "Sign in" in client.get("/").text
        for path in ("/api/dashboards", "/api/dashboards/ai-suite-sla/panels/1/data", "/live", "/nothing"):
            assert client.get(path).status_code == 401, path
            assert client.get(path, params={"token": token(bench)}).status_code == 401, "never by an address"
        with_token = client.get("/api/dashboards", headers={"Authorization": f"Bearer {token(bench)}"}).json()["dashboards"]
        assert [(one["uid"], len(one["panels"])) for one in with_token] == list(BOARDS.items())
        assert client.post("/login", data={"token": token(bench)}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.post("/login", data={"token": token(bench)}, headers={"Host": "evil.example"}).status_code == 421
        assert client.post("/login", data={"token": token(bench)[:-1]}).status_code == 401 and not client.cookies
        assert client.post("/login", content=b"token=" + b"x" * 5000).status_code == 400
        answer = client.post("/login", data={"token": token(bench)})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 303 and {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; ")) and token(bench) not in cookie
        assert client.get("/api/dashboards").json()["dashboards"] == with_token
        assert client.get("/api/dashboards", headers={"Origin": "http://evil.example"}).status_code == 403
        page = client.get("/")
        assert "dashboard.js" in page.text and "script-src 'self'" in page.headers["content-security-policy"] and page.headers["cache-control"] == "no-store"
        elsewhere = bench._behind.record.url("monitoring") + "/api/v1/dashboards"
        assert httpx.get(elsewhere, cookies=dict(client.cookies), trust_env=False).status_code == 401, "a session opens this port alone"
        kept = dict(client.cookies)
        assert client.post("/logout").status_code == 303
        assert httpx.get(url + "/api/dashboards", cookies=kept, trust_env=False).status_code == 401, "a session that was ended is no more"


def test_the_data_of_a_panel_ends_now_and_has_the_range_that_was_asked_for(bench: Bench, url: str) -> None:
    until(lambda: len(bench.monitoring.chart("AI Suite Overview", 6, "15m")) > 0)
    with httpx.Client(base_url=url, trust_env=False, headers={"Authorization": f"Bearer {token(bench)}"}) as client:
        body = client.get("/api/dashboards/ai-suite-overview/panels/6/data", params={"since": "15m"}).json()
        assert body["end"] - body["begin"] == pytest.approx(900) and body["step"] == 4
        assert body["lines"][0]["name"] == "processor" and body["lines"][0]["times"][-1] == pytest.approx(body["end"], abs=1e-3)
        for since, status in (("soon", 400), ("", 400), ("0s", 200)):
            answer = client.get("/api/dashboards/ai-suite-overview/panels/6/data", params={"since": since})
            assert answer.status_code == status, since
        assert client.get("/api/dashboards/nothing/panels/1/data").status_code == 400
        assert client.get("/api/dashboards/ai-suite-sla/panels/9/data").status_code == 400


def test_sessions_end_by_themselves_and_are_bounded() -> None:
    now = [0.0]
    logins = Logins(lambda token: token == "right", "suite-1", lambda: now[0])
    assert logins.open("wrong") is None and not logins.known("") and not logins.known("suite-1=") and not logins.known("a\x00;=;")
    first = logins.open("right").split(";")[0]
    assert logins.known(first) and logins.known(f"other=1; {first}") and not logins.known(first.replace("suite-1", "suite-2"))
    now[0] = 12 * 3600
    assert not logins.known(first)
    ids = [logins.open("right").split(";")[0] for _ in range(MOST + 1)]
    assert not logins.known(ids[0]) and logins.known(ids[1]) and logins.known(ids[-1]) and len(set(ids)) == MOST + 1
    logins.close(ids[-1])
    assert not logins.known(ids[-1]) and logins.known(ids[1])
