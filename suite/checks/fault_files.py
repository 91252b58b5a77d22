"""Faults of what lies on disk: model files, a checkout, and the room around them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.backup.snapshot import MANIFEST
from suite.checks.fault import Fault, Stack, swap_chat
from suite.checks.fault_environment import tell
from suite.checks.surroundings import Scratch
from suite.checks.target import Target
from suite.errors import UpstreamError

MADE_DISK = "fake:statvfs"
TERABYTE = 1_000_000_000_000


def cut_file(stack: Stack) -> None:
    """Cut the chat model's file off under its server."""
    server = stack.parts["inference-chat"]
    copy = Path(stack.settings.data_dir) / "cache" / Path(server.info()["path"]).name
    shutil.copyfile(server.info()["path"], copy)
    server.swap(copy)
    os.truncate(copy, copy.stat().st_size // 2)


def change_catalogue(target: Target, **values: Any) -> None:
    """Have every entry of the catalogue say something else."""
    before = target.surroundings.catalog
    target.surroundings.catalog = lambda: {name: replace(entry, **values) for name, entry in before().items()}


def unpin(target: Target) -> None:
    """Let nobody have pinned any model file."""
    change_catalogue(target, sha256="")


def unlicense(target: Target) -> None:
    """Let nobody know under which licence any model is used."""
    change_catalogue(target, licence="")


def unload_chat(stack: Stack) -> None:
    """Have no chat model in memory."""
    stack.parts["inference-chat"].unload()


def silence_chat(stack: Stack) -> None:
    """Let the chat model be loaded and generate nothing."""
    def fail(*_: Any) -> Any:
        raise UpstreamError("the model generates nothing any more")

    server = stack.parts["inference-chat"]
    server.stream = server.complete = fail


def alter_embedder(stack: Stack) -> None:
    """Change one file of the embedding model, in a folder that stands for the models directory."""
    name = str(stack.parts["embedding"].model.id)
    honest, made = Path(stack.settings.models_dir) / name, Path(stack.settings.data_dir) / "cache" / "models"
    for path in sorted(file for file in honest.rglob("*") if file.is_file()):
        copy = made / name / path.relative_to(honest)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    network = made / name / str(stack.parts["embedding"].model.onnx)
    whole = network.read_bytes()
    network.unlink()
    network.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    tell(stack, models_dir=str(made))


def change_file(target: Target) -> None:
    """Change a file that is tracked."""
    (target.surroundings.root() / "README.md").write_text("Somebody changed this.\n", encoding="utf-8")


def add_file(target: Target) -> None:
    """Add a file that nobody committed."""
    (target.surroundings.root() / "suite" / "new.py").write_text("VALUE = 1\n", encoding="utf-8")


def add_folder(target: Target) -> None:
    """Add a folder that the design does not have."""
    (target.surroundings.root() / "docs").mkdir()
    (target.surroundings.root() / "docs" / "x.md").write_text("A page.\n", encoding="utf-8")


def remove_folder(target: Target) -> None:
    """Take the tests out of the checkout."""
    _scratch(target).git("rm", "-r", "--quiet", "tests")


def move_on(target: Target) -> None:
    """Commit something after the stack was started."""
    (target.surroundings.root() / "README.md").write_text("A later commit changed this.\n", encoding="utf-8")
    _scratch(target).commit_all("A later commit")


def move_submodule(target: Target) -> None:
    """Have a submodule at another commit than the one that belongs to it."""
    other, scratch = Scratch(Path(str(target.folder)) / "submodule"), _scratch(target)
    scratch.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.root()), "models/part")
    scratch.commit_all("A submodule")
    inside = target.surroundings.root() / "models" / "part"
    (inside / "README.md").write_text("A later commit of the submodule.\n", encoding="utf-8")
    Scratch(inside).commit_all("A later commit of the submodule")


def lose_commit(target: Target) -> None:
    """Have a checkout whose commit git cannot find."""
    (target.surroundings.root() / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n", encoding="utf-8")


def grow_backup(stack: Stack) -> None:
    """Have a snapshot so large that the disk cannot hold as many as are kept; the file is all hole and takes no room."""
    folder = Path(stack.settings.data_dir) / "backups" / "20260101T000000Z-huge"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}", encoding="utf-8")
    (folder / "suite.db").touch()
    os.truncate(folder / "suite.db", TERABYTE)


def fill_disk(target: Target) -> None:
    """Let no byte be free."""
    bend_volume(target, 4)


def use_up_inodes(target: Target) -> None:
    """Let no further file be made."""
    bend_volume(target, 7, 5)


def bend_volume(target: Target, *places: int) -> None:
    """Let the system say other numbers of every filesystem: 4 are the free blocks, 7 the free inodes, 5 all inodes."""
    before = target.surroundings.volume
    instead = {4: 0, 5: 1000, 7: 0}

    def volume(path: Path) -> os.statvfs_result:
        return os.statvfs_result([instead[place] if place in places else value for place, value in enumerate(before(path))])

    target.surroundings.volume = volume


def _scratch(target: Target) -> Scratch:
    """The throw-away checkout that the target stands on."""
    return Scratch(target.surroundings.root())


TURNED_BIT = Fault("a model file of another content was served", swap_chat)
CUT_FILE = Fault("the chat model's file was cut off", cut_file)
UNPINNED = Fault("nobody had pinned the model files", bend=unpin)
UNLICENSED = Fault("nobody knew the licence of a model", bend=unlicense)
UNLOADED = Fault("no chat model was loaded", unload_chat)
SILENT_MODEL = Fault("the chat model generated nothing", silence_chat)
ALTERED_EMBEDDER = Fault("a file of the embedding model was changed", alter_embedder)
CHANGED_FILE = Fault("a tracked file was changed", bend=change_file)
NEW_FILE = Fault("a file was there that nobody had committed", bend=add_file)
STRANGE_NAME = Fault("the top level had a folder that the design has not", bend=add_folder)
MISSING_NAME = Fault("the tests were missing", bend=remove_folder)
MOVED_ON = Fault("something was committed after the stack was started", bend=move_on)
MOVED_SUBMODULE = Fault("a submodule was at another commit", bend=move_submodule)
NO_COMMIT = Fault("git could not tell the commit", bend=lose_commit)
HUGE_BACKUP = Fault("the backups that are kept would not fit on the disk", grow_backup)
NO_ROOM = Fault("no byte was free", bend=fill_disk, on=MADE_DISK)
NO_INODES = Fault("no further file could be made", bend=use_up_inodes, on=MADE_DISK)
