"""Notion's tools against a server that answers as Notion's API does: shapes, errors, waiting, and a token that is never told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from notion_stage import DATABASE, MANY, PAGE, SOURCE, TOKEN, Answer, Service, wrong
from tools_stage import set_stage
from web_stage import NO_BROWSER, site

from suite.errors import BadArguments, BadRequest, Denied, NotFound, NotReady, SettingsError, SuiteError, ToolFailed, TooMany, UpstreamError
from suite.tools.builtin.notion import ANSWER_LIMIT, Notion, notion_tools
from suite.tools.builtin.web import WebOptions
from suite.tools.schema import check_arguments
from suite.tools.tool import NOBODY, Watch


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def notion(service: Service) -> Notion:
    return Notion(lambda: TOKEN, WebOptions(), service.url, pause=lambda _: None)


def test_a_page_is_made_in_the_database_under_its_own_name_of_the_title(service: Service, notion: Notion) -> None:
    notion.create_page(DATABASE, "x", NOBODY, {"abc": {"multi_select": []}})  # by its id
    service.asked.clear()
    made = notion.create_page(DATABASE, "새 페이지", NOBODY, {"Tags": {"multi_select": [{"name": "x"}]}})
    assert made == {"page_id": PAGE, "url": "https://notion.test/새 페이지", "title": "새 페이지", "paragraphs": 0}
    assert [one[:2] for one in service.asked] == [("GET", f"/v1/databases/{DATABASE}"), ("GET", f"/v1/data_sources/{SOURCE}"), ("POST", "/v1/pages")]
    assert service.asked[-1][2]["properties"] == {"Tags": {"multi_select": [{"name": "x"}]}, "이름": {"title": [{"type": "text", "text": {"content": "새 페이지"}}]}}


def test_the_id_of_a_data_source_works_too(service: Service, notion: Notion) -> None:
    assert notion.create_page(SOURCE, "x", NOBODY)["page_id"] == PAGE


def test_a_database_of_several_sources_is_refused_with_their_ids(service: Service, notion: Notion) -> None:
    with pytest.raises(BadRequest, match=f"2 data sources.*{SOURCE}.*{PAGE}"):
        notion.create_page(MANY, "x", NOBODY)


@pytest.mark.parametrize("properties", [{"Name": {}}, {"이름": {"title": []}}, {"title": {"title": []}}])
def test_properties_that_the_database_does_not_take_are_refused(service: Service, notion: Notion, properties: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="no property"):
        notion.create_page(DATABASE, "x", NOBODY, properties)
    assert all(method == "GET" for method, _, _ in service.asked)


@pytest.mark.parametrize("database", ["../../v1/users", "x" * 32, "1" * 31, "1" * 33, "11111111-2222-3333-4444-55555555555/", ""])
def test_what_is_no_id_is_never_sent(service: Service, notion: Notion, database: str) -> None:
    with pytest.raises(BadRequest, match="no id"):
        notion.create_page(database, "x", NOBODY)
    assert service.asked == []


def test_pages_and_databases_are_found(service: Service, notion: Notion) -> None:
    found = notion.search("page", NOBODY)
    assert found["count"] == 10 == len(found["results"]) and found["more"]
    assert found["results"][3] == {"id": PAGE, "title": "page 3", "url": "https://notion.test/page 3", "last_edited": "2026-11-28T10:00:00.000Z"}
    assert notion.search("", NOBODY, "database")["results"] == [
        {"id": SOURCE, "title": "할 일", "url": "https://notion.test/d", "last_edited": "2026-11-28T10:00:00.000Z"}]
    assert notion.search("nothing", NOBODY) == {"results": [], "count": 0, "more": False}


def test_the_arguments_are_bounded_by_their_schemas() -> None:
    tools = {tool.name: tool for tool in notion_tools(lambda: TOKEN, WebOptions())}
    assert sorted(tools) == ["notion_create_page", "notion_search", "web_to_notion"]
    for name, arguments in (("notion_search", {"query": "x", "filter_type": "data_source"}), ("notion_create_page", {"database_id": DATABASE, "title": ""}),
                            ("notion_create_page", {"database_id": DATABASE, "title": "x", "properties": "{}"}), ("web_to_notion", {"url": "https://x.test"})):
        with pytest.raises(BadArguments):
            check_arguments(name, tools[name].schema, arguments)


@pytest.mark.parametrize(("answer", "kind", "words"), [
    (wrong(401, "unauthorized", "API token is invalid."), Denied, "NOTION_TOKEN"), (wrong(403, "restricted_resource", "No."), Denied, "capability"),
    (wrong(404, "object_not_found", "Could not find."), NotFound, "not shared"), (wrong(400, "validation_error", "body failed"), BadRequest, "body failed"),
    (wrong(409, "conflict_error", "again"), BadRequest, "again"), (wrong(500, "internal_server_error", "oops"), UpstreamError, "status 500"),
    (wrong(503, "service_unavailable", "down"), UpstreamError, "down"), ((502, {}, b"<html>bad gateway</html>"), UpstreamError, "status 502"),
    ((302, {"Location": "http://127.0.0.1:9/"}, b""), UpstreamError, "status 302"), ((200, {}, b"<html>hello</html>"), UpstreamError, "no JSON object"),
    ((200, {}, []), UpstreamError, "no JSON object"), ((200, {}, {"x": 1}), UpstreamError, "'results'"), ((200, {}, {"results": [7]}), UpstreamError, "'id'"),
    ((200, {}, {"results": [{"id": "x", "url": None}]}), UpstreamError, "'url'"), ((200, {}, b'"' + b"x" * ANSWER_LIMIT + b'"'), UpstreamError, "longer than")])
def test_each_failure_is_one_clear_error(service: Service, notion: Notion, answer: Answer, kind: type[SuiteError], words: str) -> None:
    service.turns = [answer]
    with pytest.raises(kind, match=words) as told:
        notion.search("x", NOBODY)
    assert type(told.value) is kind and "\n" not in str(told.value) and TOKEN not in str(told.value)
    assert len(service.asked) == 1


def test_retry_after_is_honoured_once(service: Service) -> None:
    waits: list[float] = []
    notion = Notion(lambda: TOKEN, WebOptions(), service.url, pause=waits.append)
    service.turns = [wrong(429, "rate_limited", "slow", **{"Retry-After": "3"})]
    assert notion.search("page", NOBODY)["count"] == 10 and waits == [3.0]
    service.turns = [wrong(429, "rate_limited", "slow", **{"Retry-After": "2"}), wrong(429, "rate_limited", "slow", **{"Retry-After": "7"})]
    with pytest.raises(TooMany, match="7 s") as told:
        notion.search("page", NOBODY)
    assert waits == [3.0, 2.0] and told.value.facts["retry_after"] == 7.0


@pytest.mark.parametrize(("header", "waited"), [("600", []), ("nonsense", [1.0]), ("-5", [0.0]), ("nan", [0.0]), ("inf", [])])
def test_a_long_or_odd_retry_after_is_not_waited_for(service: Service, header: str, waited: list[float]) -> None:
    waits: list[float] = []
    service.turns = [wrong(429, "rate_limited", "slow", **{"Retry-After": header})] * 2
    with pytest.raises(TooMany):
        Notion(lambda: TOKEN, WebOptions(), service.url, pause=waits.append).search("page", NOBODY)
    assert waits == waited


def test_without_a_token_the_setting_is_named(service: Service) -> None:
    for token in ("", "  ", "a b", "ab\u00e9", "a\nb"):
        for call in (lambda one: one.search("x", NOBODY), lambda one: one.create_page(DATABASE, "x", NOBODY), lambda one: one.import_page("https://x.test", DATABASE, NOBODY)):
            with pytest.raises(NotReady, match="NOTION_TOKEN") as told:
                call(Notion(lambda token=token: token, WebOptions(), service.url))
            assert not token.strip() or token not in str(told.value)
    assert service.asked == []


def test_a_token_that_changes_is_used_at_once(service: Service) -> None:
    tokens = iter(["old", TOKEN])
    notion = Notion(lambda: next(tokens), WebOptions(), service.url)
    with pytest.raises(Denied):
        notion.search("page", NOBODY)
    assert notion.search("page", NOBODY)["count"] == 10


def test_the_token_is_never_told(service: Service, notion: Notion, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.turns = [wrong(400, "validation_error", f"bad header Bearer {TOKEN}")]
    with pytest.raises(BadRequest) as told:
        notion.search("x", NOBODY)
    assert TOKEN not in str(told.value) and "Bearer …" in str(told.value)
    given = json.dumps([notion.search("page", NOBODY), notion.create_page(DATABASE, "x", NOBODY)])
    assert TOKEN not in given and TOKEN not in caplog.text and TOKEN not in repr(notion) and TOKEN not in repr(notion_tools(lambda: TOKEN, WebOptions()))


def test_a_service_that_cannot_be_reached_is_one_sentence(service: Service, notion: Notion) -> None:
    service.close()
    with pytest.raises(UpstreamError, match="cannot be reached") as told:
        notion.search("x", NOBODY)
    assert TOKEN not in str(told.value) and told.value.__cause__ is None
    with pytest.raises(ToolFailed, match="nobody waits"):
        notion.search("x", Watch(halted=lambda: True))


@pytest.mark.parametrize("url", ["http://notion.example", "ftp://127.0.0.1", "https://user:hunter2@api.notion.com", "api.notion.com", "", "http://127.0.0.1.evil.test"])
def test_the_token_is_sent_over_tls_or_to_this_machine_only(url: str) -> None:
    with pytest.raises(SettingsError, match="https") as told:
        Notion(lambda: TOKEN, WebOptions(), url)
    assert "hunter2" not in str(told.value)


def test_a_refused_call_leaves_no_token_in_the_audit(service: Service, tmp_path: Any) -> None:
    stage = set_stage(tmp_path)
    for tool in notion_tools(lambda: TOKEN, WebOptions(), service.url):
        stage.tools.register(tool)
    service.turns = [wrong(400, "validation_error", f"Bearer {TOKEN}")]
    with pytest.raises(SuiteError):
        stage.tools.call("notion_search", {"query": "x"})
    assert TOKEN not in "".join(str(event) for event in stage.audit.tail(10))
    stage.storage.close()


@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_a_web_page_becomes_a_page_of_notion(service: Service) -> None:
    page = "<h1> 제목\n 하나 </h1><h1>second</h1><p></p>" + "".join(f"<p>{n} {'가' * 3000}</p>" for n in range(8))
    with site({"/": page, "/none": "<p>x</p>"}) as made:
        notion = Notion(lambda: TOKEN, WebOptions(allowed=(made.place,)), service.url)
        done = notion.import_page(f"{made.url}/", DATABASE, NOBODY)
        assert done["title"] == "제목 하나" and done["paragraphs"] == 5
        assert [block["paragraph"]["rich_text"][0]["text"]["content"][:3] for block in service.asked[-1][2]["children"]] == [f"{n} 가" for n in range(5)]
        asked = len(service.asked)
        calls: list[Callable[[], Any]] = [lambda: notion.import_page(f"{made.url}/none", DATABASE, NOBODY), lambda: notion.import_page("file:///etc/passwd", DATABASE, NOBODY)]
        for call, kind in zip(calls, (BadRequest, Denied), strict=True):
            with pytest.raises(kind):
                call()
        assert len(service.asked) == asked
