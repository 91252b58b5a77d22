"""The bundled smoke model answers, refuses and says what it is, on generated cases whose names and values it was not trained on."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from suite.serving.weights import check
from suite.settings import package_file

CASES_PER_COUNT, MOST_FACTS = 15, 4
SEED = 20261123


@pytest.fixture(scope="module")
def measuring() -> Iterator[ModuleType]:
    """models/measure_smoke.py, with the modules beside it."""
    folder = str(package_file("models/catalog.toml").parent)
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("measure_smoke")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def measured(measuring: ModuleType) -> dict:
    """Its figures on 60 answerable and 60 other questions in each language, and on general messages."""
    ask = measuring.model(package_file("models/smoke.gguf"), threads=1)
    figures, asked = measuring.report(ask, CASES_PER_COUNT, MOST_FACTS, SEED)
    assert len(asked) > 250
    return figures


@pytest.mark.parametrize("language", ["en", "ko"])
def test_answers_are_copied_to_the_letter(measured: dict, language: str) -> None:
    assert measured[language]["up_to_4"]["exact"] >= 0.9


@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_the_passages_do_not_hold_is_refused(measured: dict, language: str) -> None:
    assert measured[language]["up_to_4"]["refused"] >= 0.8


def test_a_general_message_is_told_what_the_model_is(measured: dict) -> None:
    assert measured["general"]["generated"] >= 0.8
    assert measured["general"]["real"] >= 0.8


def test_the_file_is_small_and_says_what_it_is() -> None:
    weights = check(package_file("models/smoke.gguf"))
    assert weights.bytes <= 8_000_000
    assert weights.smoke and weights.meta["general.architecture"] == "llama"
    assert weights.meta["general.license"] == "apache-2.0"


def test_names_are_cut_alike_wherever_they_stand(measuring: ModuleType) -> None:
    import llama_cpp
    from smoke_data import Maker  # beside measure_smoke, whose fixture has put the folder on the path

    llama = llama_cpp.Llama(str(package_file("models/smoke.gguf")), vocab_only=True, verbose=False)
    maker = Maker(SEED, unseen=True)
    for language in ("en", "ko") * 50:
        case = maker.case(3, language=language)
        passages = _cut(llama, case.head)
        for (question, answer), refused in zip(case.asked, case.refused, strict=True):
            assert refused or re.search(rf"(?<!\d){_cut(llama, answer)}(?!\d)", passages), (case.head, question, answer)


def _cut(llama: object, text: str) -> str:
    return " ".join(map(str, llama.tokenize(text.encode(), add_bos=False, special=False)))


def test_names_are_split_into_trained_and_unseen_ones(measuring: ModuleType) -> None:
    from smoke_data import Maker

    trained, unseen = Maker(1), Maker(1, unseen=True)
    for language in ("en", "ko"):
        known = {trained.name(language) for _ in range(3000)}
        assert known.isdisjoint(unseen.name(language) for _ in range(300))
