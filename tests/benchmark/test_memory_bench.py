"""`suite bench memory` with tiny loads: what is filled is what was promised, rows, limits, verdicts, and a backup while somebody saves."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.benchmark import memory as bench
from suite.benchmark import memory_backup, memory_bank
from suite.benchmark.memory_bank import Bank, Plain
from suite.benchmark.memory_texts import ASKED, EVERYDAY, FREQUENT, LITTLE, Talk, check
from suite.benchmark.row import status
from suite.cli.main import main
from suite.errors import RunFailed, StorageError
from suite.memory.record import store_name
from suite.settings import Settings, load
from suite.text.language import language
from suite.text.terms import terms

KEYS = ["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]
TINY = bench.Load(sizes=(40, 120), real=40, asked=3, compared=2)


@pytest.fixture
def settings(tmp_path: Path, models_dir: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir), "embedding_threads": 1}, environ={})


@pytest.fixture(scope="module")
def talk(models_dir: Path) -> Talk:
    return Talk(models_dir)


@pytest.fixture
def bank(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    """Forty turns with the embedder's vectors and eighty with made ones."""
    monkeypatch.setattr(memory_bank, "PORTION", 40)
    with Bank(tmp_path / "bank", settings, 40, lambda text: None) as made:
        made.grow(120)
        yield made


def test_made_turns_are_of_real_words_few_of_which_are_frequent(talk: Talk) -> None:
    for of in ("en", "ko"):
        turns = talk.turns(of, 400)
        often = Counter(rank for made in turns for rank in set(made.ranks.tolist()))
        assert often[0] > 300 > often[30] > 20 and len(often) > 2_000  # in nearly every turn; in some; and a long tail
        assert sum(language(" ".join(talk.text(made))) == of for made in turns) > 390
        assert all(4 <= made.split < len(made.ranks) for made in turns)
    assert talk.words["en"].listed[:3] == ["the", "of", "and"] and len(talk.words["en"].listed) > 20_000 < len(talk.words["ko"].listed)
    assert len(set(talk.words["ko"].listed)) == len(talk.words["ko"].listed)


def test_the_terms_that_are_filled_in_are_those_of_the_text(talk: Talk) -> None:
    sample = [made for of in ("en", "ko") for made in talk.turns(of, 50)]
    check(talk, sample)
    for made in sample:
        assert talk.stored(made)[:2] == tuple(part.replace(" ", "\n") if made.language == "ko" else part for part in talk.text(made))
    wrong = dataclasses.replace(sample[0])
    talk_of_lies = Talk.__new__(Talk)
    talk_of_lies.words = talk.words
    talk_of_lies.stored = lambda made: (*Talk.stored(talk, made)[:2], ["another"])  # type: ignore[method-assign]
    with pytest.raises(RunFailed, match="are not those of its words"):
        check(talk_of_lies, [wrong])


def test_a_question_has_words_of_its_turn_half_of_them_frequent(talk: Talk) -> None:
    shares = []
    for of in ("en", "ko"):
        places = {word: rank for rank, word in enumerate(talk.words[of].listed)}
        for made in talk.turns(of, 60):
            asked = talk.question(made)
            everyday = next(words for words in EVERYDAY[of] if asked.startswith(words))
            content = asked.removeprefix(everyday).split()
            assert set(content) <= {talk.words[of].listed[rank] for rank in made.ranks.tolist()} and len(content) <= ASKED[1]
            assert all(places[word] >= LITTLE for word in content)
            shares += [places[word] < FREQUENT for word in content]
    assert 0.35 < sum(shares) / len(shares) < 0.6


def test_a_filled_bank_holds_turns_terms_and_vectors_as_if_they_had_been_saved(bank: Bank) -> None:
    stats = bank.memory.stats()
    assert stats["memories"] == 120 and stats["sync"] == {"synced": 120} and bank.store.count(store_name(bank.project)) == 120
    with bank.storage.read() as connection:
        rows = connection.exec_driver_sql("SELECT seq, question, reply, length FROM memories").all()
        words = dict(connection.exec_driver_sql("SELECT rowid, terms FROM memory_words").all())
    assert all(len(words[row.seq].split(" ")) == row.length == len(terms(f"{row.question}\n{row.reply}")) for row in rows)
    assert sum(language(row.question) == "ko" for row in rows) == pytest.approx(60, abs=4)
    points = bank.store.scroll(store_name(bank.project), limit=200)
    lengths = [float(np.linalg.norm(point.vector)) for point in points if point.vector is not None]
    assert len(lengths) == pytest.approx(100, abs=4) and lengths == pytest.approx([1.0] * len(lengths), abs=1e-4)  # real Korean ones have none
    assert bank.settle() >= 0 and min(bank.disk()) > 0


def test_a_question_that_finds_too_little_is_no_measurement(bank: Bank) -> None:
    assert len(bank.recalls(bank.questions("en", 3), "hybrid")) == 3 and all(mark > 0 for mark in bank.saves("ko", 2))
    with pytest.raises(RunFailed, match="found 0 of 5 turns"):
        bank.recalls(["qwertyuiop"], "words")


def test_the_peer_holds_the_same_terms_and_is_asked_for_the_same(bank: Bank) -> None:
    plain = Plain(bank)
    plain.fill()
    plain.fill()  # what is there is not filled in twice
    with closing(sqlite3.connect(bank.folder.parent / "plain.db")) as connection:
        assert connection.execute("SELECT count(*) FROM plain").fetchone()[0] == 120
    assert len(plain.asks(bank.questions("ko", 2))) == 2
    with pytest.raises(RunFailed, match="peer found 0"):
        plain.asks(["qwertyuiop"])


def test_rows_of_every_size_and_the_limits_of_the_greatest(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "HELD", 120)
    monkeypatch.setattr(bench, "MOST", {what: limit and 1e9 for what, limit in bench.MOST.items()})  # a test asserts no time
    monkeypatch.setattr(memory_backup, "BACKUP", dataclasses.replace(memory_backup.BACKUP, limit=1e9))
    monkeypatch.setattr(memory_bank, "PORTION", 40)
    monkeypatch.setattr(memory_bank, "TOPK", 1)  # so few turns do not hold five that share a word with any question
    said: list[str] = []
    rows = bench.memory(settings, 2, False, said.append, TINY)
    assert all(list(row) == KEYS and row["value"] is not None for row in rows), [row for row in rows if row["value"] is None]
    assert status(rows) == 0, [row for row in rows if row["met"] is False]
    of = {size: [row for row in rows if f"{size} turns:" in row["name"]] for size in TINY.sizes}
    assert [len(found) for found in of.values()] == [18, 18] and not any(row["limit"] for row in of[40])
    assert sum(row["limit"] == 1e9 and "p95" in row["name"] for row in of[120]) == 6
    peers = [row for row in of[120] if row["peer"]]
    assert [row["ratio"] is not None and row["peer"] == bench.PEER for row in peers] == [True, True]
    assert sum("on disk, 120 turns" in row["name"] for row in rows) == 2
    assert any("backup with writes going on" in row["name"] and "120 turns" in row["name"] for row in rows) and "40 turns" in said


def test_a_slow_save_is_not_met_and_a_failing_size_lets_the_others_go_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    row = bench.timed("save", "ko", bench.HELD, 95)
    assert (row.row(10.0)["met"], row.row(10.01)["met"], bench.timed("save", "ko", 1_000, 95).row(99.0)["met"]) == (True, False, None)
    assert (bench.timed("word search", "en", bench.HELD, 95).limit, bench.timed("hybrid search", "en", bench.HELD, 95).limit) == (50.0, 100.0)
    monkeypatch.setattr(memory_bank, "PORTION", 40)
    monkeypatch.setattr(memory_bank, "TOPK", 1)
    monkeypatch.setattr(Plain, "asks", lambda *_: (_ for _ in ()).throw(RunFailed("The peer is away.")))
    rows = bench.memory(settings, 1, False, lambda text: None, dataclasses.replace(TINY, sizes=(40,)))
    assert len([row for row in rows if row["value"] is None and "peer is away" in row["name"]]) == len(bench.limits(40)) and status(rows) == 2


@pytest.mark.parametrize("fault", ["nobody saves", "the snapshot cannot be restored"])
def test_a_backup_without_writes_or_without_a_restore_is_none(fault: str, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise StorageError("The disk is full.")

    if fault == "nobody saves":
        monkeypatch.setattr(bank.memory, "remember", broken)
    else:
        made = memory_backup.create

        def altered(folder: Path, sources: Any) -> Any:
            snapshot = made(folder, sources)
            file = next(Path(snapshot.path).rglob("suite.db"))
            file.write_bytes(file.read_bytes()[:-1] + b"\x07")
            return snapshot

        monkeypatch.setattr(memory_backup, "create", altered)
    with pytest.raises((RunFailed, StorageError), match=r"Nobody could save|suite\.db"):
        memory_backup.backup(bank, held=True)
    assert not (bank.folder.parent / "backups").exists()


@pytest.mark.parametrize(("value", "code"), [(9.0, 0), (11.0, 1)])
def test_the_command_exits_by_the_rows(value: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def measure(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
        asked.append((rounds, quick))
        return [bench.timed("save", "en", bench.HELD, 95).row(value)]

    monkeypatch.setattr(bench, "memory", measure)
    assert main(["bench", "memory", "--quick", "--rounds", "2", "--json"]) == code and asked == [(2, True)]
    assert json.loads(capsys.readouterr().out)["rows"][0]["met"] is (code == 0)
