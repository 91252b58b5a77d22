"""The machine around a stack as checks look at it; a drill puts something else in the place of one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from suite import checkout
from suite.monitoring.gpu import Gpu, gpus
from suite.serving.catalog import CatalogModel, Profile, catalog, profile

# what the design has at the top level, besides dotfiles
LAYOUT = ("notebooks", "suite", "kernels", "runbooks", "models", "tests", "environment.yml", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")


def site_folders() -> tuple[Path, ...]:
    """Where packages are installed for this Python, in the order in which it looks there."""
    return tuple(Path(entry) for entry in sys.path if entry.endswith("-packages") and Path(entry).is_dir())


def kernel_folders() -> tuple[Path, ...]:
    """Where Jupyter looks for kernelspecs."""
    from jupyter_core.paths import jupyter_path

    return tuple(Path(folder) for folder in jupyter_path("kernels"))


def listeners() -> dict[int, set[int | None]]:
    """Who listens on each port, on whatever address, by pid; None for a process that this user may not look at."""
    found: dict[int, set[int | None]] = {}
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr:
            found.setdefault(one.laddr.port, set()).add(one.pid)
    return found


@dataclass
class Surroundings:
    """Each field is asked at the moment of a check. `commit` is what the stack was started from, where its own record does not tell.

    `llama` is the folder of llama_cpp (None: the installed one), `volume` tells of the filesystem under a path, as os.statvfs.
    """

    root: Callable[[], Path] = checkout.root
    commit: Callable[[], str] | None = None
    site: Callable[[], tuple[Path, ...]] = site_folders
    kernels: Callable[[], tuple[Path, ...]] = kernel_folders
    llama: Path | None = None
    cards: Callable[[], tuple[Gpu, ...]] = gpus
    profile: Callable[[str], Profile] = profile
    catalog: Callable[[], Mapping[str, CatalogModel]] = catalog
    volume: Callable[[Path], os.statvfs_result] = os.statvfs
    listeners: Callable[[], dict[int, set[int | None]]] = listeners
    docker: tuple[str, ...] = ("docker",)


class Scratch:
    """A small clean checkout of its own in `folder`, made when it is first asked for, so that a drill may spoil it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._commit = folder, ""

    def root(self) -> Path:
        """Its top level, laid out as the design has it."""
        if not self._commit:
            for name in LAYOUT:
                path = self._folder / name
                path = path if path.suffix or name.isupper() else path / "README"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{name} of a throw-away checkout\n", encoding="utf-8")
            (self._folder / ".gitignore").write_text("*.report.ipynb\n", encoding="utf-8")
            self.git("init", "--quiet")
            self._commit = self.commit_all("A throw-away checkout")
        return self._folder

    def commit(self) -> str:
        """The commit that it began with."""
        self.root()
        return self._commit

    def commit_all(self, message: str) -> str:
        """Commit whatever is there; gives the commit."""
        self.git("add", "--all")  # the folder must be a checkout already
        self.git("-c", "user.name=suite drill", "-c", "user.email=drill@localhost", "-c", "commit.gpgsign=false", "commit", "--quiet",
                 "--no-verify", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        """What git prints."""
        done: Any = subprocess.run(["git", "-C", str(self._folder), *arguments], capture_output=True, text=True, check=True, timeout=checkout.SECONDS)
        return str(done.stdout)
