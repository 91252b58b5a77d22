"""A runbook executed by papermill alone, as anybody may do it: what the engine of the suite is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.errors import RunFailed
from suite.settings import package_file


def papermill_alone(name: str, parameters: Mapping[str, Any], out: Path) -> None:
    """Execute the packaged runbook into `out` with papermill's own engine and no settings of ours. Raises RunFailed when it does not go through."""
    import papermill  # here, because it costs a second

    try:
        papermill.execute_notebook(str(package_file(f"runbooks/{name}.ipynb")), str(out), dict(parameters), kernel_name="python3", progress_bar=False,
                                   extra_arguments=["--IPKernelApp.log_level=ERROR"])
    except papermill.exceptions.PapermillExecutionError as error:
        raise RunFailed(f"{name} did not go through in plain papermill: {error.ename}: {error.evalue}") from error
