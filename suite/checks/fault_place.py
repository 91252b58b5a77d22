"""Faults of the folders that hold models and data: damaged, open to others, another user's, on the wrong ground."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.serving.catalog import catalog

NOBODY, NO_PROCESS = 65_534, (1 << 31) - 1  # a user, and a process that no system has


def own_models(stack: Stack) -> Path:
    """Let the stack say a models directory of its own, in which the files of the real one are linked; nothing of the real one is touched."""
    folder = Path(stack.settings.data_dir, "cache", "own-models")
    folder.mkdir(mode=0o700)
    for path in Path(stack.settings.models_dir).iterdir():
        (folder / path.name).symlink_to(path)
    stack.settings.__dict__["models_dir"] = folder
    return folder


def damage_model(stack: Stack) -> None:
    """Have a model of the catalogue whose file was cut off."""
    file = own_models(stack) / next(entry.file for entry in catalog().values() if not entry.bundled and not entry.package)
    file.unlink(missing_ok=True)
    file.write_bytes(b"GGUF\x03\x00\x00\x00")


def open_models(stack: Stack) -> None:
    """Let everybody write to the models directory."""
    own_models(stack).chmod(0o777)


def open_folder(stack: Stack) -> None:
    """Let everybody look into a folder."""
    Path(stack.settings.data_dir, "analytics").chmod(0o755)


def lose_folder(stack: Stack) -> None:
    """Have a file where a folder should be."""
    Path(stack.settings.data_dir, "documents").rmdir()
    Path(stack.settings.data_dir, "documents").touch(mode=0o600)


def strange_owner(stack: Stack) -> None:
    """Let a folder be another user's: given away where that is allowed, else one of the system's."""
    folder = Path(stack.settings.data_dir, "documents")
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        return
    folder.rmdir()
    folder.symlink_to("/usr/share")


def unfit_ground(stack: Stack) -> None:
    """Let a folder lie on a filesystem that keeps nothing."""
    folder = Path(stack.settings.data_dir, "documents")
    folder.rmdir()
    folder.symlink_to("/proc/sys/kernel/random")


def move_database(stack: Any) -> None:
    """Let the database be elsewhere than is said; it is put back before the stack ends."""
    file = Path(stack.settings.data_dir, "sqlite", "suite.db")
    away = file.with_name("moved.db")
    file.rename(away)
    stack._closers.append(lambda: away.rename(file))


def lose_process(stack: Any) -> None:
    """Let the record name a process that is not there, so that nobody can say as which user the stack works."""
    stack.record = replace(stack.record, pid=NO_PROCESS)


DAMAGED_MODEL = Fault("a model's file was cut off", damage_model)
OPEN_MODELS = Fault("everybody could write to the models directory", open_models)
OPEN_FOLDER = Fault("everybody could look into a folder of the data directory", open_folder)
MISSING_FOLDER = Fault("a file lay where a folder should be", lose_folder)
STRANGE_OWNER = Fault("a folder belonged to another user", strange_owner)
UNFIT_GROUND = Fault("a folder lay on a filesystem that keeps nothing", unfit_ground)
MOVED_DATABASE = Fault("the database was elsewhere than said", move_database)
GONE_PROCESS = Fault("nobody could say as which user the stack works", lose_process)
