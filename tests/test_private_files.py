"""What a kernel with a careless umask writes is still for its owner only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels import Process


@pytest.fixture
def data(models_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """The data directory of a host with umask 000 that has done something of everything, while it runs."""
    (tmp_path / "a.md").write_text("The archive room is on the third floor.\n", encoding="utf-8")
    process = Process({"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "WORKSPACE_DIR": str(tmp_path)},
                      tmp_path)
    process.ask("import os, suite; os.umask(0); bench = suite.start(); stack = bench._behind")
    process.ask("bench.memory.remember('question', 'answer'); bench.collection('a').add('a.md'); bench.tools.call('read_file', path='a.md')")
    assert process.ask("stack.parts['memory-maintainer'].run_now('backup').error") == ""
    process.ask("__import__('logging').getLogger('suite').warning('something for the log')")
    assert process.ask("os.umask(0)") == 0, "the kernel's own umask is not ours to change"
    yield tmp_path / "data"
    process.kill()


def test_no_file_of_a_host_is_readable_by_others_whatever_the_umask(data: Path) -> None:
    """The engine makes its own files, with the umask's modes: they lie in folders that nobody else may enter."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [data, *data.rglob("*")]}
    engine = [path for path in modes if "shard" in path.relative_to(data).parts[:-1] and path.relative_to(data).parts[0] == "vectors"]
    assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077 and path not in engine} == {}
    assert engine and {oct(modes[folder]) for folder in data.glob("vectors/*/shard")} == {"0o700"}
    names = {path.name for path in modes}
    assert {"suite.db", "suite.db-wal", "host.json", "host.lock", "access.token", "suite.jsonl", "trial-loads.json", "meta.json", "store.lock",
            "store.pid", "manifest.json"} <= names
    assert os.listdir(data / "backups")
