"""The storage on a real PostgreSQL: the same tables, the same rules between writers and readers, one clear sentence for what goes wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import postgres_stage
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres_stage import MARK, Server

from suite import bench as benches
from suite.access.actor import Actors
from suite.access.audit import Audit
from suite.access.event import Event
from suite.backup.verify import verify
from suite.errors import BadRequest, StorageError
from suite.host import PARTS
from suite.settings import load
from suite.storage.engine import WRITING, Storage, open_storage
from suite.storage.tables import metadata

Opened = Callable[[str], Storage]
INSERT = sa.text("INSERT INTO jobs (name, runs, error) VALUES (:name, 0, '')")
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
CUT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


def names(storage: Storage) -> list[str]:
    with storage.read() as connection:
        return sorted(connection.execute(sa.text("SELECT name FROM jobs")).scalars())


def together(count: int, work: Callable[[int], object]) -> list[object]:
    """What `work(0)`, `work(1)` … returned or raised, begun at the same moment in a thread each."""
    results: list[object] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(20)
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - handed to the test
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_the_migrations_give_exactly_the_tables_the_parts_describe(opened: Opened, database: str) -> None:
    storage = opened(database)
    with storage.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert [each for each in compare_metadata(context, metadata) if "memory_words" not in str(each)] == []
    assert storage.file is None
    storage.check()


def test_opening_twice_changes_nothing_and_keeps_the_rows(opened: Opened, database: str) -> None:
    first = opened(database)
    with first.begin() as connection:
        connection.execute(INSERT, {"name": "x"})
    first.close()
    assert names(opened(database)) == ["x"]


def test_an_address_without_a_driver_means_the_one_we_install(opened: Opened, database: str) -> None:
    for scheme in ("postgresql", "postgres"):
        assert opened(database.replace("postgresql+psycopg", scheme, 1)).engine.driver == "psycopg"


def test_a_newer_schema_is_refused_and_left_alone(opened: Opened, server: Server, database: str) -> None:
    opened(database)
    with server.admin(sa.make_url(database).database) as admin:
        admin.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StorageError, match="schema 9999, which this version of the suite does not know"):
            opened(database)
        assert admin.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_two_processes_that_find_an_empty_database_make_its_tables_once(opened: Opened, server: Server, database: str, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from suite.storage.engine import open_storage; open_storage(sys.argv[1], Path(sys.argv[2])).close()"
    with server.admin(sa.make_url(database).database) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (WRITING,))
        both = [subprocess.Popen([sys.executable, "-c", script, database, str(tmp_path)], stderr=subprocess.PIPE, text=True) for _ in range(2)]
        while admin.execute(WAITING).fetchone() != (2,) and all(process.poll() is None for process in both):
            pass
        admin.execute("SELECT pg_advisory_unlock(%s)", (WRITING,))
        assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    assert names(opened(database)) == []


@pytest.mark.parametrize(("change", "said"), [
    ({"password": f"not-{MARK}"}, r'password authentication failed for user "lab"\. Mend the user, the password'),
    ({"username": "nobody"}, r'authentication failed for user "nobody"\. Mend the user'),
    ({"database": "nowhere"}, r'database "nowhere" does not exist\. Mend the user, the password or the name'),
    ({"port": 1}, r"Connection refused\. Start that server, or mend the address"),
    ({"host": "nowhere.invalid"}, r"resolve.*Start that server, or mend the address"),
    ({"query": {"password": f"not-{MARK}"}, "password": None}, r"password=\*\*\* refused.*Mend the user"),
])
def test_a_server_that_lets_nobody_in_is_one_sentence_without_the_password(server: Server, tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        open_storage(sa.make_url(server.url()).set(**change).render_as_string(hide_password=False), tmp_path)
    assert MARK not in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.storage.engine.BUSY_SECONDS", 1)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = sa.make_url(server.url()).set(port=mute.getsockname()[1])
        with pytest.raises(StorageError, match=r"timeout expired\. Start that server"):
            open_storage(url.render_as_string(hide_password=False), tmp_path)


@pytest.mark.parametrize("address", [f"postgresql://lab:{MARK}@:/%'@host/name", f"postgresql://lab:{MARK}@host:port/name", f"::{MARK}"],
                         ids=["signs", "port", "nothing"])  # the mark is another in each worker
def test_an_address_that_cannot_be_read_is_not_repeated(tmp_path: Path, address: str) -> None:
    with pytest.raises(StorageError, match=r"not a database address.*%40") as caught:
        open_storage(address, tmp_path)
    assert MARK not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize("address", [f"postgresql://lab:{MARK}@host/name", f"postgresql:///name?user=lab&password={MARK}"],
                         ids=["before the host", "behind the question mark"])
def test_the_settings_show_no_password_of_a_database(tmp_path: Path, address: str) -> None:
    settings = load({"database_url": address}, environ={}, cwd=tmp_path)
    assert MARK not in f"{settings.values()}{settings.identity()}" and settings.identity()["database_url"].startswith("sha256:")


@pytest.mark.usefixtures("server")  # where that one is skipped, so is this
def test_a_server_that_went_away_is_said_so_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    with postgres_stage.running() as own:
        storage, port = open_storage(own.fresh(), tmp_path), own.port
        own.stop()
        for face in (storage.begin, storage.read):
            with pytest.raises(StorageError, match=r"Connection refused\. Start that server") as caught, face():
                pass
            assert MARK not in str(caught.value)
        own.start(port)
        assert names(storage) == []
        storage.close()


def test_writers_of_two_engines_wait_for_each_other(opened: Opened, address: str) -> None:
    storages = [opened(address), opened(address)]
    with storages[0].begin() as connection:
        connection.execute(INSERT, {"name": "count"})

    def add(number: int) -> None:
        for _ in range(10):
            with storages[number % 2].begin() as connection:
                runs = connection.execute(sa.text("SELECT runs FROM jobs")).scalar_one()
                connection.execute(sa.text("UPDATE jobs SET runs = :runs"), {"runs": runs + 1})

    assert together(4, add) == [None] * 4
    with storages[1].read() as connection:
        assert connection.execute(sa.text("SELECT runs FROM jobs")).scalar_one() == 40


def test_an_actor_that_two_add_at_once_is_added_once(opened: Opened, address: str) -> None:
    actors = [Actors(opened(address)) for _ in range(4)]
    results = together(4, lambda number: actors[number].add("newcomer", next(iter(actors[number].policy.roles))))
    assert sorted(type(result).__name__ for result in results) == ["Actor", "BadRequest", "BadRequest", "BadRequest"]
    assert all("exists already" in str(result) for result in results if isinstance(result, BadRequest))


def test_a_reader_sees_one_state_and_waits_for_no_writer(opened: Opened, address: str) -> None:
    storage = opened(address)
    with storage.begin() as writer:
        writer.execute(INSERT, {"name": "first"})
        with storage.read() as reader:
            assert reader.execute(sa.text("SELECT count(*) FROM jobs")).scalar_one() == 0
    with storage.read() as reader:
        assert reader.execute(sa.text("SELECT count(*) FROM jobs")).scalar_one() == 1
        with storage.begin() as writer:
            writer.execute(INSERT, {"name": "second"})
        assert reader.execute(sa.text("SELECT count(*) FROM jobs")).scalar_one() == 1
    assert names(storage) == ["first", "second"]


def test_a_reader_may_not_write(opened: Opened, database: str) -> None:
    storage = opened(database)
    with pytest.raises(StorageError, match="read-only transaction"), storage.read() as reader:
        reader.execute(INSERT, {"name": "by a reader"})
    assert names(storage) == []


def test_a_held_database_is_an_error_with_the_next_step(opened: Opened, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.storage.engine.BUSY_SECONDS", 0.05)
    one, two = opened(address), opened(address)
    with one.begin(), pytest.raises(StorageError, match=r"lock.*Another process held it for 0\.05 s; end that process"), two.begin():
        pass
    with two.begin() as connection:
        connection.execute(INSERT, {"name": "later"})
    assert names(one) == ["later"]


def test_a_transaction_that_fails_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(sa.exc.IntegrityError), storage.begin() as connection:
        connection.execute(INSERT, {"name": "x"})
        connection.execute(INSERT, {"name": "x"})
    assert names(storage) == []


@pytest.mark.parametrize("moment", ["before a statement", "before the commit"])
def test_a_connection_that_is_cut_is_an_error_and_the_next_call_works(opened: Opened, server: Server, database: str, moment: str) -> None:
    storage = opened(database)
    with (server.admin(sa.make_url(database).database) as admin, pytest.raises(StorageError, match=r"terminating connection|closed|lost") as caught,
          storage.begin() as connection):
        connection.execute(INSERT, {"name": "lost"})
        assert admin.execute(CUT).fetchall() == [(True,)]
        if moment == "before a statement":
            connection.execute(INSERT, {"name": "lost too"})
    assert MARK not in str(caught.value) and "\n" not in str(caught.value)
    with storage.begin() as connection:
        connection.execute(INSERT, {"name": "kept"})
    assert names(storage) == ["kept"]


def test_more_work_than_connections_is_an_error_of_storage(opened: Opened, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(database)
    monkeypatch.setattr(storage.engine.pool, "_timeout", 0.01)
    taken = [storage.engine.connect() for _ in range(storage.engine.pool.size() + storage.engine.pool._max_overflow)]
    with pytest.raises(StorageError, match="QueuePool limit"), storage.read():
        pass
    for connection in taken:
        connection.close()
    assert names(storage) == []


def test_concurrent_writers_keep_one_unbroken_audit_chain(opened: Opened, address: str) -> None:
    trails = [Audit(opened(address)), Audit(opened(address))]

    def record(number: int) -> list[int]:
        return [trails[number % 2].record(Event(f"actor{number}", "tool_call", "read_file", "done", "안녕\0\ud800", {"n": 0.1 * turn})).seq
                for turn in range(15)]

    written = together(4, record)
    assert sorted(seq for part in written for seq in part) == list(range(1, 61))
    for trail in (*trails, Audit(opened(address))):
        found = trail.verify()
        assert (found.ok, found.entries, found.findings) == (True, 60, ())
    with trails[0].storage.begin() as connection:
        connection.execute(sa.text("UPDATE audit SET reason = 'edited' WHERE seq = 7"))
    assert trails[1].verify().findings == ("Entry 7 was changed after it was written.",)


def test_a_whole_stack_is_ready_and_tells_nobody_the_password(database: str, models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "note.md").write_text("The nightly backup starts at 03:15.\n", encoding="utf-8")
    with benches.throwaway(database_url=database, models_dir=str(models_dir), workspace_dir=str(tmp_path / "work"), log_level="DEBUG") as (stack, target):
        bench = benches.Bench(stack.settings, stack)
        said = [repr(bench), bench._repr_html_(), repr(stack.settings), target.call("GET", "api-gateway", "/v1/parts").text]
        assert [(part["name"], part["ready"], part["reasons"]) for part in bench.status()["parts"]] == [(name, True, []) for name in PARTS]
        assert {name: part.deep().reasons for name, part in stack.parts.items()} == dict.fromkeys(stack.parts, ())
        assert bench.collection("notes").add(str(tmp_path / "work")).new == 1
        kept = bench.memory.remember("When is the backup?", "At a quarter past three.")
        assert bench.memory.recall("backup quarter")[0].id == kept.id
        assert "03:15" in str(bench.tools.call("read_file", path="note.md").value) and stack.audit.verify().ok
        assert stack.parts["memory-maintainer"].run_now("backup").error == ""
        snapshot = next(path for path in (stack.data / "backups").iterdir() if path.is_dir())
        assert verify(snapshot, storage=stack.storage).ok
        listed = subprocess.run(["pg_restore", "--list", str(snapshot / "database" / "suite.dump")], capture_output=True, text=True, check=True)
        assert "TABLE DATA public memories" in listed.stdout
        said += [repr(bench), str(bench.status())]
        files = [path for path in stack.data.rglob("*") if path.is_file()]
        assert any(path.name == "host.json" for path in files) and any("logs" in path.parts for path in files)
        assert [path for path in files if MARK.encode() in path.read_bytes()] == []
        assert [text for text in said if MARK in text] == []
        assert not (stack.data / "sqlite" / "suite.db").exists()
