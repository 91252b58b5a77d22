"""A stack that answers the nine checks over HTTP and does nothing else: what the checks see can be bent one piece at a time."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from suite.checks.target import NINE, PORTS, Target

Answer = tuple[int, Any]
TOKEN = "sesame"


class FakeStack:
    """All eight ports. `bend(route, change)` lets `change` rewrite the answer of a route, given as "part METHOD path-pattern".

    `pretend(route)` lets a route say yes and do nothing; `delay(route, seconds)` lets it seem slow on the checks' clock; `arms` are what
    memory can search with.
    """

    def __init__(self, *, foreign: bool = False) -> None:
        self.foreign, self.began = foreign, time.time()
        self.bends: list[tuple[str, Callable[[Answer], Answer]]] = []
        self.collections: dict[str, dict[str, Any]] = {"memory-x": {"size": 384, "points": {}}}
        self.memories: dict[str, str] = {}
        self.indexed: dict[str, Path] = {}
        self.audit = 7
        self.pretended: list[str] = []
        self.arms = {"words", "vector"}
        self.late = 0.0

    def bend(self, route: str, change: Callable[[Answer], Answer]) -> FakeStack:
        self.bends.append((route, change))
        return self

    def pretend(self, route: str) -> FakeStack:
        self.pretended.append(route)
        return self

    def delay(self, route: str, seconds: float) -> FakeStack:
        def late(found: Answer) -> Answer:
            self.late += seconds
            return found

        return self.bend(route, late)

    def clock(self) -> float:
        return time.perf_counter() + self.late

    def answer(self, part: str, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        idle = any(re.fullmatch(route, f"{part} {method} {path}") for route in self.pretended)
        found = (200, {"success": True, "result": True}) if idle else self._answer(part, method, path, body, headers)
        for route, change in self.bends:
            if re.fullmatch(route, f"{part} {method} {path}"):
                found = change(found)
        return found

    def _answer(self, part: str, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        if path in ("/health", "/readyz", "/live"):
            return 200, {"ok": True, "reasons": []}
        if not self.foreign and headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "no token"}
        if path == "/deep":
            return (404, {}) if self.foreign else (200, {"ok": True, "reasons": []})
        return getattr(self, "_" + part.replace("-", "_"))(method, path, body, headers)

    def _api_gateway(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        if path == "/v1/parts":
            return (404, {}) if self.foreign else (200, {"host": self.host(), "parts": self.parts()})
        if path == "/v1/models":
            return 200, {"data": [{"id": name} for name in ("chat-7b", "code-7b", "auto")]}
        return 200, {**self.reply(), "suite": {"why": "asked by name", "smoke": True, "fallback": False}}

    def host(self) -> dict[str, Any]:
        expected = {role: {"file": f"{role}.gguf", "sha256": "ab" * 32} for role in ("chat", "code")}
        return {"id": "h1", "profile": "smoke", "stage": "dev", "commit": "c0ffee1" + "0" * 33, "version": "0", "started_at": self.began,
                "smoke": True, "expected": expected}

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": name, "live": True, "ready": True, "reasons": [], "port": PORTS.get(name), "started_s": 0.1, "ready_s": 0.6, "restarts": 0,
                 "heartbeat_age_s": 1.0 if name == "memory-maintainer" else None} for name in NINE]

    def reply(self) -> dict[str, Any]:
        return {"choices": [{"message": {"content": "red, green, blue"}}], "usage": {"completion_tokens": 6}}

    def _server(self, role: str, path: str) -> Answer:
        row = {"id": role, "path": f"/models/{role}.gguf", "sha256": "ab" * 32, "smoke": True}
        return (200, {"data": [row]}) if path == "/v1/models" else (200, self.reply())

    def _inference_chat(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        return self._server("chat", path)

    def _inference_code(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        return self._server("code", path)

    def _mcp_server(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        self.audit += 1
        if headers.get("x-actor", "").startswith("nobody"):
            return 403, {"error": {"message": "unknown actor"}}
        return 200, {"success": True, "result": {"files": []}, "decision": {"outcome": "allow", "reason": "listed"}, "audit_seq": self.audit}

    def _embedding(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        return 200, {"embeddings": [embed(text) for text in body["texts"]], "model": "fake", "dim": 384, "normalize": True}

    def _rag(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        if path == "/index":
            self.indexed[body["collection"]] = Path(body["paths"][0])
            self.collections[body["collection"]] = {"size": 384, "points": {}}
            return 200, {"collection": body["collection"], "chunks": 1}
        if method == "DELETE":
            self.collections.pop(path.rsplit("/", 1)[-1], None)
            return 200, {"dropped": True}
        text = self.indexed[body["collection"]].read_text(encoding="utf-8")
        start, end = text.index("The lighthouse"), text.index("steps.") + 6
        citation = {"number": 1, "path": str(self.indexed[body["collection"]]), "page": None, "start": start, "end": end, "quote": text[start:end]}
        return 200, {"answer": "417 [1]", "citations": [citation], "smoke": True}

    def _qdrant(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        if path == "/collections":
            return 200, {"result": {"collections": [{"name": name} for name in self.collections]}}
        name, _, rest = path.removeprefix("/collections/").partition("/")
        if not rest:
            if method == "PUT":
                self.collections[name] = {"size": body["vectors"]["size"], "points": {}}
            elif method == "DELETE":
                self.collections.pop(name, None)
            else:
                return 200, {"result": {"config": {"params": {"vectors": {"size": self.collections[name]["size"], "distance": "Cosine"}}}}}
            return 200, {"result": True}
        points = self.collections[name]["points"]
        if rest == "points":
            points.update({row["id"]: row for row in body["points"]})
        elif rest == "points/delete":
            for identity in body["points"]:
                points.pop(identity)
        else:
            near = sorted(points.values(), key=lambda row: -sum(a * b for a, b in zip(row["vector"], body["query"], strict=True)))
            return 200, {"result": {"points": [{"id": row["id"], "score": 1.0, "payload": row["payload"]} for row in near[:1]]}}
        return 200, {"result": {"status": "completed"}}

    def _memory_api(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        if path == "/v1/memory/health":
            return 200, {"ok": True, "storage_available": True, "vector_enabled": True}
        if method == "DELETE":
            return 200, {"success": self.memories.pop(path.rsplit("/", 1)[-1], None) is not None}
        if path.endswith("/search"):
            able = ("vector" if body["use_vector_search"] else "words") in self.arms
            return 200, {"results": [{"id": key} for key, text in self.memories.items() if able and body["query"] in text]}
        self.memories[f"m{len(self.memories)}"] = body["user_query"] + body["ai_response"]
        return 200, {"success": True, "conversation_id": f"m{len(self.memories) - 1}", "project_id": "default"}

    def target(self, **more: Any) -> Target:
        """The checks' view of this stack, without a socket."""
        def handle(request: httpx.Request) -> httpx.Response:
            body = json.loads(request.content) if request.content else None
            status, found = self.answer(request.url.host, request.method, request.url.path, body, dict(request.headers))
            return httpx.Response(status, content=json.dumps(found))  # httpx's own `json=` refuses NaN, which a server may send

        return Target({part: f"http://{part}" for part in PORTS}, TOKEN, transport=httpx.MockTransport(handle), clock=self.clock, **more)

    @contextmanager
    def served(self) -> Iterator[dict[str, str]]:
        """The same over one real port, a path per part; gives the base URLs."""
        stack = self

        class Port(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                _, part, path = self.path.partition("?")[0].split("/", 2)
                text = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                status, found = stack.answer(part, self.command, "/" + path, json.loads(text) if text else None, headers)
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield {part: f"http://127.0.0.1:{server.server_port}/{part}" for part in PORTS}
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


def embed(text: str, size: int = 384) -> list[float]:
    """A unit vector that depends on the text alone."""
    raw = [math.sin((index + 1) * sum(ord(char) * (place + 1) for place, char in enumerate(text))) for index in range(size)]
    length = math.sqrt(math.fsum(x * x for x in raw))
    return [x / length for x in raw]


def change(**values: Any) -> Callable[[Answer], Answer]:
    """A bend that sets keys of the body."""
    return lambda found: (found[0], {**found[1], **values})


def status(code: int) -> Callable[[Answer], Answer]:
    """A bend that sets the status."""
    return lambda found: (code, found[1])
