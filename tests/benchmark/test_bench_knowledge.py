"""`suite bench knowledge` with tiny loads: rows, verdicts, a peer that cannot be had, question sets that are given or not."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from suite.benchmark import knowledge as bench
from suite.benchmark import knowledge_memory as memory
from suite.benchmark import knowledge_peer as peer
from suite.benchmark import knowledge_quality as quality
from suite.benchmark import knowledge_speed as speed
from suite.benchmark.child import Child
from suite.benchmark.knowledge_job import Job, Load
from suite.benchmark.knowledge_points import COLLECTION, DIM, LITTLE, Corpus, Points
from suite.benchmark.knowledge_texts import Writer, fill, paragraph_files, particle, vocabulary
from suite.benchmark.row import Limit, line, status
from suite.benchmark.scene import Scene
from suite.cli.main import main
from suite.errors import BadRequest, RunFailed
from suite.settings import Settings, load
from suite.text.language import language

TINY = Load(kilobytes=3, chunks=300, asked=20, compared=5, memory=(6, 30), real=2, paragraphs=4)
KEYS = ["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]


@pytest.fixture
def job(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A tiny measurement; its processes end with the test."""
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    settings = load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir), "embedding_threads": 1}, environ={})
    before = psutil.Process().children(recursive=True)  # of other tests in this worker
    with Scene(settings, lambda text: None) as scene:
        yield Job(scene, 1, TINY)
    assert [child for child in psutil.Process().children(recursive=True) if child not in before] == []


def loosened(monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> None:
    """Limits that anything meets, because a test asserts no time."""
    for name in names:
        known: Limit = getattr(module, name)
        monkeypatch.setattr(module, name, dataclasses.replace(known, op=">=", limit=0.0))


def squad(file: Path, rows: dict[str, list[str]]) -> Path:
    """A file in SQuAD's format: paragraphs, each with its questions."""
    paragraphs = [{"context": context, "qas": [{"question": question, "answers": []} for question in questions]}
                  for context, questions in rows.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), encoding="utf-8")
    return file


ENGLISH = {"The harbour of Norwick was opened in 1871 by the mayor.": ["When was the harbour of Norwick opened?"],
           "Green tea is grown on the hills of the island.": ["What is grown on the hills of the island?"]}
KOREAN = {"백업은 매일 새벽 세 시에 시작한다.": ["백업은 언제 시작합니까?"], "회의는 목요일마다 큰 방에서 열린다.": ["회의는 어느 방에서 열립니까?"]}


def test_quality_is_measured_alone_and_together(job: Job, tmp_path: Path) -> None:
    squad(tmp_path / "sets" / "a.json", ENGLISH)
    squad(tmp_path / "sets" / "b.json", KOREAN)
    job = dataclasses.replace(job, files=bench.question_sets(tmp_path / "sets"), quick=True)
    rows = quality.quality(job)
    assert all(list(row) == KEYS for row in rows) and len(rows) == 2 * 2 * 2 * 4  # files, alone and together, ranks, rows
    assert Counter((row["limit"], row["met"]) for row in rows) == {  # held to them in a quick measurement too
        (92.5, True): 2, (98.5, True): 2, (97.0, True): 2, (1.0, True): 8, (None, None): 18}
    english = [row for row in rows if row["name"].startswith("English") and "a.json, alone" in row["name"]]
    assert [row["value"] for row in english] == [100.0, 1.0, 100.0, 100.0] * 2
    assert sum("2 files in one collection" in row["name"] for row in rows) == 16 and status(rows) == 0
    assert not any(job.scene.scratch.glob("paragraphs*"))


@pytest.mark.parametrize(("of", "rank", "share", "met"), [("ko", "1", 92.49, False), ("ko", "1", 92.5, True), ("ko", "5", 98.4, False),
                                                          ("en", "1", 96.99, False), ("en", "1", 97.0, True), ("en", "5", 1.0, None)])
def test_worse_recall_than_was_asked_is_not_met(of: str, rank: str, share: float, met: bool | None) -> None:
    row = quality.default(of, rank).row(share)
    assert row["met"] is met and ("NOT MET" in line(row)) is (met is False)


def test_an_arm_that_is_better_alone_is_not_met(tmp_path: Path) -> None:
    file = squad(tmp_path / "a.json", ENGLISH)
    found = {"n": 2, "default": {"1": 98.0, "5": 100.0}, "sparse": {"1": 98.1, "5": 100.0}, "dense": {"1": 90.0, "5": 0.0}}
    rows = [row for row in quality._rows(file, "alone", found) if row["unit"] == "x"]
    assert [(row["met"], row["ratio"] == row["value"]) for row in rows] == [(False, True), (True, True)] and status(rows) == 1
    nothing = {"n": 2, **{name: {"1": 0.0, "5": 0.0} for name in ("default", "sparse", "dense")}}
    assert [row["met"] for row in quality._rows(file, "alone", nothing) if row["unit"] == "x"] == [True, True]


def test_indexing_is_held_against_bare_fastembed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    loosened(monkeypatch, speed, "OURS")
    rows = speed.indexing(job)
    job.folder("half").mkdir()
    for name in ("a.txt", "b.doc"):
        (job.folder("half") / name).write_text("A sentence.", encoding="utf-8")
    with pytest.raises(RunFailed, match=r"1 of the files in .* were skipped, so the time means nothing"):
        job.stack("the stack").ask("index", collection="half", folder=str(job.folder("half")))
    rows += speed.indexing_korean(job)
    assert all(list(row) == KEYS and row["value"] > 0 for row in rows) and status(rows) == 0
    assert [row["met"] for row in rows] == [None, True, None, None] and rows[1]["peer"] == "bare fastembed"
    texts = json.loads(job.folder("english-0.json").read_text(encoding="utf-8"))
    written = "".join(file.read_text(encoding="utf-8") for file in sorted(job.folder("english-0").iterdir()))
    assert f"{len(texts):,} chunks a round" in rows[0]["name"] and all(text in written for text in texts)  # both embedded as many, of these files


def test_a_quick_measurement_holds_speed_to_nothing(job: Job) -> None:
    quick = dataclasses.replace(job, quick=True)
    assert quick.held(speed.OURS).row(0.1)["met"] is None and "quick" in quick.note("a")
    assert job.held(speed.OURS).row(0.1)["met"] is False and job.note("a") == "a"


def test_slow_retrieval_is_status_1(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "TAIL", dataclasses.replace(speed.TAIL, limit=0.0))
    rows = job.scene.measure([("retrieval", speed.FOUND, lambda: speed.retrieval(job))])
    assert [list(row) for row in rows] == [KEYS] * 7 and all("300 made chunks" in row["name"] for row in rows)
    assert rows[1]["met"] is False and "NOT MET" in line(rows[1]) and status(rows) == 1
    assert rows[2]["value"] == 100.0 and rows[2]["met"]  # so few are searched exactly anyway
    assert "it lacks 300 then" in rows[4]["name"] and all(row["value"] > 0 for row in (*rows[:4], *rows[5:]))


def test_nothing_is_asked_of_retrieval_among_many(job: Job) -> None:
    rows = speed.retrieval_among_many(dataclasses.replace(job, many=400))
    assert len(rows) == 7 and {row["met"] for row in rows} == {None} and status(rows) == 0
    titles = [title for title, _, _ in bench.sections(job)]
    assert [title for title, _, _ in bench.sections(dataclasses.replace(job, many=400))] == [*titles, "retrieval among 400 chunks"]


def test_an_index_that_is_not_made_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = Points(str(tmp_path / "points"), 50, 5)
    try:
        monkeypatch.setattr(points._store, "stats", lambda: {COLLECTION: {"points": 50, "unoptimized_points": 0, "optimizing": 0, "failed": 1}})
        with pytest.raises(RunFailed, match="index was not made"):
            points.fill()
    finally:
        points.close()


def test_memory_is_that_of_the_stack_while_it_indexes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    idle, most = memory._run(job, 6)
    assert 50 << 20 < idle.own <= idle.resident <= most.resident and idle.own <= most.own <= most.resident
    runs = {6: (memory.Held(100, 90), memory.Held(200, 100)), 30: (memory.Held(100, 90), memory.Held(230, 105))}
    monkeypatch.setattr(memory, "_run", lambda job, kilobytes: [memory.Held(held.resident << 20, held.own << 20) for held in runs[kilobytes]])
    rows = memory.memory(job)
    assert [list(row) for row in rows] == [KEYS] * 5 and "0.006 and 0.03 MB" in rows[0]["name"] and status(rows) == 1
    assert [(round(row["value"] / 1.048576 if row["unit"] == "MB" else row["value"], 3), row["met"]) for row in rows] == [
        (100, None), (130, True), (1.15, False), (15, None), (1.05, None)]
    runs[30] = (memory.Held(100, 90), memory.Held(1100, 105))
    assert [row["met"] for row in memory.memory(job)] == [None, False, False, None, None]


def test_a_peak_is_the_most_of_many_looks_and_an_error_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(10, 5), (20, 9), (30, 6), None])
    over = threading.Event()

    class Changing(Child):
        def memory(self) -> tuple[int, int]:
            found = next(looks)
            if found is None:
                over.set()
                raise RunFailed("The memory could not be read.")
            return found

    monkeypatch.setattr(memory, "LOOK_EVERY", 0.001)
    with pytest.raises(RunFailed, match="could not be read"), Changing("client") as child, memory.Peak(child) as peak:
        assert over.wait(60)
    assert (peak.first, peak.most) == (memory.Held(10, 5), memory.Held(30, 9))


def test_the_memory_of_a_process_that_is_gone_is_an_error() -> None:
    with Child("client") as child:
        child.wait_until(lambda: child.memory()[0] > 5 << 20, 60)
        resident, own = child.memory()
        assert 0 < own < resident  # the interpreter and its libraries are mapped files
        child.kill()
        with pytest.raises(RunFailed, match="memory of the contender 'client'"):
            child.memory()


class StandIn:
    """A peer that answers at once, and finds the file of every other question."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def ask(self, verb: str, seconds: float = 0.0, /, **values: Any) -> Any:
        if verb == "index":
            return {"seconds": 1.0, "chunks": len(list(Path(values["folder"]).iterdir()))}
        return [{"seconds": 0.001, "files": [self.answers[question] if number % 2 else "another.txt"]}
                for number, question in enumerate(values["questions"])]


def test_the_same_job_stands_beside_the_peer(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squad(tmp_path / "sets" / "a.json", ENGLISH)
    squad(tmp_path / "sets" / "b.json", KOREAN)
    job = dataclasses.replace(job, files=bench.question_sets(tmp_path / "sets"))
    answers = {question: name for file in job.files for question, name in paragraph_files(file, tmp_path / "copy")}
    stand_in = StandIn(answers)
    monkeypatch.setattr(peer, "_peer", lambda job, folder, asked: lambda _: {**stand_in.ask("index", folder=str(folder)),
                                                                            "found": stand_in.ask("ask", questions=asked)})
    rows = peer.beside_peer(job)
    assert all(list(row) == KEYS for row in rows) and status(rows) == 0
    assert rows[0]["value"] == 1.0 and rows[1]["ratio"] == rows[1]["value"] and "4 files" in rows[0]["name"]
    assert [row["value"] for row in rows if row["name"].startswith(peer.PEER_FIND.name)] == [1.0, 1.0]
    right = [row for row in rows if row["unit"] == "%"]  # theirs and ours, for each file
    assert [(row["value"], row["ratio"]) for row in right] == [(50.0, None), (100.0, 2.0)] * 2
    assert ["a.json, 2 questions" in row["name"] for row in right] == [True, True, False, False]


def test_without_the_peer_its_rows_are_no_pass_and_ours_stand(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Callable[[int], dict[str, Any]]:
        raise RunFailed("llama-index cannot be installed: no network.")

    monkeypatch.setattr(peer, "_peer", absent)
    rows = peer.beside_peer(job)
    assert [row["value"] is None for row in rows] == [True, False] * 3 and "no network" in rows[0]["name"]
    assert all(row["ratio"] is None for row in rows) and rows[5]["value"] > 0 and status(rows) == 2


def test_the_peer_is_given_the_same_weights_in_its_own_layout(tmp_path: Path, models_dir: Path) -> None:
    for _ in range(2):  # a second contender of the same measurement
        folder = peer.weights(models_dir, tmp_path / "weights")
    assert (folder / "model.onnx").resolve() == (models_dir / "minilm" / "onnx" / "model.onnx").resolve()
    assert (folder / "tokenizer.json").exists()
    with pytest.raises(RunFailed, match="suite models pull minilm"):
        peer.weights(tmp_path, tmp_path / "other")


def test_made_texts_are_the_same_each_time_and_in_their_language(tmp_path: Path) -> None:
    assert Writer("a").document(500) == Writer("a").document(500) != Writer("b").document(500)
    assert [language(Writer(str(number), of).document(500)) for of in ("en", "ko") for number in range(5)] == ["en"] * 5 + ["ko"] * 5
    size = fill(tmp_path / "texts", "x", 600_000, korean_every=3)
    files = sorted((tmp_path / "texts").iterdir())
    assert size == sum(file.stat().st_size for file in files) and 600_000 <= size < 630_000
    assert [language(file.read_text(encoding="utf-8")) for file in files[:6]] == ["en", "en", "ko"] * 2
    paragraphs, asked = Writer("q").answered(5)
    named = [re.search(r" (?:of|in) ([A-Z]\w+)", one.text) for one in asked]
    assert [len([text for text in paragraphs if match and match[1] in text]) for match in named] == [1] * 10  # one paragraph answers each,
    assert all(match and match[1] in paragraphs[one.place] for match, one in zip(named, asked, strict=True))  # the one that it names
    assert [particle("다리", "을", "를"), particle("섬", "을", "를")] == ["다리를", "섬을"]
    words = list(vocabulary(2000))
    assert len(set(words)) == 2000 and words == list(vocabulary(2000))


def test_made_chunks_have_neighbours_and_few_frequent_words() -> None:
    corpus = Corpus(2500, 50)
    points = [point for batch in corpus.points() for point in batch]
    assert len(points) == 2500 and len({point.id for point in points}) == 2500 and len(corpus.questions) == 50
    chance = random.Random(1)

    def cosine(a: Any, b: Any) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    same = [cosine(points[number].vector, points[number + 1].vector) for number in range(0, 2000, 10)]
    others = [cosine(points[number].vector, points[chance.randrange(2500)].vector) for number in range(200)]
    assert len(points[0].vector or ()) == DIM and sum(same) / len(same) > 0.8 > 0.3 > sum(others) / len(others)
    often = [count for _, count in Counter(term for point in points for term in point.sparse or ()).most_common()]
    assert often[30] > 1000 and often[len(LITTLE) + 10] > 10 * often[len(LITTLE) + 250]  # function words; then Zipf's law, not all words alike
    assert all(language(point.payload["text"]) == "en" for point in points[:50])


def test_question_sets_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"holds no \*.json file"):
        bench.question_sets(tmp_path)
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BadRequest, match="SQuAD's format"):
        bench.question_sets(tmp_path)
    squad(tmp_path / "a.json", {"A paragraph.": []})
    with pytest.raises(BadRequest, match="no question that has an answer"):
        bench.question_sets(tmp_path)


def test_without_data_quality_is_not_measured_and_the_rest_goes_on(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "sections", lambda job: [("quality", quality.LIMITS, lambda: quality.quality(job)),
                                                        ("rest", (), lambda: [speed.OURS.row(1.0)])])
    settings = load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir)}, environ={})
    rows = bench.knowledge(settings, 1, False, lambda text: None)
    assert len(rows) == 9 and all(row["value"] is None and "no --data" in row["name"] for row in rows[:8]) and status(rows) == 2


@pytest.mark.parametrize(("share", "code"), [(0.95, 0), (0.85, 1)])
def test_the_command_hands_its_options_on_and_exits_by_the_rows(share: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def measure(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], data: Path | None, million: bool) -> list[dict[str, Any]]:
        asked.append((rounds, quick, data, million))
        return [speed.OURS.row(share)]

    monkeypatch.setattr(bench, "knowledge", measure)
    assert main(["bench", "knowledge", "--quick", "--rounds", "2", "--data", str(tmp_path), "--million", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["rows"][0]["met"] is (code == 0)
    assert main(["bench", "knowledge"]) == code and asked == [(2, True, tmp_path, True), (3, False, None, False)]
    assert ("NOT MET" in capsys.readouterr().out) is (code == 1)


def test_data_that_is_not_there_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "knowledge", "--data", str(tmp_path / "nothing")]) == 2
    assert "could not measure" in capsys.readouterr().err
