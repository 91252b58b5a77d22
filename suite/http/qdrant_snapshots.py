"""Qdrant's snapshot routes over the embedded store."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import Body, FastAPI, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from suite.errors import BadRequest
from suite.http.qdrant import only
from suite.vectors.snapshot import ALL, Snapshot, Snapshots
from suite.vectors.store import Store

_DOWNLOAD = re.compile(r"/collections/(?P<name>[^/]+)/snapshots/(?P<file>[^/]+)")


def add_snapshots(api: FastAPI, part: Store) -> None:
    """Create, list, delete, download and recover; a store that is a Qdrant server refuses, and says where to ask instead."""
    _of_collections(api, part)
    _of_all(api, part)


def _of_collections(api: FastAPI, part: Store) -> None:
    @api.post("/collections/{name}/snapshots")
    def create(name: str) -> dict[str, Any]:
        return _answer(_written(_kept_by(part).create(name)))

    @api.get("/collections/{name}/snapshots")
    def kept(name: str) -> dict[str, Any]:
        return _answer([_written(snapshot) for snapshot in _kept_by(part).kept(name)])

    @api.put("/collections/{name}/snapshots/recover")
    def recover(name: str, request: Request, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        only(body, {"location", "priority", "checksum"}, "a recovery")
        snapshots = _kept_by(part)
        snapshots.recover(name, _located(snapshots, body.get("location"), request.headers.get("host", "")), _checksum(body.get("checksum")))
        return _answer(True)

    @api.post("/collections/{name}/snapshots/upload")
    async def upload(name: str, request: Request, checksum: str = "") -> dict[str, Any]:
        snapshots = _kept_by(part)
        with snapshots.receiving() as (write, path):
            await _receive(request, write)
            await run_in_threadpool(snapshots.recover, name, path, _checksum(checksum))
        return _answer(True)

    @api.get("/collections/{name}/snapshots/{snapshot}")
    def download(name: str, snapshot: str) -> FileResponse:
        return FileResponse(_kept_by(part).path(name, snapshot), media_type="application/octet-stream", filename=snapshot)

    @api.delete("/collections/{name}/snapshots/{snapshot}")
    def delete(name: str, snapshot: str) -> dict[str, Any]:
        _kept_by(part).delete(name, snapshot)
        return _answer(True)


def _of_all(api: FastAPI, part: Store) -> None:
    @api.post("/snapshots")
    def create() -> dict[str, Any]:
        return _answer(_written(_kept_by(part).create_full()))

    @api.get("/snapshots")
    def kept() -> dict[str, Any]:
        return _answer([_written(snapshot) for snapshot in _kept_by(part).kept(ALL)])

    @api.get("/snapshots/{snapshot}")
    def download(snapshot: str) -> FileResponse:
        return FileResponse(_kept_by(part).path(ALL, snapshot), media_type="application/octet-stream", filename=snapshot)

    @api.delete("/snapshots/{snapshot}")
    def delete(snapshot: str) -> dict[str, Any]:
        _kept_by(part).delete(ALL, snapshot)
        return _answer(True)


def _kept_by(part: Store) -> Snapshots:
    found = getattr(part, "snapshots", None)
    if not isinstance(found, Snapshots):
        raise BadRequest("Snapshots here are of the embedded store, but this stack keeps its vectors on a Qdrant server; ask that server itself, at "
                         "QDRANT_URL.")
    return found


def _written(snapshot: Snapshot) -> dict[str, Any]:
    return {"name": snapshot.name, "creation_time": snapshot.made.strftime("%Y-%m-%dT%H:%M:%S"), "size": snapshot.bytes,
            "checksum": snapshot.sha256 or None}


def _located(snapshots: Snapshots, location: Any, host: str) -> Path:
    """The file that a location names: one of ours by its path or by the address that it is downloaded from. Nothing is fetched from elsewhere."""
    if not isinstance(location, str):
        raise BadRequest(f"`location` must be text; it is {location!r:.80}.", param="location")
    try:
        parts = urlsplit(location)
    except ValueError:
        parts = urlsplit("")
    ours = _DOWNLOAD.fullmatch(parts.path)
    if parts.scheme == "http" and parts.netloc == host and ours:
        return snapshots.path(unquote(ours["name"]), unquote(ours["file"]))
    path = Path(unquote(parts.path))
    if parts.scheme == "file" and not parts.netloc and path.parent.parent == snapshots.folder.absolute():
        return snapshots.path(path.parent.name, path.name)
    raise BadRequest(f"The location {location[:200]!r} is no snapshot of this port; give file://{snapshots.folder.absolute()}/COLLECTION/SNAPSHOT or "
                     f"http://{host}/collections/COLLECTION/snapshots/SNAPSHOT, or upload the file.", param="location")


def _checksum(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"`checksum` must be a SHA-256 as text; it is {value!r:.80}.", param="checksum")
    return value or ""


async def _receive(request: Request, write: Callable[[bytes], None]) -> None:
    """Write the part named `snapshot` of a form as it comes, so that no other place has to hold it."""
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequest("A snapshot is uploaded as a form (multipart/form-data) with a file named `snapshot`.", param="snapshot")
    reader = _Form(write)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in request.stream():
            if chunk:
                await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except (MultipartParseError, ClientDisconnect) as error:
        raise BadRequest(f"The form with the snapshot is broken ({error or 'the client went away'}); send it again.", param="snapshot") from error
    if not reader.ended:
        raise BadRequest("The form with the snapshot is broken (it has no end); send it again.", param="snapshot")
    if not reader.found:
        raise BadRequest("The form has no file named `snapshot`; name it so.", param="snapshot")


class _Form:
    """What the parser of a form tells, part by part: the data of the one named `snapshot` are written."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write, self._field, self._value, self._wanted = write, b"", b"", False
        self.found = self.ended = False

    def callbacks(self) -> Any:
        """The functions by the parser's names for them."""
        return {"on_part_begin": self._begin, "on_header_field": self._on_field, "on_header_value": self._on_value, "on_header_end": self._end,
                "on_part_data": self._on_data, "on_end": self._finish}

    def _begin(self) -> None:
        self._wanted = False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._field.lower() == b"content-disposition" and not self.found:
            self._wanted = self.found = parse_options_header(self._value)[1].get(b"name") == b"snapshot"
        self._field = self._value = b""

    def _finish(self) -> None:
        self.ended = True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._write(data[start:end])


def _answer(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.0}
