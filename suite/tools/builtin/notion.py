"""Tools over Notion's API: find pages, make pages, and put what a web page says into one."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict
from urllib.parse import urlsplit

from suite.errors import BadRequest, Denied, NotFound, NotReady, SettingsError, SuiteError, ToolFailed, TooMany, UpstreamError
from suite.tools.builtin.browser import WebOptions
from suite.tools.builtin.web import Web
from suite.tools.tool import Tool, Watch, tool_of

if TYPE_CHECKING:
    import httpx

VERSION = "2026-03-11"  # of the API, sent with every request: databases hold data sources, and pages are made in those
URL = "https://api.notion.com"
SECONDS = 30.0  # of one request
ANSWER_LIMIT = 5_000_000  # bytes of one answer
RESULTS = 10
PATIENCE = 30.0  # the longest wait that Notion may ask for
TEXT_LIMIT = 2000  # characters of one text, Notion's own bound
PARAGRAPHS = 5
_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_DATABASE = {"description": "The id of a database, or of one of its data sources, as 32 hexadecimal digits.", "minLength": 32, "maxLength": 36}
_TITLE = {"description": "The title of the page.", "minLength": 1, "maxLength": TEXT_LIMIT}
_PROPERTIES = {"description": "Further properties by name, in the shape of Notion's API."}
_SELECTOR = {"description": "A CSS selector.", "minLength": 1, "maxLength": 1000}


class Found(TypedDict):
    """A page, or a data source of a database."""

    id: str
    title: str
    url: str
    last_edited: str


class Results(TypedDict):
    """At most 10 results; `more` when Notion has more."""

    results: list[Found]
    count: int
    more: bool


class Created(TypedDict):
    """A page that was made, of `paragraphs` paragraphs."""

    page_id: str
    url: str
    title: str
    paragraphs: int


class Notion:
    """Notion's API at `url`, spoken with the token that a callable gives at each call."""

    def __init__(self, token: Callable[[], str], web: WebOptions, url: str = URL, pause: Callable[[float], None] = time.sleep) -> None:
        self._token, self._web, self._url, self._pause = token, Web(web), url.rstrip("/"), pause
        _refuse_plain(self._url)

    def create_page(self, database_id: Annotated[str, _DATABASE], title: Annotated[str, _TITLE], watch: Watch,
                    properties: Annotated[dict[str, Any] | None, _PROPERTIES] = None) -> Created:
        """Make a page in a Notion database, with a title and further properties."""
        return self._create("notion_create_page", database_id, title, properties or {}, [], watch)

    def search(self, query: Annotated[str, {"maxLength": 1000}], watch: Watch, filter_type: Literal["page", "database"] = "page") -> Results:
        """Find pages or databases of Notion by their titles (at most 10)."""
        kind = "data_source" if filter_type == "database" else "page"
        body = {"query": query, "filter": {"property": "object", "value": kind}, "page_size": RESULTS}
        answer = self._ask("notion_search", watch, "POST", "/v1/search", body)
        rows = _field(answer, "results", list)[:RESULTS]
        found: list[Found] = [{"id": _field(row, "id", str), "title": _title(row), "url": _field(row, "url", str),
                               "last_edited": _field(row, "last_edited_time", str)} for row in rows]
        return {"results": found, "count": len(found), "more": bool(answer.get("has_more"))}

    def import_page(self, url: Annotated[str, {"description": "An http or https URL of the public web.", "minLength": 1, "maxLength": 4096}],
                    database_id: Annotated[str, _DATABASE], watch: Watch, title_selector: Annotated[str, _SELECTOR] = "h1",
                    content_selector: Annotated[str, _SELECTOR] = "p") -> Created:
        """Put the title and the first paragraphs of a web page into a new page of a Notion database."""
        self._secret()  # without one, no browser is started
        seen = self._web.scrape_all("web_to_notion", url, {title_selector: 1, content_selector: 4 * PARAGRAPHS}, watch)
        titles, texts = ([text.strip() for text in one["data"] if text and text.strip()] for one in (seen[0], seen[-1]))
        if not titles:
            raise BadRequest(f"The page has no text at {title_selector[:80]!r}; name a selector of its title.", param="title_selector")
        return self._create("web_to_notion", database_id, " ".join(titles[0].split())[:TEXT_LIMIT], {}, texts, watch)

    # ---- the API ----

    def _create(self, tool: str, database_id: str, title: str, properties: dict[str, Any], texts: list[str], watch: Watch) -> Created:
        source = self._source(tool, database_id, watch)
        schema = _field(source, "properties", dict)
        name = next((name for name, row in schema.items() if isinstance(row, dict) and row.get("type") == "title"), None)
        if name is None:
            raise UpstreamError("Notion named no title property of the database; look at it in Notion.", tool=tool)
        takes = {word for other, row in schema.items() if other != name for word in (other, row.get("id") if isinstance(row, dict) else other)}
        if unknown := sorted(set(properties) - takes):
            raise BadRequest(f"The database takes no property {unknown[0][:80]!r} beside its title; it has {', '.join(sorted(schema))[:300]}.",
                             param="properties")
        body = {"parent": {"type": "data_source_id", "data_source_id": _field(source, "id", str)},
                "properties": {**properties, name: {"title": [_text(title)]}},
                "children": [{"object": "block", "type": "paragraph", "paragraph": {"rich_text": [_text(text)]}} for text in texts[:PARAGRAPHS]]}
        page = self._ask(tool, watch, "POST", "/v1/pages", body)
        return {"page_id": _field(page, "id", str), "url": _field(page, "url", str), "title": title, "paragraphs": len(body["children"])}

    def _source(self, tool: str, database_id: str, watch: Watch) -> dict[str, Any]:
        """The one data source of a database, or the data source itself when the id is of one."""
        if not _ID.fullmatch(database_id):
            raise BadRequest(f"{database_id[:80]!r} is no id of a database; copy the 32 hexadecimal digits out of its link.", param="database_id")
        source = database_id
        try:
            rows = _field(self._ask(tool, watch, "GET", f"/v1/databases/{database_id}"), "data_sources", list)
        except NotFound:
            rows = None  # perhaps the id of a data source, such as notion_search gives
        if rows is not None:
            if len(rows) != 1:
                names = ", ".join(f"{_field(row, 'name', str)} ({_field(row, 'id', str)})" for row in rows)[:500]
                raise BadRequest(f"The database has {len(rows)} data sources; pass the id of one of them: {names or 'none'}.", param="database_id")
            source = _field(rows[0], "id", str)
            if not _ID.fullmatch(source):
                raise UpstreamError("Notion answered with something that is no id; look at the service behind NOTION_URL.", tool=tool)
        return self._ask(tool, watch, "GET", f"/v1/data_sources/{source}")

    def _secret(self) -> str:
        token = self._token().strip()
        if not token:
            raise NotReady("Notion's tools need a token; make an integration in Notion and set NOTION_TOKEN.", part="mcp-server", retry_after=60)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise NotReady("NOTION_TOKEN holds characters that no token has; copy it again out of Notion.", part="mcp-server", retry_after=60)
        return token

    def _ask(self, tool: str, watch: Watch, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request, and one more when Notion asks to wait a little."""
        import httpx

        token = self._secret()
        headers = {"Authorization": f"Bearer {token}", "Notion-Version": VERSION, "Accept": "application/json"}
        try:
            with httpx.Client(base_url=self._url, headers=headers, timeout=SECONDS, trust_env=False, follow_redirects=False) as client:
                for again in (True, False):
                    if watch.halted():
                        raise ToolFailed(f"{tool} was ended, since nobody waits for it any longer; call it again.", tool=tool)
                    status, wait, answer = _answer(client, method, path, body)
                    if status != 429 or not again or wait > PATIENCE:
                        break
                    self._pause(wait)
        except httpx.TimeoutException:
            raise ToolFailed(f"Notion did not answer within {SECONDS:.0f} s; try again later.", tool=tool) from None
        except httpx.HTTPError as error:  # no cause: what httpx keeps holds the request, and with it the token
            raise UpstreamError(f"Notion at {self._url} cannot be reached ({type(error).__name__}); check the network.", tool=tool) from None
        if status != 200:
            raise _refusal(status, wait, _said(answer).replace(token, "…"), tool)
        return answer


def _answer(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, float, dict[str, Any]]:
    """Status, seconds that Notion asks to wait, and the JSON object, of at most 5 MB."""
    with client.stream(method, path, json=body) as response:
        data = bytearray()
        for piece in response.iter_bytes():
            data += piece
            if len(data) > ANSWER_LIMIT:
                raise UpstreamError(f"Notion's answer is longer than {ANSWER_LIMIT} bytes; ask for less.")
    try:
        wait = min(3600.0, max(0.0, float(response.headers.get("Retry-After", "1"))))
    except ValueError:
        wait = 1.0
    try:
        answer = json.loads(bytes(data))
    except ValueError:
        answer = {}
    if response.status_code == 200 and not (answer and isinstance(answer, dict)):
        raise UpstreamError("Notion answered with something that is no JSON object; look at the service behind NOTION_URL.")
    return response.status_code, wait, answer if isinstance(answer, dict) else {}


def _refusal(status: int, wait: float, said: str, tool: str) -> SuiteError:
    if status == 401:
        return Denied("Notion does not know the token; set NOTION_TOKEN to that of an integration that is in use.", tool=tool)
    if status == 403:
        return Denied(f"Notion does not let the integration do that ({said}); give it the capability in Notion.", tool=tool)
    if status == 404:
        return NotFound(f"Notion has no such thing, or it is not shared with the integration ({said}); connect it in Notion.", tool=tool)
    if status == 429:
        return TooMany(f"Notion takes no more requests now; try again in {wait:g} s.", retry_after=wait, tool=tool)
    if status in (400, 409, 422):
        return BadRequest(f"Notion refused the request ({said}); mend the arguments.", tool=tool)
    return UpstreamError(f"Notion failed with status {status} ({said}); try again later.", tool=tool)


def _said(answer: dict[str, Any]) -> str:
    return " ".join(str(answer.get("message") or answer.get("code") or "no reason given").split())[:300]


def _field(row: Any, name: str, kind: type) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get(name), kind):
        raise UpstreamError(f"Notion's answer lacks {name!r}; look at the service behind NOTION_URL.")
    return row[name]


def _title(row: dict[str, Any]) -> str:
    """A page has its title in the property of that type, a data source in a field of its own."""
    texts = row.get("title")
    if not isinstance(texts, list):
        properties = row.get("properties")
        rows = properties.values() if isinstance(properties, dict) else ()
        texts = next((one.get("title") for one in rows if isinstance(one, dict) and one.get("type") == "title"), None)
    return "".join(str(text.get("plain_text", "")) for text in texts or () if isinstance(text, dict))[:TEXT_LIMIT]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"content": text[:TEXT_LIMIT]}}


def _refuse_plain(url: str) -> None:
    """The token is sent to this place: over TLS, or to this machine itself."""
    parts = urlsplit(url)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    safe = loopback if parts.scheme == "http" else parts.scheme == "https" and bool(parts.hostname)
    if "@" in parts.netloc or not safe:
        raise SettingsError(f"NOTION_URL is {url.rpartition('@')[2][:80]!r}, over which a token is not sent; use https://.")


def notion_tools(token: Callable[[], str], web: WebOptions, url: str = URL) -> tuple[Tool, ...]:
    """Notion's tools; `token` is asked at each call."""
    notion = Notion(token, web, url)
    return (tool_of(notion.create_page, name="notion_create_page"), tool_of(notion.search, name="notion_search"),
            tool_of(notion.import_page, name="web_to_notion"))
