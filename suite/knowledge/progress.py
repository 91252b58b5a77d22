"""How far something long has got."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[..., Iterable[Any]]  # wraps what is gone through; told the `total` where it is known


def quietly(steps: Iterable[Any], total: int | None = None) -> Iterable[Any]:
    """The steps, and nothing shown."""
    return steps


def shown(steps: Iterable[Any], total: int | None = None) -> Iterable[Any]:
    """The steps with a progress bar, if they take longer than a second."""
    from tqdm.auto import tqdm  # here: importing it in a notebook loads widgets

    return tqdm(steps, total=total, delay=1, leave=False)
