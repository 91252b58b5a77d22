"""What belongs to no model is said, and what nobody knows is no number."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from suite.monitoring.gpu import Glance, Gpu
from suite.monitoring.model_memory import ModelMemory, ModelMemorySeries, with_rest

ROWS = [ModelMemory("chat", "a", "ram", 90, 100, "difference"), ModelMemory("code", "b", "ram", 40, 50, "process"),
        ModelMemory("chat", "a", "gpu", 300, 200, "difference"), ModelMemory("chat", "a", "gpu 0", None, 150, "difference"),
        ModelMemory("chat", "a", "gpu 1", None, 50, "difference"), ModelMemory("code", "b", "gpu", 300, None, "difference")]
CARDS = (Gpu(0, "c", "", 1000, 400, 600), Gpu(1, "c", "", 1000, 90, 910))


def rest(rows: list[ModelMemory], resident: int, cards: tuple[Gpu, ...]) -> dict[str, int | None]:
    made = with_rest(rows, resident, cards)
    assert made[:len(rows)] == rows
    assert all((row.server, row.model, row.planned, row.how) == ("", "unattributed", None, "rest") for row in made[len(rows):])
    return {row.where: row.seen for row in made[len(rows):]}


def test_the_rest_is_what_no_model_took_and_a_process_of_its_own_takes_nothing_of_the_kernel() -> None:
    assert rest(ROWS, 1000, CARDS) == {"ram": 900, "gpu": 290}
    assert rest(ROWS, 60, ()) == {"ram": 0} and rest([], 60, CARDS[:1]) == {"ram": 60, "gpu": 400}


def test_a_number_that_nobody_knows_is_no_sample() -> None:
    registry = CollectorRegistry()
    registry.register(ModelMemorySeries(lambda: with_rest(ROWS, 1000, CARDS)))
    models, others = registry.collect()
    found = {(one.labels["model"], one.labels["where"], one.labels["kind"]): one.value for one in models.samples}
    assert found == {("a", "ram", "planned"): 90, ("a", "ram", "seen"): 100, ("b", "ram", "planned"): 40, ("b", "ram", "seen"): 50,
                     ("a", "gpu", "planned"): 300, ("a", "gpu", "seen"): 200, ("a", "gpu 0", "seen"): 150, ("a", "gpu 1", "seen"): 50,
                     ("b", "gpu", "planned"): 300}
    assert {one.labels["where"]: one.value for one in others.samples} == {"ram": 900, "gpu": 290}


def test_who_looks_twice_at_one_moment_asks_the_driver_once() -> None:
    now, looks = [0.0], []
    cards = Glance(lambda: looks.append(now[0]) or CARDS, 1.0, clock=lambda: now[0])
    assert cards() == cards() == CARDS
    now[0] = 0.99
    cards()
    now[0] = 1.0
    cards()
    assert looks == [0.0, 1.0]
