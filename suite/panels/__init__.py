"""Views of the stack for a notebook: `suite.panels.memory(bench)`. Each leaves a static picture of itself in the saved notebook."""

from __future__ import annotations

from suite.panels.memory import memory  # this name is the function, not the file, however the file was imported

__all__ = ["memory"]
