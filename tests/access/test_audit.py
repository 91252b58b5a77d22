"""The audit trail: a chain that shows what was done to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from openai_stage import until

from suite.access.audit import START, Audit
from suite.access.checkpoint import Checkpoint
from suite.access.event import Event
from suite.errors import StorageError
from suite.storage.engine import Storage, open_storage


def event(n: int = 0, /, **detail: object) -> Event:
    return Event("ann", "tool_call", f"tool{n}", "done", f"Reason {n}.", dict(detail))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage("", tmp_path)
    yield opened
    opened.close()


def run(storage: Storage, statement: str) -> None:
    with storage.begin() as connection:
        connection.exec_driver_sql(statement)


def test_entries_follow_each_other_and_verify(storage: Storage) -> None:
    audit = Audit(storage)
    recorded = [audit.record(event(n, path="한글.md")) for n in range(5)]
    assert [one.seq for one in recorded] == [1, 2, 3, 4, 5] and recorded[0].previous == START
    assert [one.previous for one in recorded[1:]] == [one.digest for one in recorded[:-1]]
    found = audit.verify()
    assert found.ok and found.entries == 5 and found.head == recorded[-1].digest
    assert audit.tail(2) == recorded[-2:] and audit.get(3) == recorded[2] and audit.get(99) is None
    assert Event.from_dict(json.loads(json.dumps(recorded[0].to_dict()))) == recorded[0]


def test_an_empty_trail_is_whole(storage: Storage) -> None:
    assert Audit(storage).verify().ok and Audit(storage).tail() == []


@pytest.mark.parametrize(("damage", "says"), [
    ("UPDATE audit SET outcome='denied' WHERE seq=3", "Entry 3 was changed"),
    ("UPDATE audit SET reason='Nothing.' WHERE seq=1", "Entry 1 was changed"),
    ("UPDATE audit SET at=at+1 WHERE seq=4", "Entry 4 was changed"),
    ("UPDATE audit SET detail='not json' WHERE seq=2", "Entry 2 was changed"),
    ("DELETE FROM audit WHERE seq=3", "Entries 3 to 3 are missing"),
    ("DELETE FROM audit WHERE seq<=2", "Entries 1 to 2 are missing"),
    ("UPDATE audit SET seq=CASE seq WHEN 2 THEN 103 ELSE 102 END WHERE seq IN (2,3)", "missing"),
])
def test_what_was_done_to_the_chain_is_found(storage: Storage, damage: str, says: str) -> None:
    for n in range(6):
        Audit(storage).record(event(n))
    run(storage, damage)
    found = Audit(storage).verify()
    assert not found.ok and any(says in finding for finding in found.findings), found.findings


def test_two_entries_that_changed_places_are_found(storage: Storage) -> None:
    for n in range(5):
        Audit(storage).record(event(n))
    run(storage, "UPDATE audit SET seq=1000 WHERE seq=2")
    run(storage, "UPDATE audit SET seq=2 WHERE seq=3")
    run(storage, "UPDATE audit SET seq=3 WHERE seq=1000")
    found = Audit(storage).verify()
    assert {finding[:7] for finding in found.findings} == {"Entry 2", "Entry 3", "Entry 4"}


def test_an_entry_forged_with_a_fitting_digest_breaks_the_next_one(storage: Storage) -> None:
    from suite.access.event import digest_of
    from suite.access.table import audit as rows

    audit = Audit(storage)
    for n in range(4):
        audit.record(event(n))
    with storage.begin() as connection:
        row = dict(connection.execute(rows.select().where(rows.c.seq == 2)).one()._mapping) | {"actor": "eve"}
        connection.execute(rows.update().where(rows.c.seq == 2).values(actor="eve", digest=digest_of(row)))
    assert Audit(storage).verify().findings == ("Entry 3 does not follow the one before it: one of the two was replaced or moved.",)


def test_the_newest_entries_can_be_looked_at_alone(storage: Storage) -> None:
    for n in range(8):
        Audit(storage).record(event(n))
    run(storage, "UPDATE audit SET actor='eve' WHERE seq=2")
    audit = Audit(storage)
    assert audit.verify(newest=3).ok and audit.verify(newest=3).entries == 3 and not audit.verify(newest=7).ok and not audit.verify(newest=100).ok
    run(storage, "UPDATE audit SET actor='eve' WHERE seq=7")
    assert not audit.verify(newest=3).ok


def test_a_cut_end_is_noticed_by_the_process_that_wrote_it_and_nothing_is_added(storage: Storage) -> None:
    audit = Audit(storage)
    for n in range(4):
        audit.record(event(n))
    run(storage, "DELETE FROM audit WHERE seq>=3")
    assert "Entries 3 to 4 are missing at the end." in audit.verify().findings
    with pytest.raises(StorageError, match="ends before entry 4"):
        audit.record(event())
    assert len(audit.tail(10)) == 2


def test_threads_and_several_writers_do_not_fork_the_chain(storage: Storage) -> None:
    writers, each, failures = [Audit(storage), Audit(storage)], 15, []

    def write(audit: Audit, name: str) -> None:
        try:
            for n in range(each):
                audit.record(event(n, by=name))
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writers[n % 2], str(n))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    found = Audit(storage).verify()
    assert found.ok and found.entries == 6 * each
    assert [one.seq for one in Audit(storage).tail(1000)] == list(range(1, 6 * each + 1))


def at_once(audit: Audit, storage: Storage, count: int, meanwhile: str = "") -> list[object]:
    """So many threads record while the database is held by another writer, who runs a statement; what each got, an event or an error."""
    got: list[object] = []

    def write(name: int) -> None:
        try:
            got.append(audit.record(event(name)))
        except StorageError as error:
            got.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(count)]
    with storage.quick.transaction() as held:
        for thread in threads:
            thread.start()
        until(lambda: audit.waiting == count - 1)  # the first has begun and waits for the database
        if meanwhile:
            held(meanwhile, ())
    for thread in threads:
        thread.join(60)
    return got


def test_events_that_come_at_once_are_written_together(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    audit, begun, begin = Audit(storage), [], storage.quick.transaction
    monkeypatch.setattr(storage.quick, "transaction", lambda: begun.append(1) or begin())
    got = at_once(audit, storage, 8)
    assert len(begun) == 3  # whoever held it, the first thread, and one for the seven others
    assert sorted(one.seq for one in got if isinstance(one, Event)) == list(range(1, 9)) and audit.waiting == 0
    for one in got:
        assert isinstance(one, Event) and audit.get(one.seq) == one  # each got its own
    assert audit.verify().ok and audit.verify().entries == 8


def test_an_event_and_the_one_that_follows_from_it_are_both_there_or_neither(storage: Storage, tmp_path: Path) -> None:
    audit = Audit(storage, Checkpoint(tmp_path / "audit.head"))
    audit.record(event())
    assert audit.note_both(event(), lambda seq: replace(event(), outcome="failed", detail={"of": seq})) == 3
    assert [(one.seq, one.detail.get("of")) for one in audit.tail(2)] == [(2, None), (3, 2)] and audit.verify().ok
    assert Checkpoint(tmp_path / "audit.head").read() == audit.head()
    with storage.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER stop BEFORE INSERT ON audit WHEN NEW.outcome = 'failed' BEGIN SELECT RAISE(FAIL, 'full'); END")
    with pytest.raises(StorageError):
        audit.note_both(event(), lambda seq: replace(event(), outcome="failed"))
    assert audit.head()[0] == 3 and audit.note(event()) == 4 and audit.verify().ok


def test_when_events_that_come_at_once_cannot_be_written_each_is_told(storage: Storage) -> None:
    audit = Audit(storage)
    audit.record(event())
    assert [type(one) for one in at_once(audit, storage, 5, "DELETE FROM audit")] == [StorageError] * 5
    assert audit.tail() == [] and audit.waiting == 0


def test_a_record_that_cannot_be_written_leaves_the_chain_as_it_was(storage: Storage) -> None:
    audit = Audit(storage)
    audit.record(event())
    run(storage, "CREATE TRIGGER no_more BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(StorageError, match="disk full"):
        audit.record(event())
    run(storage, "DROP TRIGGER no_more")
    assert audit.record(event()).seq == 2 and audit.verify().ok


SECRET = "s3cr3t-value-9f8e7d"


@pytest.mark.parametrize("arguments", [
    {"token": SECRET}, {"API_KEY": SECRET}, {"apiKey": SECRET}, {"user-password": SECRET}, {"headers": {"Authorization": f"Bearer {SECRET}"}},
    {"list": [{"client_secret": SECRET}]}, {"text": f"curl -H 'Authorization: Bearer {SECRET}' x"}, {"url": f"https://ann:{SECRET}@host/x"},
    {"command": f"login --password={SECRET} now"}, {"body": f'{{"access_token": "{SECRET}"}}'}, {"token": {"inner": SECRET}},
    {"pem": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"}, {f"token={SECRET}": 1},
    {"long": "x" * 1000 + f" password={SECRET}"},
], ids=str)
def test_secrets_are_masked_before_they_are_stored(storage: Storage, arguments: dict[str, object]) -> None:
    recorded = Audit(storage).record(event(arguments=arguments))
    with storage.begin() as connection:
        stored = str(connection.exec_driver_sql("SELECT * FROM audit").all())
    assert SECRET not in stored and SECRET not in str(recorded)
    assert "***" in stored or "sha256" in stored


def test_secrets_in_a_reason_are_masked(storage: Storage) -> None:
    recorded = Audit(storage).record(Event("ann", "tool_call", "x", "failed", f"Refused: Bearer {SECRET}."))
    assert SECRET not in recorded.reason and "***" in recorded.reason


def test_ordinary_arguments_are_kept_as_they_are(storage: Storage) -> None:
    detail = {"path": "문서/읽기.md", "max_tokens": 256, "author": "Ann", "n": [1, 2.5, None, True], "keyword": "monkey"}
    assert Audit(storage).record(event(**detail)).detail == detail


def test_long_values_are_shortened_to_their_beginning_length_and_digest(storage: Storage) -> None:
    import hashlib

    text = "가나다 " * 5000
    stored = Audit(storage).record(event(content=text)).detail["content"]
    assert len(stored) < 400 and stored.startswith("가나다") and hashlib.sha256(text.encode()).hexdigest() in stored and "20000 characters" in stored


@pytest.mark.parametrize("odd", ["\0", "\udc80", "a" * 5000, "line\nbreak"])
def test_odd_names_can_be_recorded_and_verified(storage: Storage, odd: str) -> None:
    audit = Audit(storage)
    audit.record(Event(f"x{odd}", f"kind{odd}", f"subject{odd}", "denied", f"Reason{odd}", {odd: odd, "nan": float("nan"), "raw": b"\xff"}))
    audit.record(event())
    assert audit.verify().ok and len(audit.tail(2)[0].actor) <= 80 and len(audit.tail(2)[0].subject) <= 200


def test_entries_cut_off_the_end_are_missed_by_whoever_starts_later(storage: Storage, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "audit.head")
    before = Audit(storage, checkpoint)
    kept = [before.record(event(n)) for n in range(5)]
    assert checkpoint.read() == (5, kept[-1].digest) == before.head() and (tmp_path / "audit.head").stat().st_mode & 0o777 == 0o600
    run(storage, "DELETE FROM audit WHERE seq > 3")
    later = Audit(storage, checkpoint)
    assert later.verify().findings == ("Entries 4 to 5 are missing at the end.",) and Audit(storage).verify().ok
    with pytest.raises(StorageError, match="ends before entry 5"):
        later.record(event(9))


def test_an_end_that_was_written_anew_is_not_the_one_that_was_written(storage: Storage, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "audit.head")
    Audit(storage, checkpoint).record(event(1))
    run(storage, "DELETE FROM audit")
    Audit(storage).record(event(2))  # by somebody who knows how entries are chained
    found = Audit(storage, checkpoint).verify()
    assert found.findings == ("Entry 1 is not the one that was written.",)


def test_a_checkpoint_that_lags_behind_is_no_finding(storage: Storage, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "audit.head")
    Audit(storage, checkpoint).record(event(1))
    Audit(storage).record(event(2))  # killed before it was noted
    later = Audit(storage, checkpoint)
    assert later.verify().ok and later.record(event(3)).seq == 3 and checkpoint.read()[0] == 3


@pytest.mark.parametrize("content", ["", "5", "x" * 86, f"{1:020d} {'g' * 64}\n", f"{1:020d} {'a' * 63}\n", f"{1:020d} {'a' * 64}\nmore", "é" * 86])
def test_a_damaged_checkpoint_is_an_error_and_not_a_trail_without_one(storage: Storage, tmp_path: Path, content: str) -> None:
    (tmp_path / "audit.head").write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match="damaged"):
        Audit(storage, Checkpoint(tmp_path / "audit.head"))


def test_an_entry_whose_note_cannot_be_written_is_an_error(storage: Storage, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "none" / "audit.head")
    with pytest.raises(StorageError, match="cannot be written"):
        Audit(storage, checkpoint).record(event(1))
