"""What a loaded model takes of each memory: planned from its file, seen at its own process or around its load."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from suite.monitoring.gpu import Gpu, GpuProcess
from suite.monitoring.model_memory import ModelMemory
from suite.serving import held
from suite.serving.fit import ModelSize
from suite.serving.held import Held, Look
from suite.serving.server import ModelServer
from suite.serving.weights import glance
from suite.settings import package_file

GIB = 1 << 30
CARD = Gpu(0, "card", "GPU-0", 8 * GIB, GIB, 7 * GIB)
TOKENS = 65_536  # such a cache takes much more than what else may change around a load


def planned(server: ModelServer) -> int:
    prepared = server._loaded.prepared
    return ModelSize.of(prepared.weights).take(prepared.parameters, 0)[1]


def test_in_the_kernel_the_growth_around_the_load_is_seen_and_called_a_difference(new_server: Callable[..., ModelServer]) -> None:
    server = new_server(llama_kv_tokens=TOKENS)
    assert server.memory(()) == []
    before = psutil.Process().memory_info().rss
    server.load()
    grown = psutil.Process().memory_info().rss - before
    (row,) = server.memory(())
    assert (row.server, row.model, row.where, row.how) == ("inference-chat", "smoke", "ram", "difference")
    assert row.planned == planned(server) > 100 << 20
    assert 0.5 * row.planned < row.seen <= grown
    server.unload()
    assert server.memory(()) == []


def test_in_a_process_of_its_own_that_process_is_asked(new_server: Callable[..., ModelServer]) -> None:
    server = new_server(serving_isolation="process", llama_kv_tokens=TOKENS)
    server.load()
    (row,) = server.memory(())
    held_now = psutil.Process(server._loaded.decoder.pid).memory_info().rss
    assert (row.where, row.how) == ("ram", "process") and row.seen == pytest.approx(held_now, rel=0.05) and row.seen > 0.5 * row.planned


def test_a_process_that_has_died_holds_nobody_knows_how_much() -> None:
    child = psutil.Popen(["true"])
    child.wait()
    assert Held((1, 0), 5, {}).rows("s", "m", child.pid, ()) == [ModelMemory("s", "m", "ram", 1, None, "process")]


def test_layers_on_a_card_are_planned_and_looked_for_there(new_server: Callable[..., ModelServer], monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([GIB, 3 * GIB])
    monkeypatch.setattr(held, "gpus", lambda: (replace(CARD, used=next(used)),))
    server = new_server(chat_n_gpu_layers=99)
    server.load()
    ram, gpu = server.memory((CARD,))
    on_card, in_memory = ModelSize.of(glance(package_file("models/smoke.gguf"))).take(server._loaded.prepared.parameters, 99)
    assert (ram.planned, gpu.planned) == (in_memory, on_card) and on_card > 0
    assert (gpu.where, gpu.seen, gpu.how) == ("gpu", 2 * GIB, "difference")


def rows(cards: tuple[Gpu, ...], pid: int | None = 7, taken: dict[int, int | None] | None = None) -> list[tuple[str, int | None, str]]:
    found = Held((10, 20), 11, {0: 4, 1: 5} if taken is None else taken).rows("s", "m", pid, cards)
    return [(row.where, row.seen, row.how) for row in found if row.where != "ram"]


def test_the_driver_is_asked_for_the_models_own_process_and_several_cards_are_told_apart() -> None:
    first = replace(CARD, processes=(GpuProcess(7, 100), GpuProcess(8, 900)))
    second = replace(CARD, index=1, processes=(GpuProcess(7, 30),))
    assert rows((first,)) == [("gpu", 100, "process")]
    assert rows((first, second)) == [("gpu", 130, "process"), ("gpu 0", 100, "process"), ("gpu 1", 30, "process")]
    assert rows((first, replace(second, processes=None))) == [("gpu", 105, "difference"), ("gpu 0", 100, "process"), ("gpu 1", 5, "difference")]


@pytest.mark.parametrize("processes", [None, (), (GpuProcess(7, None),)], ids=["no list", "not in it", "without a size"])
def test_where_the_driver_does_not_know_the_process_the_difference_stands(processes: tuple[GpuProcess, ...] | None) -> None:
    assert rows((replace(CARD, processes=processes),)) == [("gpu", 4, "difference")]
    assert rows((replace(CARD, processes=processes),), taken={0: None}) == [("gpu", None, "difference")]


def test_layers_that_were_planned_without_any_card_are_seen_nowhere() -> None:
    assert rows(()) == [("gpu", 0, "process")] and rows((), pid=None) == [("gpu", 0, "difference")]


@pytest.mark.parametrize(("before", "after", "more"), [
    ((0, 500), (300, 900), 300),  # this process' own bytes
    ((None, 500), (None, 900), 400),  # WSL2: everybody's
    ((0, 500), (None, 900), 400), ((0, 500), (0, 900), 400),  # in a container this process is not found
    ((None, None), (None, 900), None), ((None, 900), (None, 500), 0), ((300, 900), (100, 500), 0),
])
def test_what_a_load_took_of_a_card(before: tuple[int | None, int | None], after: tuple[int | None, int | None], more: int | None) -> None:
    weights = glance(package_file("models/smoke.gguf"))
    parameters = held.Parameters(n_gpu_layers=99)
    made = Held.between(weights, parameters, Look(100, {0: before}), Look(90, {0: after}))
    assert made.cards == {0: more} and made.resident == 0


def test_the_own_process_is_asked_for_only_where_the_model_is_loaded_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(held, "gpus", lambda: asked.append(1) or (replace(CARD, processes=(GpuProcess(os.getpid(), 70),)),))
    assert held.look(held.Parameters(n_gpu_layers=1), here=True).cards == {0: (70, GIB)}
    assert held.look(held.Parameters(n_gpu_layers=1), here=False).cards == {0: (None, GIB)}
    assert held.look(held.Parameters(), here=True).cards == {} and len(asked) == 2
