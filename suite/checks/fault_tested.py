"""Faults of the tests of a stack's code: what another job found is of another commit, edited, unfinished or not all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from suite.checks.fault import Fault, Stack
from suite.checks.target import Target
from suite.checks.tested import digest

RESULT = "ci-result.json"
REPORT = '<testsuites><testsuite name="{0}"><testcase classname="{0}" name="one"/><testcase classname="{0}" name="other"/></testsuite></testsuites>'
WRITE = "import sys; from pathlib import Path; from suite.checks.tested import record; f = Path(sys.argv[1]); " \
        "record(f / sys.argv[2], sys.argv[3], sys.argv[4], {n: f / f'{n}.xml' for n in ('pytest', 'nbval')})"


def finished_job(stack: Any, target: Target) -> None:
    """Let another process write the result of a job, with two stages of two tests each, for the commit that the stack then says it is of.

    A drill may run where nothing is committed, or in an installed package: the stack says a commit without changes here.
    """
    folder, began = Path(stack.settings.data_dir, "cache", "job"), datetime.now(UTC).isoformat()
    stack.record = replace(stack.record, commit=(stack.record.commit.split("-")[0] or "0" * 40))
    folder.mkdir(mode=0o700)
    for name in ("pytest", "nbval"):
        (folder / f"{name}.xml").write_text(REPORT.format(name), encoding="utf-8")
    subprocess.run([sys.executable, "-c", WRITE, str(folder), RESULT, stack.record.commit, began], check=True, timeout=120)
    target.ci_result = folder / RESULT


def edit_result(stack: Stack, change: Callable[[dict[str, Any]], None], signed: bool = True) -> None:
    """Change what the result file says; with `signed` its digest is made anew, so that only what it says is wrong."""
    file = Path(stack.settings.data_dir, "cache", "job", RESULT)
    body = json.loads(file.read_text(encoding="utf-8"))
    change(body)
    file.write_text(json.dumps(body | ({"digest": digest(body)} if signed else {})), encoding="utf-8")


def other_commit(stack: Stack) -> None:
    """Let the tests have been of another commit."""
    edit_result(stack, lambda body: body.update(commit="f" * 40))


def wrong_digest(stack: Stack) -> None:
    """Change the result by hand: one more test."""
    edit_result(stack, lambda body: body["stages"][0].update(tests=3), signed=False)


def unfinished_job(stack: Stack) -> None:
    """Let the job be at work yet."""
    edit_result(stack, lambda body: body.update(state="running"))


def failing_test(stack: Stack) -> None:
    """Let the report hold a test that failed, whatever the result says."""
    report = Path(stack.settings.data_dir, "cache", "job", "pytest.xml")
    report.write_text(report.read_text(encoding="utf-8").replace('name="one"/>', 'name="one"><failure/></testcase>'), encoding="utf-8")


def missing_stage(stack: Stack) -> None:
    """Let the job have left the notebooks out."""
    edit_result(stack, lambda body: body["stages"].pop())


def own_word(stack: Stack) -> None:
    """Let the host of the stack have written its own result."""
    edit_result(stack, lambda body: body.update(writer={"pid": os.getpid(), "since": psutil.Process().create_time()}))


OTHER_COMMIT = Fault("the tests were those of another commit", other_commit)
WRONG_DIGEST = Fault("the result of the tests was edited by hand", wrong_digest)
UNFINISHED_JOB = Fault("the test job had not finished", unfinished_job)
FAILING_TEST = Fault("a test had failed in the report", failing_test)
MISSING_STAGE = Fault("the test job left the notebooks out", missing_stage)
OWN_WORD = Fault("the stack vouched for itself", own_word)
