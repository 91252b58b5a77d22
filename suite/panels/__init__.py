"""Views of the stack for a notebook: `suite.panels.memory(bench)`. Each leaves a static picture of itself in the saved notebook."""

from __future__ import annotations

from suite.panels.alerts import alerts  # these names are the functions, not the files, however the files were imported
from suite.panels.approvals import approvals
from suite.panels.audit import audit
from suite.panels.gpu import gpu
from suite.panels.logs import logs
from suite.panels.memory import memory
from suite.panels.overview import overview
from suite.panels.runs import runs

__all__ = ["alerts", "approvals", "audit", "gpu", "logs", "memory", "overview", "runs"]
