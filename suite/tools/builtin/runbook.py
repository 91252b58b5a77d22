"""The tool that runs a release check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from suite.tools.tool import Tool, Watch, tool_of


class CheckRow(TypedDict):
    """One check of a report."""

    id: str
    state: str
    why: str


class Ran(TypedDict):
    """The archived report of a run: its verdict (pass or fail), where it lies, and its checks."""

    runbook: str
    verdict: str
    path: str
    seconds: float
    smoke: bool
    checks: list[CheckRow]


def runbook_tools(run: Callable[[str], Any]) -> tuple[Tool, ...]:
    """`run_runbook` over `run(name)`, which gives a Report."""

    def run_runbook(name: Annotated[str, {"description": "Such as phase2_health.", "minLength": 1, "maxLength": 120}], watch: Watch) -> Ran:
        """Run one of the packaged runbooks against this stack and archive the executed notebook."""
        watch.report(0, 1, f"{name} begins")
        report = run(name)
        watch.report(1, 1, report.verdict)
        return {"runbook": report.runbook, "verdict": report.verdict, "path": str(report.path), "seconds": round(report.seconds, 3),
                "smoke": report.smoke, "checks": [{"id": row.id, "state": row.state, "why": row.why} for row in report.results]}

    return (tool_of(run_runbook),)
