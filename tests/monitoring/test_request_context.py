"""Which request a line belongs to: headers that can be used, threads that anyio starts, calls in the kernel."""

from __future__ import annotations

import asyncio
import contextvars
import re

import pytest
from anyio.to_thread import run_sync

from suite.monitoring.request_context import RequestContext, current, enter, enter_call, outgoing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def fresh(call):
    """What a call gives in a context of its own."""
    return contextvars.Context().run(call)


@pytest.mark.parametrize(("header", "trace"), [
    (f"00-{TRACE}-{SPAN}-01", TRACE), (f"01-{TRACE}-{SPAN}-01-more", TRACE), (f"00-{TRACE}-{SPAN}-01-more", ""), (f"ff-{TRACE}-{SPAN}-01", ""),
    (f"00-{'0' * 32}-{SPAN}-01", ""), (f"00-{TRACE}-{'0' * 16}-01", ""), (f"00-{TRACE.upper()}-{SPAN}-01", ""), (f"00-{TRACE}-{SPAN}", ""), ("x" * 10_000, ""), ("", ""),
])
def test_a_trace_is_taken_from_a_valid_traceparent_and_else_made(header: str, trace: str) -> None:
    made = fresh(lambda: enter("rag", "", header))
    assert made.trace == trace if trace else re.fullmatch("[0-9a-f]{32}", made.trace) and made.trace != TRACE
    assert made.parent == (SPAN if trace else "")


@pytest.mark.parametrize(("header", "taken"), [
    ("req-1", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("two words", False), ("line\nbreak", False), ("é", False),
    ("suite_" + "k" * 43, False), ("token=abc", False),
])
def test_a_request_id_is_taken_when_it_is_short_printable_and_no_secret(header: str, taken: bool) -> None:
    made = fresh(lambda: enter("rag", header))
    assert (made.id == header) is taken and re.fullmatch("[!-~]{1,64}", made.id)


def test_it_goes_along_into_a_thread_and_is_not_that_of_another_task() -> None:
    async def request(name: str) -> RequestContext | None:
        enter("rag", name)
        await asyncio.sleep(0)
        return await run_sync(current)

    async def both() -> list[str]:
        return [found.id for found in await asyncio.gather(request("one"), request("two")) if found]

    assert asyncio.run(both()) == ["one", "two"]


def test_a_call_in_the_kernel_has_an_id_of_its_own_that_a_host_is_told() -> None:
    def calls() -> list[RequestContext | None]:
        seen = [current()]
        for _ in range(2):
            enter_call()
            seen.append(current())
        sent = outgoing()
        assert seen[2] is not None
        assert sent["X-Request-Id"] == seen[2].id and sent["traceparent"].startswith(f"00-{seen[2].trace}-")
        assert enter("rag", sent["X-Request-Id"], sent["traceparent"])[:2] == seen[2][:2]
        return seen

    before, first, second = fresh(calls)
    assert before is None and first is not None and second is not None and first.id != second.id and first.trace != second.trace
    assert fresh(outgoing) == {}


def test_a_call_inside_a_request_is_the_requests() -> None:
    def inside() -> str:
        enter("rag", "outer")
        enter_call()
        found = current()
        return found.id if found else ""

    assert fresh(inside) == "outer"
