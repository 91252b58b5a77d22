"""The stores that must all behave alike."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from vector_stores import KINDS, filled_pair, local_mode, opened, opened_edge, served


@pytest.fixture
def edge_store(tmp_path):
    with opened_edge(tmp_path / "vectors") as store:
        yield store


@pytest.fixture
def our_port(edge_store):
    with served(edge_store) as url:
        yield url


@pytest.fixture
def oracle():
    store = local_mode()
    yield store
    store.close()


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with opened(request.param, tmp_path / "vectors") as opened_store:
        yield opened_store


@pytest.fixture(params=[kind for kind in KINDS if kind != "oracle"])
def empty_pair(request, tmp_path, oracle):
    """A store and the oracle, both empty."""
    with opened(request.param, tmp_path / "vectors") as opened_store:
        yield opened_store, oracle


@pytest.fixture(scope="module")
def kept_pairs(tmp_path_factory):
    """Such pairs by kind, made once for a module."""
    with ExitStack() as stack:
        made = {}

        def get(kind):
            if kind not in made:
                made[kind] = filled_pair(stack, kind, tmp_path_factory.mktemp("shared") / "vectors")
            return made[kind]

        yield get


@pytest.fixture(params=[kind for kind in KINDS if kind != "oracle"])
def shared_pair(request, kept_pairs, tmp_path):
    """Such a pair for tests that only read; on a server, which has no room of its own for each test, a new one."""
    if request.param != "server":
        yield kept_pairs(request.param)
        return
    with ExitStack() as stack:
        yield filled_pair(stack, "server", tmp_path)
