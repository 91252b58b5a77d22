"""The Local AI Suite workbench: a local AI stack in the kernel, and the release checks that prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.8.0"

if TYPE_CHECKING:
    from suite import panels
    from suite.bench import Bench, runbook, start
    from suite.errors import SuiteError

__all__ = ["Bench", "SuiteError", "__version__", "panels", "runbook", "start"]

_HOMES = {"Bench": "suite.bench", "start": "suite.bench", "runbook": "suite.bench", "SuiteError": "suite.errors"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import suite` costs nothing."""
    import importlib

    if name == "panels":
        return importlib.import_module("suite.panels")
    if name not in _HOMES:
        raise AttributeError(f"module 'suite' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
