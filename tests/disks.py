"""Real filesystems for tests: mounted on a folder, unmounted whatever happens, skipped with the reason where the system refuses."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"


@contextmanager
def mounted(folder: Path, *command: str, undo: str = "umount") -> Iterator[Path]:
    """`folder` with what `command … folder` puts there."""
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not there, or this user may not mount")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{' '.join(command)} is refused: {(done.stderr.strip() or 'no message').splitlines()[0]}")
    try:
        yield folder
    finally:
        if subprocess.run([undo, str(folder)], capture_output=True).returncode:
            subprocess.run([undo, "-l", str(folder)], check=True)


@contextmanager
def vfat(folder: Path, megabytes: int) -> Iterator[Path]:
    """A FAT filesystem in a file, as memory sticks and the Windows drives of WSL have it: without modes."""
    if shutil.which("mkfs.vfat") is None:
        pytest.skip("mkfs.vfat is not there; install dosfstools")
    image = folder.with_name(folder.name + ".img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    with mounted(folder, "mount", "-t", "vfat", "-o", "loop", str(image)):
        yield folder


@contextmanager
def modeless(folder: Path, *options: str) -> Iterator[Path]:
    """A FUSE filesystem on which every file has mode 0777 whatever it is made with."""
    behind = folder.with_name(folder.name + "-behind")
    behind.mkdir()
    with mounted(folder, "bindfs", "-p", "0777", *options, str(behind)):
        yield folder


def fill(disk: Path, leave: int = 0) -> None:
    """Write until nothing fits any more, then give `leave` bytes back."""
    with (disk / BALLAST).open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
        file.truncate(file.tell() - leave)


def free(disk: Path) -> None:
    """Give back what `fill` took."""
    (disk / BALLAST).unlink()
