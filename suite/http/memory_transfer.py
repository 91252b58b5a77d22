"""Port 8005, a project as JSON lines: streamed out, and read back in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from suite.errors import BadRequest
from suite.http.body import read
from suite.http.memory_form import meant
from suite.memory.record import store_name

MEDIA_TYPE = "application/x-ndjson"
MOST_BYTES = 256 << 20  # of an import
PIECE = 1 << 16  # characters that are sent at once


def add_transfer(served: FastAPI, part: Any) -> None:
    """Add the two routes. An export that breaks off ends without its last chunk, so that no client takes it for whole."""

    @served.get("/v1/memory/export")
    def export(project_id: str = "", project_path: str = "") -> StreamingResponse:
        project = meant(part, project_id, project_path)
        headers = {"Content-Disposition": f'attachment; filename="{store_name(project)}.jsonl"'}
        return StreamingResponse(_pieces(part.export(project)), media_type=MEDIA_TYPE, headers=headers)

    @served.post("/v1/memory/import")
    async def bring(request: Request, project_id: str = "") -> dict[str, Any]:
        lines = _lines(await read(request.receive, MOST_BYTES))
        done = await run_in_threadpool(part.bring, lines, project_id)
        return {"success": True, "project_id": done.project, **done.to_dict(),
                "message": f"{done.new} turns are new in {done.project}, {done.known} were there already."}


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield ("\n".join(held) + "\n").encode()
            held, size = [], 0
    if held:
        yield ("\n".join(held) + "\n").encode()


def _lines(content: bytes) -> list[str]:
    try:
        return content.decode("utf-8", "surrogatepass").split("\n")  # not splitlines: a text may hold other ends of lines
    except UnicodeDecodeError as error:
        raise BadRequest(f"The export is not valid UTF-8 (byte {error.start}: {error.reason}); send it as it was written.") from error
