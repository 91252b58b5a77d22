"""What a scheduled job runs: a whole release check from inside a notebook, which fails when the verdict is not the one that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import RunFailed

if TYPE_CHECKING:
    from suite.runbooks.release import Release

GOOD = ("READY", "REHEARSAL")  # on smoke models a rehearsal is all that can be had
NOTEBOOK = "suite_nightly.ipynb"
PARAMETERS = ("release", "stage", "reports", "language", "phases")


def check_tonight(release: str = "nightly", stage: str = "", reports: str = "", language: str = "en", phases: Sequence[str] = (),
                  start: Callable[..., Any] | None = None) -> Release:
    """Check a release and seal its report; `stage` is that of the settings when empty, `phases` all when empty.

    `start` starts or joins the stack that all phases are guests of; without it each phase starts one.
    Raises RunFailed with the verdict and where the report lies when it is neither READY nor REHEARSAL, so that the job counts as failed.
    """
    from suite.runbooks.release import check_release
    from suite.settings import load

    os.umask(0o077)  # the kernel of a job is ours alone, so nothing that it writes is anybody else's to read
    settings = load()
    done = check_release(release, stage or settings.stage, settings, reports=Path(reports) if reports else None, phases=list(phases) or None,
                         progress=False, language=language, start=start)
    if done.verdict not in GOOD:
        raise RunFailed(f"{done.line} The report: {done.path}.")
    return done


def notebook() -> dict[str, Any]:
    """The notebook that the scheduler keeps a copy of: parameters, and one call."""
    from nbformat import v4

    parameters = 'release = "nightly"\nstage = ""\nreports = ""\nlanguage = "en"\nphases = []'
    cells = [v4.new_markdown_cell("# The nightly release check\n\nMade by `suite schedule nightly`. The job fails when the verdict is neither READY "
                                  "nor REHEARSAL; the sealed report lies in the archive (`suite report list`)."),
             v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
             v4.new_code_cell("import suite\nfrom suite.runbooks.nightly import check_tonight\n"
                              "check_tonight(release, stage, reports, language, phases, start=suite.start)")]
    for number, cell in enumerate(cells):
        cell["id"] = f"nightly-{number}"  # the same file each time
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return dict(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}))
