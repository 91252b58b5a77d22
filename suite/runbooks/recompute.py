"""What the notebooks of a sealed release say, computed again: every state, every cell's source, every execution count."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.checks import criteria as limits
from suite.checks.criteria import Criteria, examine
from suite.checks.result import MIME
from suite.errors import SettingsError
from suite.runbooks import disk
from suite.runbooks.archive import CRITERIA, RESULTS
from suite.runbooks.digest import INJECTED, cells, generated, of_notebook, tags, text
from suite.runbooks.expected import IDS
from suite.runbooks.statement import rows

SAME = ("title", "phase", "category", "observed", "criterion", "margin", "started_at", "ended_at")  # of a record and its row in results.json
FINISHED = "finished"  # of a run: every cell was executed
NOTEBOOK = ".ipynb"


def recomputed(place: Path, results: Mapping[str, Any], run: Mapping[str, Any], *, pruned: bool = False) -> tuple[list[str], list[str]]:
    """Where results.json and the notebooks differ, as (doubts, notes); `run` is our own signed predicate, which has each notebook's digests.

    Of a pruned release only results.json itself can be judged.
    """
    try:
        disk.read_plain(place / CRITERIA)  # a pipe would be waited for
        criteria = limits.load(place / CRITERIA)
    except (SettingsError, OSError) as error:
        return [f"The criteria in the report cannot be read, so no state can be computed again: {error}"], []
    doubts = [doubt for row in rows(results) for doubt in _judged(row, criteria)]
    doubts += [f"{name} stands twice in {RESULTS}." for name in _twice([str(row.get("id")) for row in rows(results)])]
    there = {str(row.get("id")) for row in rows(results)}
    doubts += [f"{name} is not in {RESULTS}, in which each of the {len(IDS)} has a state." for name in IDS if name not in there]
    if pruned:
        return doubts, []
    told, notes, records = _runs(results), [], {}
    attested = run.get("notebooks") if isinstance(run.get("notebooks"), Mapping) else {}
    for name in dict.fromkeys([*attested, *told]):
        notebook, trouble = _notebook(place / name)
        if notebook is None:
            if name in attested or told.get(name) == FINISHED:
                doubts.append(f"{name} {trouble}")
            continue
        more, said = _of_notebook(name, notebook, attested.get(name), told.get(name, FINISHED))
        doubts += more
        notes += said
        for record in records_of(notebook):
            records.setdefault(str(record.get("id")), []).append((name, record))
    return doubts + _compared(results, records), notes


def records_of(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every check's record in the outputs of a notebook, in order."""
    for cell in cells(notebook):
        for output in cell.get("outputs") or []:
            data = output.get("data") if isinstance(output, Mapping) else None
            found = data.get(MIME) if isinstance(data, Mapping) else None
            yield from (item for item in (found if isinstance(found, list) else [found]) if isinstance(item, Mapping) and "id" in item)


def counts(notebook: Mapping[str, Any], finished: bool) -> str:
    """What is wrong with the execution counts of the runbook's own code cells: 1, 2, 3 … without a gap, to the end where the run finished."""
    shown = [cell.get("execution_count") for cell in cells(notebook) if cell.get("cell_type") == "code" and _executable(cell)]
    done = shown if finished or None not in shown else shown[:shown.index(None)]
    wanted = list(range(1, len(done) + 1))
    if done != wanted:
        return f"its execution counts are {done}, not 1 to {len(done)} without a gap"
    return "" if all(count is None for count in shown[len(done):]) else "cells were executed after one that was not"


def _of_notebook(name: str, notebook: Mapping[str, Any], attested: Any, state: str) -> tuple[list[str], list[str]]:
    doubts, notes = [], []
    wrong = counts(notebook, state == FINISHED)
    if wrong:
        doubts.append(f"{name}: {wrong}.")
    if not isinstance(attested, Mapping):
        return [*doubts, f"{name} is a notebook whose digests were not attested."], notes
    found = of_notebook(notebook)
    if found.whole != attested.get("whole"):
        same = found.content == attested.get("content")
        doubts.append(f"{name} was " + ("written anew after the seal: only its metadata, times or counts differ." if same else
                                        "changed after the seal: what its cells say or show is not what was attested."))
    doubts += [f"{name}: {sentence}." for sentence in _put_in(notebook)]
    packaged = attested.get("packaged")
    if packaged is None:
        notes.append(f"{name} is of no runbook that the runner had, so its cells were not compared with one.")
    elif list(found.sources) != packaged:
        doubts += _cells(name, notebook, found.sources, packaged)
    return doubts, notes


def _put_in(notebook: Mapping[str, Any]) -> list[str]:
    """What is wrong with the cells that are none of the runbook's: parameters are plain values, and nothing else there is code."""
    own = [cell for cell in cells(notebook) if generated(cell)]
    injected = [cell for cell in own if INJECTED in tags(cell)]
    doubts = ["parameters were injected twice"] if len(injected) > 1 else []
    doubts += ["its injected parameters are no plain values" for cell in injected if not _plain_values(text(cell.get("source")))]
    strange = [cell for cell in own if cell not in injected and cell.get("cell_type") == "code" and text(cell.get("source")).strip()]
    return doubts + [f"a cell that the runner put in holds code: {text(cell.get('source')).strip()[:60]!r}" for cell in strange]


def _plain_values(source: str) -> bool:
    try:
        for line in ast.parse(source).body:
            ast.literal_eval(line.value if isinstance(line, ast.Assign) else ast.Name("no value"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _cells(name: str, notebook: Mapping[str, Any], sources: Sequence[str], packaged: Sequence[str]) -> list[str]:
    """Which cells are not those of the runbook."""
    own = [cell for cell in cells(notebook) if not generated(cell)]
    if len(own) != len(packaged):
        return [f"{name} has {len(own)} cells, but the runbook {len(packaged)}: cells were removed or added."]
    return [f"{name}: {cell.get('cell_type')} cell {number} is not the runbook's: {text(cell.get('source')).strip()[:60]!r}."
            for number, (cell, source, wanted) in enumerate(zip(own, sources, packaged, strict=True), 1) if source != wanted]


def _judged(row: Mapping[str, Any], criteria: Criteria) -> list[str]:
    """Whether a row of results.json follows from its own evidence; one that the runner itself made a fail needs no more reason than it gives."""
    doubted = any(isinstance(item, Mapping) and item.get("name") == "doubt" for item in row.get("evidence") or [])
    if row.get("state") == "fail" and doubted:
        return []
    state, doubts = examine(row, criteria)
    if not doubts and state != row.get("state"):
        doubts = [f"its evidence gives {state!r}"]
    return [f"{row.get('id')} is {row.get('state')!r} in {RESULTS}, but: {doubt}." for doubt in doubts]


def _compared(results: Mapping[str, Any], records: Mapping[str, list[tuple[str, Mapping[str, Any]]]]) -> list[str]:
    """Each row of results.json against what the notebooks recorded."""
    doubts, known = [], {str(row.get("id")): row for row in rows(results)}
    for name, row in known.items():
        own = records.get(name, [])
        if not own:
            if row.get("state") not in ("not-run",):
                doubts.append(f"{name} is {row.get('state')!r} in {RESULTS}, but no notebook holds a record of it.")
            continue
        where, record = own[-1]
        if row.get("state") == "fail" and record.get("state") != "fail":
            continue  # the runner may only be stricter than the notebook
        doubts += [f"{name}: {key} is {row.get(key)!r} in {RESULTS} but {record.get(key)!r} in {where}."[:400] for key in ("state", *SAME)
                   if row.get(key) != record.get(key)]
        if list(row.get("evidence") or []) != list(record.get("evidence") or []):
            doubts.append(f"{name}: the evidence in {RESULTS} is not that in {where}.")
        if any(other.get("state") != record.get("state") for _, other in own):
            doubts.append(f"{name}: the notebooks hold records of it that differ.")
    return doubts + [f"{name} is recorded in {own[-1][0]}, but {RESULTS} does not have it." for name, own in records.items() if name not in known]


def _runs(results: Mapping[str, Any]) -> dict[str, str]:
    """The state of each run by its notebook's path."""
    runs = results.get("runs")
    return {str(run["path"]): str(run.get("state")) for run in (runs if isinstance(runs, list) else [])
            if isinstance(run, Mapping) and str(run.get("path", "")).endswith(NOTEBOOK)}


def _notebook(file: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        body = json.loads(disk.read_plain(file))
    except FileNotFoundError:
        return None, "is missing."
    except (OSError, ValueError, RecursionError) as error:
        return None, f"cannot be read as a notebook ({type(error).__name__}: {str(error)[:100]})."
    return (body, "") if isinstance(body, dict) and isinstance(body.get("cells"), list) else (None, "is no notebook.")


def _executable(cell: Mapping[str, Any]) -> bool:
    return bool(text(cell.get("source")).strip())  # an empty cell is not executed


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
