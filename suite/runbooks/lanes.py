"""Execute the phases of a release on one stack: side by side where they do not depend on each other, within the time of the whole run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.checks.criteria import Criteria
from suite.checks.result import Result
from suite.errors import RunFailed, SettingsError, SuiteError
from suite.runbooks.catalog import RUNBOOKS
from suite.runbooks.ending import NOT_RUN
from suite.runbooks.execute import Ways, declared_by, execute, refuse_wrong, undeclared
from suite.runbooks.expected import PHASES, RESTS_ON
from suite.runbooks.report import Report
from suite.settings import Settings, package_file

# phase 3 mostly waits for rounds and alerts, so it goes beside the first two; phase 4 floods, and phase 5 takes times, so both go alone
AFTER = {"phase1_environment": (), "phase3_monitoring": (), "phase2_health": ("phase1_environment",),
         "phase4_configuration": ("phase2_health", "phase3_monitoring"), "phase5_validation": ("phase4_configuration",)}
AT_ONCE = 2  # on the two cores that are the least we plan for


@dataclass(frozen=True)
class Plan:
    """How the phases of one release are executed: where their notebooks go, and what each of them is given; limits are seconds, 0 is none."""

    directory: Path
    settings: Settings
    criteria: Criteria
    parameters: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    cell_limit: float = 0.0
    time_limit: float = 0.0
    announce: Callable[[str, str, int, int], None] = lambda runbook, title, done, total: None
    began: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)  # set by an interrupt: each phase ends with the cell that it is at

    def left(self) -> float:
        """Seconds that are left for the whole run; 0 when there is no limit."""
        return max(0.01, self.time_limit - (time.monotonic() - self.began)) if self.time_limit else 0.0

    def tell(self, runbook: str, title: str, done: int, total: int) -> None:
        """Pass on what a phase does now. Raises RunFailed when the run is to end."""
        if self.stop.is_set():
            raise RunFailed("The run was interrupted.")
        self.announce(runbook, title, done, total)

    def over(self) -> bool:
        """Whether the time of the whole run is over."""
        return bool(self.time_limit) and time.monotonic() - self.began >= self.time_limit


def known(runbook: str) -> bool:
    """Whether this installation has the runbook."""
    try:
        return bool(RUNBOOKS.get(runbook)) and package_file(f"runbooks/{runbook}.ipynb").is_file()
    except SettingsError:
        return False


def share_out(parameters: Mapping[str, Any], runbooks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each runbook those of the parameters that it declares. Raises BadRequest for one that none declares, or that cannot be used."""
    declared = {runbook: declared_by(runbook) for runbook in runbooks if known(runbook)}
    everything = list(dict.fromkeys(name for names in declared.values() for name in names))
    for key in parameters:
        if key not in everything:
            raise undeclared(key, everything, "The release")
    shared = {runbook: {key: value for key, value in parameters.items() if key in names} for runbook, names in declared.items()}
    for runbook, own in shared.items():
        refuse_wrong(runbook, own)
    return shared


def run_phases(plan: Plan, asked: Sequence[str], ended: Callable[[dict[str, Any], Report | None], None], finished: Sequence[str] = ()) -> None:
    """Execute the phases that were asked for and are not `finished`, each after those that it comes after; `ended` is told of each, one at a time.

    A phase that this installation lacks, or that the time did not suffice for, is told as not-run. Raises what the archive raises, after the phases
    that are at work have ended.
    """
    waiting = [runbook for runbook in PHASES if runbook not in finished]
    working: dict[Future[Report], str] = {}
    failed: SuiteError | None = None
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="suite-phase") as pool:
        while waiting or working:
            runbook = _next(waiting, set(working.values()))
            why = "the archive could not be written" if failed else _not_now(plan, runbook, asked) if runbook else ""
            if runbook and (why or len(working) < AT_ONCE):
                waiting.remove(runbook)
                if why:
                    ended(not_run(runbook, why), None)
                else:
                    working[pool.submit(_one, plan, runbook)] = runbook
                continue
            try:
                done = wait(working, return_when=FIRST_COMPLETED).done
            except BaseException:
                plan.stop.set()
                raise
            for future in done:
                runbook = working.pop(future)
                try:
                    report = future.result()
                    ended(run_of(runbook, report), report)
                except SuiteError as error:
                    failed = failed or error
    if failed is not None:
        raise failed


def _next(waiting: Sequence[str], working: set[str]) -> str:
    """The first phase that waits for no other; empty when each of them does."""
    return next((one for one in waiting if not set(AFTER[one]) & {*waiting, *working}), "")


def _not_now(plan: Plan, runbook: str, asked: Sequence[str]) -> str:
    if runbook not in asked:
        return "this phase was not asked for"
    if not known(runbook):
        return "this installation has no such runbook"
    return f"the time limit of {plan.time_limit:g} s for the whole run was over" if plan.over() else ""


def _one(plan: Plan, runbook: str) -> Report:
    ways = Ways(plan.cell_limit, plan.left(), plan.environment, None, lambda *what: plan.tell(runbook, *what), plan.criteria)
    return execute(runbook, plan.parameters.get(runbook, {}), plan.settings, out=plan.directory / f"{runbook}.ipynb", progress=False, ways=ways)


def run_of(runbook: str, report: Report) -> dict[str, Any]:
    """The run as results.json has it."""
    ending = report.ending.to_dict()
    return {"runbook": runbook, "state": ending["state"], "seconds": report.seconds, "trouble": report.trouble, "path": report.path.name,
            "started_at": ending["started_at"], "ended_at": ending["ended_at"], "cells": ending["cells"], "crash": ending["crash"]}


def not_run(runbook: str, why: str) -> dict[str, Any]:
    """The run of a phase that did not happen."""
    return {"runbook": runbook, "state": NOT_RUN, "seconds": 0.0, "trouble": why, "path": "", "started_at": "", "ended_at": "", "cells": [],
            "crash": None}


def resting(results: Mapping[str, Result]) -> dict[str, list[str]]:
    """For each check that rests on one which did not pass: the sentences that say so, however it ended itself."""
    found = {}
    for name, needed in RESTS_ON.items():
        weak = [f"{name} rests on {other}, which is {results[other].state}" for other in needed
                if other in results and results[other].state not in ("pass", "not-applicable")]
        if weak and name in results:
            found[name] = weak
    return found
