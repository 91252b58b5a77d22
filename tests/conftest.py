"""What every test gets: its own home, a scrubbed environment, and the embedder's weights fetched once per machine."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from suite.monitoring import request_context
from suite.settings import TABLE, load

hypothesis_settings.register_profile("suite", deadline=None)  # no test asserts a time
hypothesis_settings.load_profile("suite")
# a shell that starts pytest in the background leaves it, and every child, deaf to Ctrl-C, which some tests send
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, str(Path(__file__).parent))  # the shared test modules beside this file
MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # bytes that a run may need at most


def in_memory() -> bool:
    """Whether temporary files can lie in memory: there is room, and programs can be run from there."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    facts = os.statvfs(MEMORY)
    return facts.f_bavail * facts.f_frsize >= ROOM and not facts.f_flag & os.ST_NOEXEC


# on a disk much of a run waits until files have reached it, of which no process that is killed here can tell; set TMPDIR to have them on one
if sys.platform == "linux" and "TMPDIR" not in os.environ and in_memory():
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

WEIGHTS = Path.home() / ".cache" / "local-ai-suite-tests" / "models"  # read before any test moves HOME


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine reaches a test, and nothing a test writes reaches the machine."""
    for name in [row.env for row in TABLE] + ["XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    here = os.getcwd()
    yield
    os.chdir(here)


@pytest.fixture(autouse=True)
def own_request() -> Iterator[None]:
    """A request that a test begins in its own context ends with the test: no line or span of another one belongs to it."""
    outside = request_context._current.set(None)
    yield
    request_context._current.reset(outside)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """A models directory with the embedder in it, fetched for real on the first run of this machine."""
    from suite.embedding.embed import Embedder

    WEIGHTS.mkdir(parents=True, exist_ok=True)
    Embedder(load({"models_dir": str(WEIGHTS), "data_dir": str(WEIGHTS.parent / "data")}, environ={}), WEIGHTS, WEIGHTS.parent / "cache").fetch()
    return WEIGHTS


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Any]:
    """A fresh SQLite database."""
    from suite.storage.engine import open_storage

    opened = open_storage("", tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """A fresh embedded vector store."""
    from suite.vectors.edge import EdgeStore

    opened = EdgeStore(tmp_path / "vectors")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def embedder(models_dir: Path) -> Iterator[Any]:
    """The real embedder, loaded once."""
    from suite.embedding.embed import Embedder

    part = Embedder(load({"embedding_cache_mb": 0}, environ={}), models_dir, models_dir.parent / "cache")
    part.start()
    assert part.ready().ok, part.ready()
    yield part
    part.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Any]:
    """The chat and the code server, both loaded."""
    from models_stage import smoke_server

    made = [smoke_server(tmp_path, role) for role in ("chat", "code")]
    for server in made:
        server.load()
    yield made
    for server in made:
        server.close()


@pytest.fixture
def gateway(servers: Any) -> Any:
    """A gateway over both, each standing in for the other."""
    from suite.gateway.gateway import Gateway

    chat, code = servers
    return Gateway({"chat-7b": [chat, code], "code-7b": [code, chat]})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """What was logged may hold halves of characters, which a worker cannot send to whoever collects the reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
