"""Phase 4, the part about tests: another job ran them on this commit, has finished, and its reports say so themselves."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from suite.checks.check import Observation
from suite.checks.target import Target
from suite.checks.tested import FINISHED, counted, digest, hashed, read
from suite.errors import StorageError

STAGES = ("pytest", "nbval")  # what a job must have run
NOBODY = "no job's result is named: set CI_RESULT to the file that `suite ci record` wrote after the tests of this commit"


def tested(target: Target, seen: Observation) -> None:
    """P4.2: the result file of a finished other job, of this commit, unchanged, and with reports in which no test failed."""
    path, began = target.ci_result, datetime.now(UTC)
    if path is None or not path.exists():
        seen.not_run = NOBODY if path is None else f"CI_RESULT names {path}, which does not exist; let the test job of this commit write it"
        return
    stack = target.parts()
    if stack is None:
        seen.not_run = "this stack is of another make and does not say which commit it is of, so no job's result can be its own"
        return
    try:
        body = read(path)
    except StorageError as error:
        seen.values["readable"] = False
        seen.note("refused", reason=str(error))
        return
    commit = str(stack["host"].get("commit") or "")
    rows = [row for row in body["stages"] if isinstance(row, dict)]
    found = [_looked_at(row, path.parent) for row in rows]
    started, ended = _moment(body.get("started_at")), _moment(body.get("ended_at"))
    seen.values |= {
        "readable": True, "finished": body.get("state") == FINISHED, "digest_same": body.get("digest") == digest(body),
        "commit_same": len(commit) == 40 and body.get("commit") == commit,  # one with changes ends in -dirty, and nobody knows in which
        "ended_before": started is not None and ended is not None and started <= ended <= began, "other_job": _other(body, stack["host"].get("pid")),
        "stages_missing": len(set(STAGES) - {str(row.get("name")) for row in rows}), "reports_altered": sum(not row["same"] for row in found),
        "tests_failed": sum(row["failed"] for row in found), "fewest_tests": min((row["tests"] for row in found), default=0),
    }
    seen.note("job", job=body.get("job"), state=body.get("state"), commit=body.get("commit"), stack=commit, started_at=body.get("started_at"),
              ended_at=body.get("ended_at"), digest=body.get("digest"), file=path.name)
    for row in found:
        seen.note("stage", **row)


def _looked_at(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A stage as its own report has it, and whether that is the report which the job saw."""
    report = folder / Path(str(row.get("report"))).name  # beside the result file, wherever it points
    try:
        tests, failed, skipped = counted(report)
    except StorageError as error:
        return {"stage": row.get("name"), "tests": 0, "failed": 0, "skipped": 0, "same": False, "reason": str(error)}
    same = hashed(report) == row.get("sha256") and (tests, failed, skipped) == tuple(row.get(key) for key in ("tests", "failed", "skipped"))
    return {"stage": row.get("name"), "tests": tests, "failed": failed, "skipped": skipped, "same": same}


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _other(body: dict[str, Any], host: Any) -> bool:
    """Whether it was written by neither this process nor the host of the stack: nobody vouches for themselves."""
    writer = body.get("writer") if isinstance(body.get("writer"), dict) else {}
    for pid in {os.getpid(), host} - {None}:
        try:
            if writer.get("pid") == pid and abs(psutil.Process(pid).create_time() - float(writer.get("since", 0))) < 1.0:
                return False
        except (psutil.Error, TypeError, ValueError):
            continue
    return isinstance(writer.get("pid"), int)
