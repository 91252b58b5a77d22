"""What tests of commands share: a stack in a kernel of its own, and the environment in which commands meet it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels import Process


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a stack, whose documents lie below its HOME."""
    home = tmp_path_factory.mktemp("cli")
    return {"DATA_DIR": str(home / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(home), "WORKSPACE_DIR": str(home)}


@pytest.fixture(scope="module")
def host(env: dict[str, str]) -> Iterator[Process]:
    """The kernel that holds the stack as `bench`."""
    process = Process(env, Path(env["HOME"]))
    process.ask("import suite; bench = suite.start()")
    yield process
    process.kill()
