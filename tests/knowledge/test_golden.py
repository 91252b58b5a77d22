"""The golden set is what it says it is, and what is found of it with the bundled models keeps its gates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from suite.checks import criteria
from suite.checks.condition import Condition
from suite.errors import NotReady, SettingsError
from suite.knowledge.evaluate import evaluate
from suite.knowledge.golden import KINDS, GoldenQuestion, load
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.read import Reader
from suite.settings import load as load_settings
from suite.text.language import language
from suite.text.terms import PAIR, terms

GOLDEN = load()
GATES = [condition for criterion in criteria.load(GOLDEN.gates).values() for condition in criterion.conditions]
GROUPS = sorted({(one.kind, one.language) for one in GOLDEN.answerable})
ARMS = ("sparse", "dense")
LEAST = {"unanswerable": 10, "paraphrase": 10}  # questions of a kind; of the others 6
NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("golden")
    (place / "data").mkdir()
    return load_settings({"data_dir": str(place / "data"), "rag_roots": str(GOLDEN.folder)}, environ={}, cwd=place)


@pytest.fixture(scope="module")
def texts(settings: Any) -> Iterator[dict[str, str]]:
    """What each document says, by its file name."""
    reader = Reader(settings, Path(settings.data_dir), GOLDEN.folder)
    yield {path.name: reader.read(str(path)).text for path in GOLDEN.folder.iterdir()}
    reader.close()


def of(kind: str) -> list[GoldenQuestion]:
    return [one for one in GOLDEN.questions if one.kind == kind]


def words(text: str) -> set[str]:
    """The search terms of a text without the pairs of Korean characters, which are parts of words."""
    return {term for term in terms(text) if not term.startswith(PAIR)}


def passage(text: str, quote: str) -> str:
    """The whole lines in which the quote stands: a paragraph, a row of a table, a line of code."""
    at = text.index(quote)
    end = text.find("\n", at + len(quote))
    return text[text.rfind("\n", 0, at) + 1:end if end >= 0 else None]


def names(text: str) -> set[str]:
    """Words that both languages write alike: numbers, and Latin words with a digit, a hyphen, an underscore or a capital."""
    return {word for word in NAME.findall(text) if re.search(r"[\d_A-Z-]", word)}


def test_there_are_enough_questions_of_every_kind_in_both_languages() -> None:
    counts = Counter(one.kind for one in GOLDEN.questions)
    assert len(GOLDEN.questions) >= 72 and set(counts) == set(KINDS)
    assert {kind: count for kind, count in counts.items() if count < LEAST.get(kind, 6)} == {}
    paraphrased, nowhere = (Counter(one.language for one in of(kind)) for kind in ("paraphrase", "unanswerable"))
    assert paraphrased["ko"] == paraphrased["en"] and nowhere["ko"] == nowhere["en"]


def test_no_question_is_asked_twice() -> None:
    for values in ([one.id for one in GOLDEN.questions], [one.question for one in GOLDEN.questions]):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_the_documents_are_many_small_in_both_languages_and_all_asked_about(texts: dict[str, str]) -> None:
    assert 14 <= len(texts) <= 20 and {Path(name).suffix for name in texts} >= {".md", ".txt", ".csv", ".html", ".py", ".hwpx", ".docx", ".pdf"}
    assert {name for name, text in texts.items() if not 900 < len(text) < 6000} == set()
    spoken = Counter(language(text) for text in texts.values())
    assert spoken["ko"] == spoken["en"] == len(texts) / 2
    assert {one.document for one in GOLDEN.answerable} == set(texts)


def test_each_quote_stands_once_in_its_document_and_holds_an_accepted_answer(texts: dict[str, str]) -> None:
    assert [one.id for one in GOLDEN.answerable if texts[one.document].count(one.quote) != 1] == []
    assert [one.id for one in GOLDEN.answerable if not one.answered_by(one.quote) or one.answered_by(one.question)] == []


def test_each_language_is_the_questions() -> None:
    plain, mixed = ([one for one in GOLDEN.questions if (one.language == "mixed") is so] for so in (False, True))
    assert [one.id for one in plain if language(one.question) != one.language] == []
    assert [one.id for one in mixed if not (re.search("[가-힣]", one.question) and re.search("[A-Za-z]{2}", one.question))] == []


def test_a_paraphrase_shares_no_word_with_its_paragraph(texts: dict[str, str]) -> None:
    shared = {one.id: words(one.question) & words(passage(texts[one.document], one.quote)) for one in of("paraphrase")}
    assert {name: found for name, found in shared.items() if found} == {}


def test_a_plain_question_shares_words_with_its_passage_and_one_about_a_table_with_its_row(texts: dict[str, str]) -> None:
    shared = {one.id: len(words(one.question) & words(passage(texts[one.document], one.quote))) for one in of("plain") + of("table")}
    assert [name for name, count in shared.items() if count < (2 if name.startswith("plain") else 1)] == []


def test_an_inflected_question_has_the_words_of_its_passage_in_other_forms() -> None:
    def bent(one: GoldenQuestion) -> set[str]:
        asked, said = set(one.question.split()), set(one.quote.split())
        stems = {stem for word in asked - said for stem in words(word)}
        return stems & {stem for word in said - asked for stem in words(word)}
    assert [one.id for one in of("inflected") if not bent(one)] == []


def test_a_question_across_languages_shares_a_name_or_a_number_with_its_document(texts: dict[str, str]) -> None:
    assert [one.id for one in of("cross") if language(texts[one.document]) == one.language] == []
    assert [one.id for one in of("cross") if not names(one.question) & names(texts[one.document])] == []


def test_questions_about_code_and_mixed_ones_hold_latin_words_of_their_documents(texts: dict[str, str]) -> None:
    def latin(text: str) -> set[str]:
        return {word.lower() for word in NAME.findall(text)}
    assert [one.id for one in of("code") + of("mixed") if not latin(one.question) & latin(texts[one.document])] == []


def broken(folder: Path, text: str) -> Path:
    (folder / "documents").mkdir()
    (folder / "questions.json").write_text(text, encoding="utf-8")
    return folder


ROW = '[{"id": "a", "question": "b", "language": "ko", "kind": "%s", "document": "%s", "quote": "", "answers": []}]'
FULL = ROW.replace('"quote": ""', '"quote": "q"').replace("[]", '["q"]')


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"id": "a"}]', FULL % ("odd", "a.md"), ROW % ("plain", ""), ROW % ("plain", "a.md"),
                                  FULL % ("unanswerable", "a.md")])
def test_a_broken_set_is_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"questions\.json cannot be read"):
        load(broken(tmp_path, text))


def test_a_set_without_its_documents_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lacks the documents of a"):
        load(broken(tmp_path, FULL % ("plain", "a.md")))


def silent(messages: Any, options: Any) -> Any:
    raise NotReady("no chat model takes part in this measurement")


@pytest.fixture(scope="module")
def knowledge(settings: Any, embedder: Any) -> Iterator[Knowledge]:
    """All documents in one collection, with the bundled embedder and no chat model."""
    from suite.storage.engine import open_storage
    from suite.vectors.edge import EdgeStore

    assert embedder.model.name == "all-MiniLM-L6-v2", "the gates are those of the bundled embedder"
    storage, store = open_storage("", Path(settings.data_dir)), EdgeStore(Path(settings.data_dir) / "vectors")
    store.open()
    made = Knowledge(storage, store, embedder, silent, settings)
    added = made.add("golden", [str(GOLDEN.folder)], GOLDEN.folder)
    assert (added.new, added.skipped) == (len(list(GOLDEN.folder.iterdir())), ())
    yield made
    made.close()
    store.close()
    storage.close()


@pytest.fixture(scope="module")
def search(knowledge: Knowledge) -> Any:
    return cache(lambda question, limit, retriever: knowledge.search("golden", question, limit, retriever))


def recalls(search: Any) -> dict[str, float]:
    """Recall by kind and language, of all questions, and how far what `ask` uses lies above the better arm."""
    figures = {}
    for kind, spoken in [*GROUPS, ("all", "questions")]:
        asked = [GOLDEN.asked(one) for one in GOLDEN.answerable if (kind, spoken) in ((one.kind, one.language), ("all", "questions"))]
        row = evaluate(search, asked, ("default",)).row()
        figures |= {f"{kind} {spoken} {measure}": row[measure] for measure in ("recall@1", "recall@5")}
    found = evaluate(search, map(GOLDEN.asked, GOLDEN.answerable), ("default", *ARMS))
    for spoken in ("ko", "en", "all"):
        best = max(found.row(arm, spoken)["recall@1"] for arm in ARMS)
        figures[f"above the better arm, {spoken}"] = round(found.row("default", spoken)["recall@1"] - best, 4)
    return figures


@pytest.fixture(scope="module")
def figures(knowledge: Knowledge, search: Any) -> dict[str, float]:
    """Everything that is measured, by the names of the gates."""
    answers = [(one, knowledge.ask("golden", one.question)) for one in GOLDEN.answerable]
    given = [(one, found) for one, found in answers if not found.refused]
    assert all(found.extractive and found.citations for _, found in given)
    citations = [citation for _, found in given for citation in found.citations]
    right = [one.answered_by(found.text) for one, found in given]
    cited = [any(one.quote in citation.quote for citation in found.citations) for one, found in given]
    far = [knowledge.ask("golden", one.question).refused for one in GOLDEN.unanswerable if one.id.startswith("un-far-")]
    made = recalls(search) | {"far questions refused": sum(far) / len(far), "citations current": sum(citation.current for citation in citations) / len(citations),
                              "answers given": len(given) / len(answers),
                              "answers that hold the accepted one": sum(right) / len(answers),
                              "answers that cite the passage": sum(cited) / len(answers)}
    print("\n".join(f"{name:<40}{value:.4f}" for name, value in made.items()))
    return made


def test_every_figure_has_a_gate_and_every_gate_a_figure(figures: dict[str, float]) -> None:
    assert sorted(gate.name for gate in GATES) == sorted(figures)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_the_gate_holds(gate: Condition, figures: dict[str, float]) -> None:
    assert gate.met(figures[gate.name]), gate.entry(figures[gate.name])


def test_a_search_that_puts_the_best_last_breaks_the_gates(search: Any) -> None:
    spoilt = recalls(lambda question, limit, retriever: search(question, limit, retriever)[::-1])
    broken = {gate.name for gate in GATES if gate.name in spoilt and not gate.met(spoilt[gate.name])}
    assert broken >= {gate.name for gate in GATES if gate.name in spoilt and gate.limit > 0.3}


def test_an_arm_that_is_better_than_what_ask_uses_breaks_the_gate(search: Any) -> None:
    spoilt = recalls(lambda question, limit, retriever: search(question, limit, "dense" if retriever == "default" else retriever))
    [gate] = [gate for gate in GATES if gate.name == "above the better arm, all"]
    assert not gate.met(spoilt[gate.name])
