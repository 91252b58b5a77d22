"""Quick calls share a thread: in order, each with its own outcome, and none is left waiting."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from suite.errors import NotReady
from suite.tools.lane import Lane

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")


def lanes() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "suite-lane"]


def test_each_gets_what_its_function_gave_or_raised_in_its_own_context_and_by_one_thread() -> None:
    lane, before = Lane(), len(lanes())

    async def one(number: int) -> tuple[str, int]:
        WHO.set(f"caller {number}")

        def work() -> tuple[str, int]:
            if number == 3:
                raise ValueError("three")
            return WHO.get(), threading.get_ident()

        return await lane.run(work)

    async def all_of_them() -> list[object]:
        return await asyncio.gather(*(one(number) for number in range(6)), return_exceptions=True)

    assert len(lanes()) == before  # it begins with the first
    found = asyncio.run(all_of_them())
    assert str(found.pop(3)) == "three"
    assert [who for who, _ in found] == [f"caller {number}" for number in (0, 1, 2, 4, 5)] and len({thread for _, thread in found}) == 1
    assert next(iter({thread for _, thread in found})) != threading.get_ident() and len(lanes()) == before + 1
    lane.close()
    lane.close()
    assert len(lanes()) == before


def test_what_waits_is_run_before_it_closes_and_nothing_is_taken_afterwards_until_it_is_opened() -> None:
    lane, go, done = Lane(), threading.Event(), []

    async def run() -> None:
        first = asyncio.ensure_future(lane.run(lambda: go.wait(20)))
        second = asyncio.ensure_future(lane.run(lambda: done.append(1)))
        await asyncio.sleep(0)  # both are handed over
        closing = asyncio.ensure_future(asyncio.to_thread(lane.close))
        go.set()
        await asyncio.gather(first, second, closing)
        with pytest.raises(NotReady, match="stopped"):
            await lane.run(lambda: done.append(2))
        lane.open()
        await lane.run(lambda: done.append(3))

    asyncio.run(run())
    assert done == [1, 3]
    lane.close()


def test_whoever_is_cancelled_leaves_and_the_next_is_served() -> None:
    lane, go, faults = Lane(), threading.Event(), []

    async def run() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        gone = asyncio.ensure_future(lane.run(lambda: go.wait(20)))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        go.set()
        return await lane.run(lambda: "served")

    assert asyncio.run(run()) == "served" and faults == []
    lane.close()


def test_a_loop_that_has_ended_does_not_end_the_lane() -> None:
    lane, go = Lane(), threading.Event()

    async def leave() -> None:
        asyncio.ensure_future(lane.run(lambda: go.wait(20))).cancel()
        task = asyncio.ensure_future(lane.run(lambda: go.wait(20)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    go.set()

    async def served() -> str:
        return await lane.run(lambda: "served")

    assert asyncio.run(served()) == "served"
    lane.close()
