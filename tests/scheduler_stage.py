"""A real Jupyter server with jupyter-scheduler, where that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_stage import lab

INSTALLED = importlib.util.find_spec("jupyter_scheduler") is not None


@contextmanager
def scheduler(home: Path, env: dict[str, str]) -> Iterator[str]:
    """A server on `home / "work"`; gives its URL."""
    for name in ("work", "share"):  # the scheduler does not make the folder of its database
        (home / name).mkdir(parents=True, exist_ok=True)
    with lab(home, env, program="jupyter_server") as url:
        yield url
