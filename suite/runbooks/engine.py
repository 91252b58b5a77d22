"""The papermill engine `suite` as papermill finds it, by its entry point.

papermill loads every entry point while it is imported itself, so this module imports neither papermill nor anything heavy: whoever imports papermill
for something else pays nothing, and either may be imported first.
"""

from __future__ import annotations

from typing import Any

NAME = "suite"


class SuiteEngine:
    """What papermill asks of an engine; suite.runbooks.engine_cells does it."""

    @classmethod
    def execute_notebook(cls, *arguments: Any, **options: Any) -> Any:
        """Execute a notebook within limits of time, whole on the disk after each cell, with a capsule when its kernel dies."""
        return _engine().execute_notebook(*arguments, **options)

    @classmethod
    def nb_kernel_name(cls, *arguments: Any, **options: Any) -> str:
        """The kernel that a notebook asks for."""
        return _engine().nb_kernel_name(*arguments, **options)

    @classmethod
    def nb_language(cls, *arguments: Any, **options: Any) -> str:
        """The language that a notebook is written in."""
        return _engine().nb_language(*arguments, **options)


def _engine() -> Any:
    from suite.runbooks.engine_cells import CellEngine

    return CellEngine


def register() -> None:
    """Make the engine known to papermill in this process: a checkout that was not installed has no entry point."""
    from papermill.engines import papermill_engines

    papermill_engines.register(NAME, SuiteEngine)
