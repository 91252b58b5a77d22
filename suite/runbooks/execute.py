"""Execute a runbook in a kernel of its own, archive it, and judge what it shows."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import difflib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_event_loop

from suite.checks import criteria as limits
from suite.checks.drill import proven
from suite.checks.result import MIME
from suite.errors import BadRequest, StorageError, SuiteError
from suite.runbooks.catalog import checks_of, every_id
from suite.runbooks.ending import CRASHED, Ending
from suite.runbooks.report import Report, read_report
from suite.runbooks.scrub import refuse_secrets
from suite.settings import Settings, load, package_file

QUIET = ["--IPKernelApp.log_level=ERROR"]  # else each kernel warns in the caller's cell that loopback is not encrypted
log = logging.getLogger("suite.runbooks")


@dataclass(frozen=True)
class Ways:
    """How to execute: limits in seconds (0: half an hour for a cell, none for the run), the kernel's further environment and folder, who is told.

    `criteria` are the limits by which the runner judges; those that the parameters name when None.
    """

    cell_limit: float = 0.0
    time_limit: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    announce: Callable[[str, int, int], None] | None = None
    criteria: limits.Criteria | None = None


def execute(name: str, parameters: Mapping[str, Any] | None = None, settings: Settings | None = None, *, out: str | Path = "",
            progress: bool = True, ways: Ways | None = None) -> Report:
    """Run the packaged runbook with papermill and archive it as `reports_dir/<UTC time>-<name>.ipynb` (or `out`).

    Raises NotFound for an unknown runbook, BadRequest for an unknown parameter or one that holds a secret; whatever happens in the kernel ends
    in the report.
    """
    checks_of(name)
    ways, settings = ways or Ways(), settings or load()
    source = package_file(f"runbooks/{name}.ipynb")
    declared, given = _given(source, name, parameters or {})
    effective = {key: ast.literal_eval(entry["default"]) for key, entry in declared.items()} | given
    judged_by = ways.criteria or limits.load(effective.get("criteria", ""), {"budget_s": float(effective.get("budget_s", 0.0))},
                                             waivers=settings.waivers, known=every_id())
    path = _place(Path(out) if str(out) else None, settings.reports_dir, name)
    began, ending = time.monotonic(), Ending()
    _in_kernel(source, path, given, progress, ways, ending)
    expected = {"profile": effective.get("expect_profile", ""), "commit": effective.get("expect_commit", "")}
    return _settle(source, path, name, judged_by, time.monotonic() - began, proven(settings.reports_dir), ending, expected)


def declared_by(name: str) -> list[str]:
    """The parameters that a runbook declares."""
    return list(_given(package_file(f"runbooks/{name}.ipynb"), name, {})[0])


def refuse_wrong(name: str, parameters: Mapping[str, Any]) -> None:
    """Look at parameters before anything is begun. Raises BadRequest for one that the runbook does not declare or take, or that holds a secret."""
    _given(package_file(f"runbooks/{name}.ipynb"), name, parameters)


def _given(source: Path, name: str, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the runbook declares, and the parameters in the types that it declares them with."""
    import papermill  # here, because this module is loaded with the bench, and papermill costs a second

    declared = papermill.inspect_notebook(_literal(source))
    given = {key: _typed(key, value, declared, name) for key, value in parameters.items()}
    refuse_secrets(given, name)
    return declared, given


def _in_kernel(source: Path, path: Path, given: Mapping[str, Any], progress: bool, ways: Ways, ending: Ending) -> None:
    """Execute the runbook in a kernel of its own; however that ends, `ending` says so and nothing is raised."""
    import papermill
    from papermill.engines import papermill_engines

    from suite.runbooks import engine

    engine.register()
    try:
        with _loop_of_this_run():
            prepared = papermill.execute_notebook(_literal(source), None, dict(given), prepare_only=True, kernel_name="python3")
            papermill_engines.execute_notebook_with_engine(
                engine.NAME, prepared, "python3", keep=path, ending=ending, progress_bar=progress, announce=ways.announce,
                cell_limit=ways.cell_limit, time_limit=ways.time_limit, environment=ways.environment, folder=ways.folder, extra_arguments=QUIET)
        raised = _raised(prepared)
        if raised and not ending.trouble:
            ending.state, ending.trouble = CRASHED, raised
    except SuiteError as error:  # who is told of each cell wants no more of them
        ending.state, ending.trouble = CRASHED, error.message
    except Exception as error:
        log.warning("runbook %s ended early", path.name, exc_info=error)
        ending.state = CRASHED
        ending.trouble = ending.trouble or f"The kernel of the runbook ended early ({type(error).__name__}: {error})"[:600]


def _raised(notebook: Any) -> str:
    """What a cell of ours raised; RunFailed is the verdict, which is read back from the records."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "RunFailed":
                return f"Cell {cell.execution_count} of the runbook raised {output.ename}: {output.evalue}"[:600]
    return ""


@contextlib.contextmanager
def _loop_of_this_run() -> Iterator[None]:
    """Close the event loop that Jupyter makes in a thread that has none: a tool's runbook would leave one open each time."""
    if threading.current_thread() is threading.main_thread():
        yield  # there it is kept for the next run
        return
    loop = ensure_event_loop()
    try:
        yield
    finally:
        if not loop.is_running():
            loop.close()
            asyncio.set_event_loop(None)


def _settle(source: Path, path: Path, name: str, criteria: limits.Criteria, seconds: float, red: Mapping[str, str], ending: Ending,
            expected: Mapping[str, str]) -> Report:
    """Read the report back; write what the notebook itself could not record any more: the checks that were not run."""
    import nbformat

    from suite.runbooks.engine_cells import write_whole

    notebook = ending.notebook or nbformat.read(source, as_version=4)
    report = replace(read_report(notebook, name, path, criteria, round(seconds, 2), red, ending.trouble, expected), ending=ending)
    recorded = {record["id"] for cell in notebook.cells for output in cell.get("outputs", []) for record in _listed(output.get("data", {}).get(MIME))}
    lost = [result for result in report.results if result.id not in recorded]
    if lost:
        data = {MIME: [result.to_dict() for result in lost], "text/html": "".join(result._repr_html_() for result in lost),
                "text/plain": "\n".join(map(repr, lost))}
        output = nbformat.v4.new_output("display_data", data)
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"## What was not run\n\n{report.trouble}", metadata={"tags": ["not-run"]}))
        notebook.cells.append(nbformat.v4.new_code_cell("", outputs=[output], metadata={"tags": ["not-run"]}))
    checks = [{"check": each.id, "phase": each.phase, "state": each.state} for each in report.results]
    notebook.metadata["suite"] = {"runbook": name, "verdict": report.verdict, "seconds": report.seconds, "smoke": report.smoke, "line": report.line,
                                  "at": time.time(), "checks": checks}
    try:
        write_whole(notebook, path)
    except OSError as error:
        path.unlink(missing_ok=True)  # the half of a report is none
        raise _unwritable(path, error) from error
    return report


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Mapping) and "id" in item]


def _literal(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")  # papermill fills parameters into braces, which a folder's name may hold


def _place(out: Path | None, reports: Path, name: str) -> Path:
    """The report's file, made empty and for its owner only: `out`, or a name in `reports` that sorts by time and that no other run has."""
    try:
        (out.parent if out else reports).mkdir(parents=True, exist_ok=True)
        if out:
            out.touch(mode=0o600)
            os.truncate(out, 0)
            return out
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
            path = reports / f"{stamp}{suffix}-{name}.ipynb"
            with contextlib.suppress(FileExistsError):
                path.touch(mode=0o600, exist_ok=False)
                return path
    except OSError as error:
        raise _unwritable(out or reports, error) from error
    raise StorageError(f"{reports} holds a thousand reports of this second; run {name} again.")


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"The report {path} cannot be written ({error.strerror or error}); free some space, or set REPORTS_DIR to another folder.")


def undeclared(key: str, declared: Iterable[str], who: str) -> BadRequest:
    """The error about a parameter that nobody declares, with the nearest names."""
    known = list(declared)
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return BadRequest(f"{who} has no parameter {key!r}; it has {', '.join(known)}.{meant}")


def _typed(key: str, value: Any, declared: Mapping[str, Any], name: str) -> Any:
    """The value in the type that the parameters cell names; text from a command line is read as that type.

    Raises BadRequest for an unknown parameter or a value of another type.
    """
    if key not in declared:
        raise undeclared(key, declared, f"The runbook {name}")
    wanted = declared[key]["inferred_type_name"]
    try:
        if wanted == "float" and not isinstance(value, bool):
            return float(value)
        if wanted == "dict" and isinstance(value, str) and not value.startswith("http"):
            value = ast.literal_eval(value or "{}")
        if wanted == "dict" and isinstance(value, (Mapping, str)):
            return dict(value) if isinstance(value, Mapping) else value
        if wanted == "str" and isinstance(value, (str, Path)):
            return str(value)
    except (ValueError, SyntaxError, TypeError):
        pass
    raise BadRequest(f"Parameter {key} of {name} is {value!r} but must be a {wanted}: {declared[key]['help']}.")
