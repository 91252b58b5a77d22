"""Two models that may not be in memory together take turns, and nobody who asks one of them loses a reply by it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from suite.errors import NotReady, WeightsError
from suite.serving.catalog import Profile, ProfileModel
from suite.serving.random_model import Shape, write
from suite.serving.request import Request
from suite.serving.residence import Residence
from suite.serving.server import ModelServer
from suite.settings import load

CHAT, CODE = ProfileModel("qwen2.5-3b-instruct", 2048), ProfileModel("qwen2.5-coder-7b-instruct", 2048)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / "noise.gguf"
    write(path, Shape(width=64, layers=2, heads=4, kv_heads=2, feed_forward=128, words=800, context=2048))
    return path


@pytest.fixture
def pair(tmp_path, noise):
    """Makes a chat and a code server, each with a small file of its own, under a profile whose models may be resident as `groups` says."""
    made = []

    def make(*groups, **settings):
        read = load({"data_dir": str(tmp_path), "chat_model": str(noise), "code_model": str(noise), **settings}, environ={}, cwd=tmp_path)
        residence = Residence(Profile("test", "Small models in the place of large ones.", CHAT, CODE, groups))
        made.extend(ModelServer(f"inference-{role}", role, read, tmp_path, tmp_path / "cache", model, residence)
                    for role, model in (("chat", CHAT), ("code", CODE)))
        return made[-2:]

    yield make
    for server in made:
        server.close()


def ask(**options):
    return Request.of("어떤 서버가 있나요?", **{"max_tokens": 3, "ignore_eos": True, "timeout": 60, **options})


def test_models_of_one_group_stay_together(pair):
    chat, code = pair((CHAT.model, CODE.model))
    chat.load()
    code.load()
    assert chat.model and code.model


def test_without_a_profile_all_stay(new_server):
    chat, code = new_server(), new_server(role="code")
    chat.load()
    code.load()
    assert chat.model and code.model


def test_loading_one_puts_the_other_to_sleep_after_its_replies_and_a_request_brings_it_back(pair):
    chat, code = pair()
    chat.load()
    running = chat.stream(ask(max_tokens=1500))
    code.load()
    assert running.read().tokens == 1500
    state = chat.ready()
    assert state.ok and not state.facts["loaded"] and "make room for inference-code" in state.facts["note"]
    assert code.model and not chat.model
    assert chat.complete(ask()).tokens == 3
    assert chat.model and not code.model and code.ready().ok
    assert (chat.restarts, code.restarts) == (0, 0)


def test_many_who_ask_both_at_once_all_get_their_replies(pair):
    chat, code = pair()
    chat.load()
    code.load()
    both, over = [], threading.Event()

    def look():
        while not over.wait(0.001):
            both.append(bool(chat.model and code.model))

    watcher = threading.Thread(target=look)
    watcher.start()
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda number: (chat, code)[number % 2].complete(ask(max_tokens=20, seed=number)), range(18)))
    over.set()
    watcher.join()
    assert [reply.tokens for reply in replies] == [20] * 18
    assert both and not any(both)


def test_readers_that_wait_for_each_other_are_no_deadlock(pair):
    chat, code = pair()
    chat.load()
    code.load()
    with chat.stream(ask(max_tokens=1000)) as outer:  # not read to its end before the other is asked
        next(outer)
        assert code.complete(ask()).tokens == 3
        assert chat.complete(ask()).tokens == 3
        assert outer.read().tokens == 1000


def test_a_bad_file_puts_nobody_to_sleep(pair, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    chat, code = pair(code_model=str(tmp_path / "bad.gguf"))
    chat.load()
    with pytest.raises(WeightsError):
        code.load()
    assert chat.model
    with pytest.raises(WeightsError):
        code.swap(tmp_path / "bad.gguf")
    assert chat.model


def test_a_swap_makes_room_too(pair, noise):
    chat, code = pair()
    chat.load()
    code.swap(noise)
    assert code.model and not chat.model and chat.ready().ok


def test_what_was_told_to_unload_is_not_brought_back(pair):
    chat, code = pair()
    chat.load()
    code.load()
    chat.unload()
    with pytest.raises(NotReady, match="was unloaded; load it again"):
        chat.complete(ask())
    assert code.model


def test_a_known_model_is_looked_up_by_its_own_name_and_an_unknown_one_by_its_place(tmp_path):
    profile = Profile("test", "Three models, of which only some may be together.", CHAT, CODE, ((CHAT.model, CODE.model), (CHAT.model, "small")))

    class Server:
        def __init__(self, name, model):
            self.name, self.model, self.aside = name, model, []

        def step_aside(self, why):
            self.aside.append(why)

    for loaded, coming, moves in ((CHAT.model, CODE.model, False), ("mine", CODE.model, False), (CODE.model, "small", True),
                                  (CODE.model, "mine", False), ("", "small", False)):
        residence, other, server = Residence(profile), Server("other", loaded), Server("server", "")
        residence.join(other, CODE.model if loaded == CODE.model else CHAT.model)
        residence.join(server, CHAT.model if loaded == CODE.model else CODE.model)
        residence.make_room(server, coming)
        assert bool(other.aside) is moves, (loaded, coming)
