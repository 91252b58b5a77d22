"""A document that hangs, eats memory or kills its parser costs its own place in a list, and no process is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import papers
import psutil
import pytest

from suite.errors import BadRequest, NotReady
from suite.knowledge.formats import parse
from suite.knowledge.formats.parse import Parsers

SECONDS = 60


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    made = Parsers(SECONDS, 1024)
    yield made
    made.close()


@pytest.fixture(scope="module")
def slow() -> bytes:
    return papers.slow_pdf()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(children())
    yield
    until(lambda: set(children()) <= before)


def children(of: int | None = None) -> list[int]:
    return [child.pid for child in psutil.Process(of).children() if child.status() != psutil.STATUS_ZOMBIE]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def new_child(before: list[int]) -> int:
    until(lambda: set(children()) > set(before))
    return (set(children()) - set(before)).pop()


def test_one_process_reads_many_documents(parsers: Parsers) -> None:
    assert len(b"x" * (parse.LARGE_MB << 20)) == parse.LARGE_MB << 20, "how much memory its parent has had does not count"
    before = children()
    texts, seen = [], set()
    for number in range(5):
        texts.append(parsers.parse("pdf", papers.pdf(f"number {number}")).text)
        texts.append(parsers.parse("html", f"<p>번호 {number}".encode()).text)
        seen |= set(children()) - set(before)
    assert texts == [text for number in range(5) for text in (f"number {number}", f"번호 {number}\n")] and len(seen) == 1


def test_the_limit_of_time_ends_a_document_and_the_next_is_read(slow: bytes) -> None:
    parsers = Parsers(0.3, 4096)
    with pytest.raises(BadRequest, match=r"takes more time to read than the 0\.3 s of RAG_PARSE_SECONDS; split it, or raise that"):
        parsers.parse("pdf", slow)
    assert Parsers.parse(parsers, "hwpx", papers.hwpx(papers.paragraph("다음"))).text == "다음\n"
    parsers.close()


def test_the_limit_of_memory_ends_a_document_and_the_next_is_read() -> None:
    parsers, large = Parsers(SECONDS, 64), papers.large_pdf()
    assert parsers.parse("pdf", papers.pdf("one")).text == "one"
    with pytest.raises(BadRequest, match="takes more memory to read than the 64 MB of RAG_PARSE_MB; split it, or raise that"):
        parsers.parse("pdf", large)
    with pytest.raises(BadRequest, match="takes more memory"):  # before a parser even sees it
        parsers.parse("docx", b"x" * (80 << 20))
    assert parsers.parse("pdf", papers.pdf("two")).text == "two"
    parsers.close()
    roomy = Parsers(SECONDS, 1024)
    assert roomy.parse("pdf", large).text == "a"
    roomy.close()


def test_what_an_earlier_document_used_up_does_not_count_against_the_next(parsers: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = parse._Child.ask, []

    def short_of_memory_when_used(child: parse._Child, reader: str, data: bytes, seconds: float) -> tuple[dict[str, object], bytes]:
        told, body = real(child, reader, data, seconds)
        asked.append(child.used)
        if len(asked) == 2:
            child.waiting = False
            return {"memory": True}, b""
        return told, body

    monkeypatch.setattr(parse._Child, "ask", short_of_memory_when_used)
    assert [parsers.parse("pdf", papers.pdf(text)).text for text in ("one", "two")] == ["one", "two"] and len(asked) == 3


@pytest.mark.parametrize("used", [False, True])
def test_a_document_that_kills_its_reader_is_refused_and_one_beside_it_is_read(parsers: Parsers, slow: bytes, used: bool) -> None:
    if used:
        parsers.parse("pdf", papers.pdf("before"))
    killed: list[int] = []
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(parsers.parse, "pdf", slow)
        until(lambda: busy(parsers) is not None)
        assert parsers.parse("html", b"<p>beside").text == "beside\n"
        while not waiting.done():  # that a used one dies proves nothing: the document gets a fresh one
            child = busy(parsers)
            if child not in (None, *killed):
                killed.append(child)
                os.kill(child, signal.SIGSEGV)
        with pytest.raises(BadRequest, match=r"its reader ended over it \(SIGSEGV\); open it in the program that made it and save it again"):
            waiting.result(SECONDS)
    assert len(killed) == 1 + 2 * used and parsers.parse("html", b"<p>after").text == "after\n"


def busy(parsers: Parsers) -> int | None:
    """The process that has begun to read."""
    return next((child._process.pid for child in list(parsers._busy) if not child.waiting and not child._order), None)


def test_a_process_without_work_ends_by_itself_and_the_next_document_gets_another(parsers: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "IDLE_S", 0.05)
    before = {child.pid for child in psutil.Process().children()}  # other tests of this process may have left theirs, zombies too
    assert parsers.parse("html", b"<p>one").text == "one\n"
    until(lambda: not {child.pid for child in psutil.Process().children()} - before)
    assert parsers.parse("html", b"<p>two").text == "two\n"


def test_a_process_that_has_needed_much_memory_gives_it_back(parsers: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "LARGE_MB", 1)
    before = children()
    assert parsers.parse("html", b"<p>one").text == "one\n"
    until(lambda: children() == before)


def test_several_threads_read_at_once_in_no_more_processes_than_are_allowed(parsers: Parsers) -> None:
    before, most = len(children()), []
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: (parsers.parse("html", f"<p>{number}".encode()).text, most.append(len(children()))), range(40)))
    assert [text for text, _ in found] == [f"{number}\n" for number in range(40)] and max(most) - before <= parse.AT_ONCE


def test_closing_ends_what_is_at_work_and_nothing_is_begun_afterwards(parsers: Parsers, slow: bytes) -> None:
    before = children()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(parsers.parse, "pdf", slow)
        until(lambda: busy(parsers) is not None)
        parsers.close()
        with pytest.raises((BadRequest, NotReady)):
            waiting.result(SECONDS)
    assert children() == before
    with pytest.raises(NotReady, match="the stack is stopping"):
        parsers.parse("html", b"<p>x")


def test_an_interrupt_ends_the_process_it_waits_for(parsers: Parsers, slow: bytes) -> None:
    before = children()
    main = threading.main_thread().ident
    interrupter = threading.Thread(target=lambda: (until(lambda: busy(parsers) is not None), signal.pthread_kill(main, signal.SIGINT)))
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        parsers.parse("pdf", slow)
    interrupter.join()
    assert children() == before


def test_a_machine_that_starts_no_process_is_said(parsers: Parsers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(parse.subprocess, "Popen", full)
    with pytest.raises(BadRequest, match=r"cannot be read now: no process can be started .*Resource temporarily unavailable.*add it again later"):
        parsers.parse("html", b"<p>x")


HOST = """
import sys, threading
sys.path.insert(0, {tests!r})
import papers
from suite.knowledge.formats.parse import Parsers
parsers = Parsers(600, 4096)
print(parsers.parse("html", b"<p>ready").text.strip(), flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["sys.stdin.read()", "parsers.parse('pdf', papers.slow_pdf())"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_kernel(then: str, number: signal.Signals) -> None:
    code = HOST.format(tests=os.path.dirname(__file__), then=then)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        (child,) = children(host.pid)
        if "slow" in then:
            spent = sum(psutil.Process(child).cpu_times()[:2])
            until(lambda: sum(psutil.Process(child).cpu_times()[:2]) > spent + 0.5)
        host.send_signal(number)
        host.wait(SECONDS)
    until(lambda: not psutil.pid_exists(child))


def test_a_child_has_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch, parsers: Parsers) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hush-hush")
    before = children()
    parsers.parse("html", b"<p>x")
    pid = new_child(before)
    environment = psutil.Process(pid).environ()
    assert "MY_API_TOKEN" not in environment and json.dumps(environment).count("hush") == 0 and "PATH" in environment
