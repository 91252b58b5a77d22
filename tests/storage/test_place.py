"""The data directory is private, probed, and refused with a reason."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from suite.errors import DataDirError
from suite.storage import place


def test_every_folder_is_made_private(tmp_path: Path) -> None:
    data = place.open_data_dir(tmp_path / "data")
    assert {path.name for path in data.iterdir()} == set(place.FOLDERS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data, *data.iterdir())} == {0o700}
    assert list((data / "run").iterdir()) == []


def test_an_open_folder_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    data = place.open_data_dir(tmp_path / "data")
    (data / "memory").chmod(0o777)
    place.open_data_dir(data)
    assert stat.S_IMODE((data / "memory").stat().st_mode) == 0o700


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("", encoding="utf-8")
    for path in (tmp_path / "data", tmp_path / "data" / "below"):
        with pytest.raises(DataDirError, match=r"cannot be used: .*data.*; a file is in the way, move it or set DATA_DIR"):
            place.open_data_dir(path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's own folders are private: let an ordinary user through to ours
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    # root writes anywhere, so the child becomes an ordinary user once it has imported everything
    become = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.getuid() == 0 else "pass"
    code = f"import os\nfrom pathlib import Path\nfrom suite.storage import place\n{become}\nplace.open_data_dir(Path({str(locked / 'data')!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert "cannot be used: Permission denied" in run.stderr and "make it writable or set DATA_DIR" in run.stderr


@pytest.mark.parametrize(("probe", "what"), [("_locks", "file locking"), ("_modes", "file modes"), ("_renames", "renaming"), ("_wal", "write-ahead log")])
def test_a_filesystem_that_fails_a_probe_is_named_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: str, what: str) -> None:
    monkeypatch.setattr(place, probe, lambda scratch: "seen here")
    with pytest.raises(DataDirError, match=rf"{what} does not work \(seen here\); set DATA_DIR to a Linux filesystem"):
        place.open_data_dir(tmp_path / "data")


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "FREE_BYTES", 1 << 60)
    with pytest.raises(DataDirError, match="MiB free"):
        place.open_data_dir(tmp_path / "data")


def test_the_filesystem_is_named(tmp_path: Path) -> None:
    assert place.filesystem(tmp_path) not in ("", "unknown")
