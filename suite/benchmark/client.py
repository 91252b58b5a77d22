"""The one client that calls every contender: httpx, the library under OpenAI's own client, in a process that serves nobody."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx

from suite.errors import RunFailed, UpstreamError

SECONDS = 300.0


def _client(token: str, clients: int) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False,
                             limits=httpx.Limits(max_connections=clients, max_keepalive_connections=clients))


def streams(url: str, token: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All chat completions at once, streamed: tokens and marks (seconds from the common start to each piece of text) of each.

    Raises UpstreamError when a reply is refused, breaks off, or ends before its `max_tokens`.
    """

    async def one(client: httpx.AsyncClient, body: dict[str, Any], began: float) -> dict[str, Any]:
        marks, finish = [], None
        async with client.stream("POST", f"{url}/v1/chat/completions", json={**body, "stream": True}) as response:
            if response.status_code != 200:
                raise UpstreamError(f"{url} refused with {response.status_code}: {(await response.aread())[:200]!r}")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise UpstreamError(f"{url} broke off: {str(event['error'])[:200]}")
                for choice in event.get("choices", ()):
                    if choice["delta"].get("content"):
                        marks.append(time.perf_counter() - began)
                    finish = choice.get("finish_reason") or finish
        if finish != "length":
            raise UpstreamError(f"{url} ended a reply with {finish!r} after {len(marks)} pieces instead of writing {body['max_tokens']} tokens.")
        return {"tokens": body["max_tokens"], "marks": marks}

    async def all_of_them() -> list[dict[str, Any]]:
        async with _client(token, len(bodies)) as client:
            began = time.perf_counter()
            return await asyncio.gather(*(one(client, body, began) for body in bodies))

    return asyncio.run(_watched(all_of_them()))


def calls(url: str, token: str, bodies: list[dict[str, Any]], clients: int, count: int, warm: int = 0) -> dict[str, Any]:
    """`count` chat completions by so many clients, each calling again as soon as it is answered, after `warm` calls that do not count.

    Gives the seconds of each call and of all together. Raises UpstreamError at the first refusal.
    """

    async def worker(client: httpx.AsyncClient, turns: list[int], marks: list[float]) -> None:
        while turns:
            body = bodies[turns.pop() % len(bodies)]
            began = time.perf_counter()
            response = await client.post(f"{url}/v1/chat/completions", json=body)
            marks.append(time.perf_counter() - began)
            if response.status_code != 200:
                raise UpstreamError(f"{url} refused with {response.status_code}: {response.text[:200]}")
            response.json()

    async def round_of(client: httpx.AsyncClient, much: int) -> tuple[list[float], float]:
        turns, marks = list(range(much)), []
        began = time.perf_counter()
        await asyncio.gather(*(worker(client, turns, marks) for _ in range(clients)))
        return marks, time.perf_counter() - began

    async def all_of_them() -> dict[str, Any]:
        async with _client(token, clients) as client:
            if warm:
                await round_of(client, warm)
            marks, seconds = await round_of(client, count)
            return {"marks": marks, "seconds": seconds}

    return asyncio.run(_watched(all_of_them()))


def steady(url: str, token: str, body: dict[str, Any], rate: float, seconds: float) -> list[dict[str, Any]]:
    """Chat completions at a steady `rate` per second, whatever becomes of them: begin and end on the system's monotonic clock, status, text,
    and whether the reply was flagged as a stand-in's.
    """

    async def one(client: httpx.AsyncClient) -> dict[str, Any]:
        row: dict[str, Any] = {"begin": time.monotonic(), "status": 0, "text": "", "fallback": False}
        try:
            response = await client.post(f"{url}/v1/chat/completions", json=body)
            row["status"] = response.status_code
            if response.status_code == 200:
                read = response.json()
                row["text"] = read["choices"][0]["message"]["content"]
                row["fallback"] = bool(read.get("suite", {}).get("fallback"))
        except httpx.HTTPError as error:
            row["text"] = str(error)
        row["end"] = time.monotonic()
        return row

    async def all_of_them() -> list[dict[str, Any]]:
        async with _client(token, 64) as client:
            began, running = time.monotonic(), []
            for turn in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))
                running.append(asyncio.create_task(one(client)))
            return await asyncio.gather(*running)

    return asyncio.run(_watched(all_of_them()))


async def _watched(work: Any) -> Any:
    try:
        return await asyncio.wait_for(work, SECONDS)
    except TimeoutError:
        raise RunFailed(f"The client was not done within {SECONDS:.0f} s.") from None
    except httpx.HTTPError as error:
        raise UpstreamError(f"A call failed ({type(error).__name__}: {error}).") from error


VERBS = {"streams": streams, "calls": calls, "steady": steady, "ready": lambda: True}
