"""Filesystems without modes, for real: refused as data directory with the reason and the way out, good enough for the models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import modeless, mounted, vfat

import suite
from suite.errors import DataDirError
from suite.storage.place import filesystem


@pytest.fixture(params=["vfat", "fuse", "fuse that refuses chmod"])
def poor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on such a filesystem."""
    place = tmp_path / "한글 disk"
    kinds = {"vfat": lambda: vfat(place, 160), "fuse": lambda: modeless(place), "fuse that refuses chmod": lambda: modeless(place, "--chmod-deny")}
    with kinds[request.param]() as folder:
        yield folder


def test_a_data_directory_without_modes_is_refused_with_the_filesystem_and_the_way_out(poor: Path, models_dir: Path) -> None:
    kind = filesystem(poor)
    assert kind in ("vfat", "fuse", "fuse.bindfs")
    with pytest.raises(DataDirError, match=rf"^DATA_DIR .* is on a filesystem \({kind}\) where file modes does not work \(a file made 0600 became "
                                           r"0\d+\); set DATA_DIR to a Linux filesystem, for example .*MODELS_DIR may stay") as caught:
        suite.start(data_dir=str(poor / "data"), models_dir=str(models_dir), port_base="auto")
    assert "\n" not in str(caught.value) and os.listdir(poor / "data" / "run") == []


def test_the_models_may_lie_there(poor: Path, models_dir: Path, tmp_path: Path) -> None:
    for source in (path for path in sorted(models_dir.rglob("*")) if path.is_file() and not path.name.startswith(".")):
        target = poor / "models" / source.relative_to(models_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    bench = suite.start(data_dir=str(tmp_path / "data"), models_dir=str(poor / "models"), port_base="auto")
    try:
        assert [part["name"] for part in bench.status()["parts"] if not part["ready"]] == []
        assert bench.embed(["hello"]).shape == (1, 384)
    finally:
        bench.stop()


def test_a_disk_is_found_by_a_name_with_spaces(tmp_path: Path) -> None:
    with mounted(tmp_path / "a disk", "mount", "-t", "tmpfs", "tmpfs") as folder:
        assert filesystem(folder / "data") == "tmpfs"
