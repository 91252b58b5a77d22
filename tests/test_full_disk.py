"""A disk that is full, for real: one sentence per refused step, nothing acknowledged is lost, nothing half-made stays, and the kernel lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import fill, free, mounted

from kernels import Process, Raised

START = "import suite; bench = suite.start(data_dir=DATA, models_dir=MODELS, port_base='auto', workspace_dir='.'); stack = bench._behind"
REMEMBER = "bench.memory.remember('question', 'pelican {}').to_dict()"
ADD = "bench.collection('{}').add('{}.md').to_dict()"
RUN = "bench.run('phase2_health').verdict"
BACKUP = "(lambda state: state.error or state.result['path'])(stack.parts['memory-maintainer'].run_now('backup'))"
CHAT = "bench.chat('Hello', max_tokens=2).tokens"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs") as folder:
        yield folder


@pytest.fixture
def hosts(disk: Path, models_dir: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts hosts on the small disk, and ends them before it is unmounted."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text(f"The archive room of house {name} is on the third floor.\n", encoding="utf-8")
    running: list[Process] = []

    def start() -> Process:
        running.append(Process({}, tmp_path))
        running[-1].ask(f"DATA, MODELS = {str(disk / 'data')!r}, {str(models_dir)!r}")
        running[-1].ask(START)
        return running[-1]

    yield start
    for process in running:
        process.kill()


def refused(host: Process, code: str, *said: str) -> None:
    """One sentence (with its next step) of one of our errors."""
    with pytest.raises(Raised) as caught:
        host.ask(code)
    assert caught.value.kind == "StorageError", caught.value
    assert "\n" not in caught.value.message and "free" in caught.value.message, caught.value
    assert all(words in caught.value.message for words in said), caught.value


def unfinished(disk: Path) -> list[str]:
    """What only a step that was broken off leaves behind."""
    return [str(path) for path in (disk / "data").rglob("*") if path.name.endswith((".partial", ".new")) or path.name.startswith(".dropped")
            or (path.suffix == ".ipynb" and path.stat().st_size == 0) or (path.parent.name == "vectors" and path.is_dir()
            and not (path / "meta.json").exists())]


def agree(host: Process) -> None:
    """As many vectors as the database says, for memories and for documents."""
    points = host.ask("{info.name: info.points for info in stack.store.collections()}")
    chunks = host.ask("{c['name']: c['chunks'] for c in stack.knowledge.collections()}")
    assert {name: points[f"knowledge-{name}"] for name in chunks} == chunks
    host.ask("bench.memory.sync()")
    stats = host.ask("bench.memory.stats()")
    assert stats["sync"] == {"synced": stats["memories"]} and points["memory-default-project"] == stats["memories"]


def test_every_step_on_a_full_disk_is_one_sentence_and_works_again_once_there_is_space(hosts: Any, disk: Path) -> None:
    host = hosts()
    kept = [host.ask(REMEMBER.format(1))["id"]]
    assert host.ask("bench.memory.sync()")["pending"] == 0  # vectors follow in a thread of their own
    assert host.ask(ADD.format("one", "a"))["new"] == 1
    backups = in_backups(host.ask(BACKUP))
    fill(disk)
    refused(host, REMEMBER.format(2), "The disk is full: free space and try again; nothing of this step was kept")
    refused(host, ADD.format("one", "b"), "The disk is full: free space and try again")
    refused(host, ADD.format("two", "b"), "The disk is full (0 MiB free, 32 needed) where the collection knowledge-two is kept; free some space")
    refused(host, RUN, "The report ", "cannot be written (No space left on device); free some space")
    said = host.ask(BACKUP)
    assert said.startswith("The backup in ") and "full" in said and "Nothing of it was kept; free space" in said and "\n" not in said
    assert host.ask(CHAT) == 2
    assert host.ask("bench.collection('one').search('archive room')[0].text").startswith("The archive room of house a")
    assert host.ask("[r.id for r in bench.memory.recall('pelican')]") == kept
    assert "full" in str([part["reasons"] for part in host.ask("bench.status()['parts']") if part["name"] == "memory-maintainer"])
    assert sorted(os.listdir(disk / "data" / "backups")) == backups and os.listdir(disk / "data" / "reports") == [] and unfinished(disk) == []
    free(disk)
    kept.append(host.ask(REMEMBER.format(2))["id"])
    assert [host.ask(ADD.format(name, "b"))["new"] for name in ("one", "two")] == [1, 1]
    last = host.ask(BACKUP)
    holes_are_kept(Path(last))
    backups = in_backups(last)  # the older one of the day went when the newer one had been restored
    assert host.ask(RUN) == "pass"
    assert sorted(host.ask("[r.id for r in bench.memory.recall('pelican', how='words')]")) == sorted(kept)
    assert sorted(os.listdir(disk / "data" / "backups")) == sorted(backups) and unfinished(disk) == []
    agree(host)


def test_a_host_killed_on_a_full_disk_starts_again_with_all_that_was_acknowledged(hosts: Any, disk: Path) -> None:
    host = hosts()
    kept = [host.ask(REMEMBER.format(1))["id"]]
    host.ask("bench.memory.sync()")
    host.ask(ADD.format("one", "a"))
    fill(disk, leave=1 << 20)  # enough for the database, too little for the vectors
    late = host.ask(REMEMBER.format(2))
    refused(host, "bench.memory.sync()", "The disk is full")
    assert late["sync"] == host.ask(f"bench.memory.get({late['id']!r}).sync") == "pending"
    assert late["id"] in host.ask("[r.id for r in bench.memory.recall('pelican')]")  # by its words
    refused(host, ADD.format("one", "b"), "where the collection knowledge-one is kept; free some space, then try again")
    fill(disk)
    refused(host, REMEMBER.format(3), "The disk is full")
    host.kill()
    with pytest.raises(Raised, match=r"^DataDirError: DATA_DIR .* has 0 MiB free, less than 64; free some space or set DATA_DIR\.$"):
        hosts()
    free(disk)
    host = hosts()
    assert host.ask("stack.memory.sync()['pending']") == 0
    assert sorted(host.ask("[r.id for r in bench.memory.recall('pelican', how='words')]")) == sorted([*kept, late["id"]])
    assert host.ask(ADD.format("one", "*"))["chunks"] > 0
    assert host.ask("[part['name'] for part in bench.status()['parts'] if not part['ready']]") == []
    agree(host)
    assert unfinished(disk) == []


def in_backups(snapshot: str) -> list[str]:
    """What lies in the folder of backups: a snapshot, and the record that it was restored once."""
    return [Path(snapshot).name, f"{Path(snapshot).name}.verified.json"]


def holes_are_kept(copy: Path) -> None:
    """The engine makes files of 32 MiB that are nearly empty, and fills the holes of those that it opens: a few small copies would not fit here."""
    taken = sum(path.stat().st_blocks * 512 for path in copy.rglob("*"))
    assert sum(path.stat().st_size for path in copy.rglob("*")) > 100 << 20 > 20 * taken
