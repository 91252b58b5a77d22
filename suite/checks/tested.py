"""What a finished job found when it ran the tests of one commit: a result file beside the JUnit reports it is about."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil

from suite.errors import BadRequest, StorageError

SCHEMA, FINISHED, FAILED = 1, "finished", "failed"


@dataclass(frozen=True)
class Stage:
    """One stage of the job: how many tests it ran (`skipped` ones did not run), and the report that says so, with its sha256."""

    name: str
    tests: int
    failed: int
    skipped: int
    report: str
    sha256: str


@dataclass(frozen=True)
class Job:
    """A job that has ended: `state` is finished when every stage ran tests and none failed, else failed. Times are UTC, ISO 8601.

    `writer` is the process that wrote the record: its pid, and since when it ran (UTC seconds).
    """

    job: str
    commit: str
    state: str
    started_at: str
    ended_at: str
    stages: tuple[Stage, ...]
    writer: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """What the result file says, with the digest over all of it."""
        body = {"schema": SCHEMA, **asdict(self), "stages": [asdict(stage) for stage in self.stages]}
        return body | {"digest": digest(body)}


def record(out: Path, commit: str, started_at: str, reports: Mapping[str, Path], job: str = "", *, commit_now: str | None = None) -> Job:
    """Write the result file `out` of a job that ran the tests of `commit`; its JUnit reports, by stage, are copied beside it.

    `commit_now` is what is checked out at the end. Nothing is written unless all reports can be read; a file of an earlier job is removed first.
    Raises BadRequest when the commit is none or has changed meanwhile, StorageError for a report or a folder that cannot be used.
    """
    try:
        out.unlink(missing_ok=True)
        if not commit or (commit_now is not None and commit_now != commit):
            raise BadRequest(f"The tests were begun on commit {commit!r}, and now {commit_now!r} is checked out; commit all, and run the job again.")
        if not reports:
            raise BadRequest("A job without a stage has tested nothing; name a report for each stage, as in pytest=pytest.xml.")
        out.parent.mkdir(parents=True, exist_ok=True)
        stages = tuple(_stage(name, path, out.parent) for name, path in reports.items())
        good = all(stage.tests and not stage.failed for stage in stages)
        process = psutil.Process()
        ended_at, writer = datetime.now(UTC).isoformat(timespec="milliseconds"), {"pid": process.pid, "since": process.create_time()}
        done = Job(job or uuid.uuid4().hex, commit, FINISHED if good else FAILED, started_at, ended_at, stages, writer)
        partial = out.with_name(f".{out.name}.{os.getpid()}")
        partial.write_text(json.dumps(done.to_dict(), indent=2), encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise StorageError(f"The result of the tests cannot be written to {out} ({error.strerror or error}); name another file.") from error
    return done


def read(path: Path) -> dict[str, Any]:
    """The body of a result file. Raises StorageError for one that cannot be read or says something else."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"The result file {path} cannot be read ({error}); let the job write it again.") from error
    if not isinstance(body, dict) or body.get("schema") != SCHEMA or not isinstance(body.get("stages"), list):
        raise StorageError(f"{path} is no result file of `suite ci record`; name the one that the test job wrote.")
    return body


def digest(body: Mapping[str, Any]) -> str:
    """sha256 over all that a result file says but its own digest, as 64 hex digits."""
    return hashlib.sha256(json.dumps({key: value for key, value in body.items() if key != "digest"}, sort_keys=True).encode()).hexdigest()


def counted(path: Path) -> tuple[int, int, int]:
    """How many tests a JUnit report holds that ran, failed (or had an error), were skipped. Raises StorageError for what is no such report."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        raise StorageError(f"The test report {path} cannot be read ({error}); run pytest with --junitxml={path}.") from error
    bad = sum(any(child.tag in ("failure", "error") for child in case) for case in cases)
    skipped = sum(any(child.tag == "skipped" for child in case) and not any(child.tag in ("failure", "error") for child in case) for case in cases)
    return len(cases) - skipped, bad, skipped


def hashed(path: Path) -> str:
    """sha256 of a file, empty when it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _stage(name: str, path: Path, folder: Path) -> Stage:
    tests, failed, skipped = counted(path)
    kept = folder / f"{name}.xml"
    if path.resolve() != kept.resolve():
        shutil.copyfile(path, kept)
    return Stage(name, tests, failed, skipped, kept.name, hashed(kept))
