"""A server on this machine that answers as Notion's API does, as far as the tools use it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from suite.tools.builtin.notion import VERSION

TOKEN = "ntn_hunter2hunter2"
DATABASE, SOURCE, MANY, PAGE = ("11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "99999999-2222-3333-4444-555555555555",
                                "77777777-2222-3333-4444-555555555555")
PROPERTIES = {"이름": {"id": "title", "type": "title", "title": {}}, "Tags": {"id": "abc", "type": "multi_select", "multi_select": {"options": []}}}
Answer = tuple[int, dict[str, str], Any]


def wrong(status: int, code: str, message: str, **headers: str) -> Answer:
    return status, headers, {"object": "error", "status": status, "code": code, "message": message}


class Service:
    """Notion's API, as far as the tools use it; `turns` answers before it does."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.turns: list[Answer] = []
        self.pages = [self.page(f"page {n}") for n in range(13)]
        service = self

        class Take(BaseHTTPRequestHandler):
            def take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, answer = service.answer(self.command, self.path, dict(self.headers.items()), body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = take

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @staticmethod
    def page(title: str) -> dict[str, Any]:
        return {"object": "page", "id": PAGE, "url": f"https://notion.test/{title}", "last_edited_time": "2026-11-28T10:00:00.000Z", "in_trash": False,
                "properties": {"Tags": {"type": "multi_select", "multi_select": []},
                               "이름": {"type": "title", "title": [{"type": "text", "plain_text": title[:2]}, {"type": "text", "plain_text": title[2:]}]}}}

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return wrong(401, "unauthorized", "API token is invalid.")
        if headers.get("Notion-Version") != VERSION:
            return wrong(400, "missing_version", "Notion-Version header should be defined.")
        given = json.loads(body) if body else None
        self.asked.append((method, path, given))
        if self.turns:
            return self.turns.pop(0)
        if (method, path) == ("GET", f"/v1/databases/{DATABASE}"):
            return 200, {}, {"object": "database", "id": DATABASE, "data_sources": [{"id": SOURCE, "name": "할 일"}]}
        if (method, path) == ("GET", f"/v1/databases/{MANY}"):
            return 200, {}, {"object": "database", "id": MANY, "data_sources": [{"id": SOURCE, "name": "one"}, {"id": PAGE, "name": "two"}]}
        if (method, path) == ("GET", f"/v1/data_sources/{SOURCE}"):
            return 200, {}, {"object": "data_source", "id": SOURCE, "properties": PROPERTIES, "parent": {"type": "database_id", "database_id": DATABASE}}
        if (method, path) == ("POST", "/v1/search"):
            return self.search(given)
        if (method, path) == ("POST", "/v1/pages"):
            return self.create(given)
        return wrong(404, "object_not_found", f"Could not find {path.rpartition('/')[2]}.")

    def search(self, given: Any) -> Answer:
        if set(given) != {"query", "filter", "page_size"} or given["filter"]["property"] != "object" or given["filter"]["value"] not in ("page", "data_source"):
            return wrong(400, "validation_error", "body failed validation.")
        if given["filter"]["value"] == "data_source":
            return 200, {}, {"object": "list", "has_more": False, "results": [{"object": "data_source", "id": SOURCE, "url": "https://notion.test/d",
                             "last_edited_time": "2026-11-28T10:00:00.000Z", "title": [{"plain_text": "할 일"}], "properties": PROPERTIES}]}
        found = [page for page in self.pages if given["query"] in page["url"]]
        return 200, {}, {"object": "list", "results": found[:given["page_size"]], "has_more": len(found) > given["page_size"]}

    def create(self, given: Any) -> Answer:
        texts = [block["paragraph"]["rich_text"][0]["text"]["content"] for block in given["children"]]
        title = given["properties"]["이름"]["title"][0]["text"]["content"]
        if given["parent"] != {"type": "data_source_id", "data_source_id": SOURCE} or any(len(text) > 2000 for text in [title, *texts]):
            return wrong(400, "validation_error", "body failed validation.")
        return 200, {}, {**self.page(title), "parent": given["parent"]}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
