"""A runbook from inside its kernel: find or start the stack, perform one check per cell, and end with a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from suite import render
from suite.checks import criteria as limits
from suite.checks.check import Check, not_run, now, perform
from suite.checks.criteria import Criteria
from suite.checks.drill import proven
from suite.checks.load_machine import MACHINE
from suite.checks.phase4_hardening import listed
from suite.checks.result import MIME, SATISFIED, Result
from suite.checks.target import WATCHING, ExpectedModel, Target, read_urls
from suite.errors import BadRequest, NotFound, RunFailed, SuiteError
from suite.runbooks.catalog import checks_of, every_id
from suite.runbooks.execute import execute
from suite.runbooks.report import RUN_MIME, SMOKE, Report, verdict_line
from suite.runbooks.view import View
from suite.serving.catalog import catalog
from suite.serving.catalog import profile as known_profile
from suite.settings import Settings, secret
from suite.settings import load as load_settings

__all__ = ["Report", "Run", "begin", "execute"]


class Opened(Protocol):
    """What a runbook needs of the bench that it starts or joins."""

    settings: Settings
    hosting: bool

    def target(self) -> Target: ...

    def stop(self) -> None: ...


class Run:
    """One run of a runbook. `facts` is the record of what was checked; it is kept in the first cell's output."""

    def __init__(self, name: str, criteria: Criteria, reports: Path, facts: dict[str, Any]) -> None:
        self.name, self.facts = name, facts
        self._checks = {check.id: check for check in checks_of(name)}
        self._criteria, self._proven = criteria, proven(reports)
        self._results: dict[str, Result] = {}
        self._target: Target | None = None
        self._stop: Callable[[], None] | None = None

    def check(self, identity: str) -> Result:
        """Perform one check; never raises for what the check finds.

        Raises NotFound for an id that is none of this runbook's.
        """
        if identity not in self._checks:
            raise NotFound(f"{self.name} has no check {identity!r}; it has {', '.join(self._checks)}.")
        check = self._checks[identity]
        if self._target is None:
            result = self._not_run(check, self.facts["trouble"])
        else:
            result = perform(check, self._target, self._criteria[identity], self._proven.get(identity))
        self._results[identity] = result
        return result

    def results(self) -> list[Result]:
        """One result per check of this runbook, not-run where its cell was not executed."""
        return [self._results.get(name) or self._not_run(check, "its cell was not executed") for name, check in self._checks.items()]

    def table(self) -> View:
        """All checks at a glance."""
        rows = [(r.id, r.title, r.state, r.why or f"{r.observed['n']} conditions hold", r.proven_red_at or "never") for r in self.results()]
        columns = ["check", "title", "state", "why", "proven red"]
        note = SMOKE if self._smoke() else ""
        return View(render.table(columns, rows, note=note), f"{render.text_table(columns, rows)}\n{note}".rstrip())

    def plot(self) -> View:
        """Seconds from start to ready, one bar per part, as the host recorded them."""
        parts = [item for result in self.results() for item in result.evidence if item.get("name") == "part"]
        rows = [(item["part"], item["start_to_ready_s"]) for item in parts if item.get("start_to_ready_s") is not None]
        if not rows:
            return View("<p>No start-to-ready seconds are recorded for this stack.</p>", "No start-to-ready seconds are recorded for this stack.")
        text = render.text_table(["part", "start to ready, s"], rows)
        return View(render.bars(rows, "s", "Start to ready"), text)

    def recovery(self) -> View:
        """RPO and RTO as the checks of backups found them: the age of the newest verified snapshot, and the seconds that restoring it took."""
        found = [(result.id, item) for result in self.results() for item in result.evidence if item.get("name") == "standing"]
        rows = [[name, *(item.get(key) for key in ("rpo_s", "rto_s", "snapshots", "verified", "newest_verified"))] for name, item in found]
        columns = ["check", "RPO, s", "RTO, s", "snapshots", "verified", "newest verified"]
        note = "" if rows else "No check of this run had a snapshot restored, so nobody knows how much would be lost."
        return View(render.table(columns, rows, title="How much would be lost, and for how long", note=note),
                    f"{render.text_table(columns, rows)}\n{note}".rstrip())

    def timeline(self) -> View:
        """What became of the requests of a steady load, moment by moment, 0 being when a server was killed."""
        found = next((item for result in self.results() for item in result.evidence if item.get("name") == "timeline"), None)
        if found is None:
            return View("<p>No load was run, so there is no timeline.</p>", "No load was run, so there is no timeline.")
        rows, kinds = found["rows"], [key for key in found["rows"][0] if key != "at_s"]
        marks = [(0.0, "killed")] + ([(found["whole_s"], "whole again")] if found["whole_s"] is not None else [])
        drawing = render.columns([row["at_s"] for row in rows], [(kind, [row[kind] for row in rows]) for kind in kinds], "seconds since the kill",
                                 f"Requests ended in each {found['step_s']:g} s", marks)
        columns = ["s since the kill", *kinds]
        table = [[row["at_s"], *(row[kind] for kind in kinds)] for row in rows]
        return View(drawing + render.table(columns, table), render.text_table(columns, table))

    def levels(self) -> View:
        """What a load came to, level by level, and from where on more callers only wait longer."""
        notes = [item for result in self.results() for item in result.evidence]
        rows, point = [item for item in notes if item.get("name") == "level"], next((item for item in notes if item.get("name") == "saturation"), {})
        if not rows:
            return View("<p>No load was made.</p>", "No load was made.")
        labels = [f"{row['level']} callers" for row in rows]
        drawing = render.chart(labels, [("answers a second", [row["rate"] for row in rows]), ("median wait, s", [row["p50"] for row in rows]),
                                        ("p95 of the wait, s", [row["p95"] for row in rows])], "Load by level")
        keys = ("level", "n", "rate", "tokens_per_s", "p50", "p95", "high", "max", "chat_waiting", "code_waiting", *MACHINE, "wrong")
        table = [[row.get(key) for key in keys] for row in rows]
        note = f"Saturation: {point['level']} callers, {point['rate']} answers a second" + (
            "; more callers only wait longer." if point["reached"] else "; the highest level that was tried, so that the point may lie above it.")
        return View(drawing._repr_html_() + render.table(keys, table, note=note), f"{render.text_table(keys, table)}\n{note}")

    def scaling(self) -> View:
        """What to change at which load, and how the monitoring finds each of these rules now."""
        rows = [[item[key] for key in ("rule", "state", "at", "change")] for result in self.results() for item in result.evidence
                if item.get("name") == "scaling"]
        columns = ["rule", "state", "due at", "what to change"]
        return View(render.table(columns, rows), render.text_table(columns, rows))

    def recommendations(self) -> View:
        """The list of P4.4: each recommendation with its state, what was seen, and who answers for one that is waived."""
        rows = [row for result in self.results() for row in listed(result)]
        columns = ["recommendation", "state", "seen", "why"]
        note = "" if rows else "P4.4 was not performed, or this stack is of another make; nobody has looked at a recommendation."
        return View(render.table(columns, rows, title="Recommendations", note=note), f"{render.text_table(columns, rows)}\n{note}".rstrip())

    def waits(self) -> View:
        """How long users waited, as the checks that time them found it: least, median, 95th percentile with its interval, and most."""
        found = [(result.id, item) for result in self.results() for item in result.evidence if item.get("name") == "seconds" and item.get("n")]
        rows = [[name, item.get("state") or item.get("route"), *(item.get(key) for key in ("n", "min", "p50", "p95", "low", "high", "max"))]
                for name, item in found]
        columns = ["check", "what", "n", "least, s", "median, s", "p95, s", "p95 at least, s", "p95 at most, s", "most, s"]
        note = "The interval is by order statistics, 95 % on either side; None where the number of answers is too small to say." if rows else \
            "No check of this run timed an answer."
        bars = [(f"{row[0]} {row[1]}, {which}", row[at]) for row in rows for which, at in (("median", 4), ("most", 8))]
        drawn = render.bars(bars, "s", "Waiting") if bars else ""
        return View(drawn + render.table(columns, rows, note=note), f"{render.text_table(columns, rows)}\n{note}")

    def finish(self) -> View:
        """Show the verdict; stop the stack when this run started it.

        Raises RunFailed when a check did not pass or the stack is not the one meant.
        """
        results = self.results()
        missing = [result for result in results if result.id not in self._results]
        if self._stop is not None:
            self._stop()
        if self._target is not None:
            self._target.close()
        ok, line = verdict_line(self.name, results, self.facts)
        view = View(render.card(line, [(r.id, r.why) for r in results if r.state not in SATISFIED], note=self.facts["trouble"],
                                badge_text="pass" if ok else "fail"), line)
        if missing or not ok:
            _display(view, missing)
        if not ok:
            raise RunFailed(line)
        return view

    def _not_run(self, check: Check, reason: str) -> Result:
        return not_run(check, self._criteria[check.id], reason, self._proven.get(check.id))

    def _smoke(self) -> bool:
        return bool(self.facts["smoke"]) or any(result.smoke for result in self._results.values())

    def _rows(self) -> list[tuple[str, Any]]:
        facts = self.facts
        return [("stack", facts["stack"]), ("profile", facts["profile"] or "not known"), ("commit", facts["commit"] or "not known"),
                ("criteria", self._criteria.source), ("not as expected", "; ".join(facts["mismatches"]) or "nothing"),
                *([("trouble", facts["trouble"])] if facts["trouble"] else [])]

    def __repr__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self._rows()]
        return "\n".join([f"{self.name}, begun {self.facts['begun_at']}", *lines, *([SMOKE] if self._smoke() else [])])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        html = render.card(f"{self.name}, begun {self.facts['begun_at']}", self._rows(), note=SMOKE if self._smoke() else "")
        return {RUN_MIME: self.facts, "text/html": html, "text/plain": repr(self)}


def begin(name: str, *, start: Callable[..., Opened], profile: str = "", base_urls: Any = None, token_env: str = "", budget_s: float = 120.0,
          criteria: str = "", expect_profile: str = "", expect_commit: str = "", settings: Mapping[str, Any] | None = None,
          load: Mapping[str, Any] | None = None) -> Run:
    """Get ready to run the checks of a runbook: on the stack at `base_urls`, else on the one that `start` joins or starts.

    Without a profile, whatever stack runs here is inspected; `expect_profile` and `expect_commit` fail the run when it is another than meant.
    `load` says how much of it a runbook makes that makes load. A stack that cannot be started leaves a run whose checks are not-run. Raises
    BadRequest or SettingsError for a parameter that cannot be used.
    """
    urls, own, began = read_urls(base_urls or {}), dict(settings or {}), time.time()
    if isinstance(budget_s, bool) or not isinstance(budget_s, (int, float)) or not budget_s > 0:
        raise BadRequest(f"budget_s is {budget_s!r} but must be a number of seconds above 0.")
    ours = load_settings({key: value for key, value in own.items() if key != "profile"})
    facts: dict[str, Any] = {"runbook": name, "begun_at": now(), "stack": "", "profile": "", "commit": "", "smoke": False, "mismatches": [],
                             "trouble": "", "host": {}, "config": ours.digest()}
    demands = limits.load(criteria, {"budget_s": float(budget_s)}, waivers=ours.waivers, known=every_id())
    run = Run(name, demands, ours.reports_dir, facts)
    if urls:
        run._target = Target(urls, _token(token_env), profile)
        facts["stack"] = "by URL: " + ", ".join(f"{part} {url}" for part, url in urls.items())
    else:
        _open(run, start, profile, own, began)
    if run._target is not None:
        target = run._target
        target.expected, target.ci_result = _expected_models(profile), ours.ci_result
        target.load, target.evidence = dict(load or {}), ours.reports_dir
        _look(target, facts)
        run._criteria = demands.under(facts["profile"])
        there = facts["host"].get("ports")
        if there:  # one address stands for all ports, and a stack of ours says which of them it has not opened
            target.urls = {part: url for part, url in target.urls.items() if part not in WATCHING or part in there}
        target.aliases = tuple(facts["host"].get("aliases") or (ours.api_gateway_chat_model, ours.api_gateway_code_model))
    facts["mismatches"] = _mismatches(facts, expect_profile, expect_commit)
    return run


def _open(run: Run, start: Callable[..., Opened], profile: str, own: dict[str, Any], began: float) -> None:
    fallback = own.pop("profile", None)  # of the settings: for a new stack only
    try:
        # with no profile asked for, this run inspects what is there, whatever its settings
        bench = start(profile or fallback, attach=not profile, **own)
        run._target = bench.target()
        record = run._target.parts()
    except SuiteError as error:
        run.facts["trouble"] = f"The stack could not be started or joined: {error}"
        return
    started_here = bench.hosting and record is not None and record["host"]["started_at"] >= began
    run._target.owned = started_here
    run._stop = bench.stop
    if bench.hosting and not started_here:
        run._stop = None  # the bench of the person who runs this notebook in a kernel with an open stack
    run.facts["stack"] = "started by this run" if started_here else "already running, inspected as a guest"


def _look(target: Target, facts: dict[str, Any]) -> None:
    """Who answers there: profile, commit, smoke models."""
    try:
        record = target.parts()
    except SuiteError as error:
        facts["host"] = {"unknown": str(error)}
        return
    host = (record or {}).get("host", {})
    facts.update(host=host, profile=host.get("profile", ""), commit=host.get("commit", ""), smoke=bool(host.get("smoke")))


def _mismatches(facts: Mapping[str, Any], expect_profile: str, expect_commit: str) -> list[str]:
    found = []
    if expect_profile and facts["profile"] != expect_profile:
        found.append(f"its profile is {facts['profile'] or 'not known'!r}, expected was {expect_profile!r}")
    commit = str(facts["commit"])
    clean_start = len(expect_commit) >= 7 and commit.startswith(expect_commit) and "-dirty" not in commit
    if expect_commit and commit != expect_commit and not clean_start:
        found.append(f"its commit is {commit or 'not known'!r}, expected was {expect_commit!r}")
    return found


def _expected_models(name: str) -> dict[str, ExpectedModel]:
    """What the named profile asks for; nothing when no profile was named."""
    if not name:
        return {}
    wanted = known_profile(name)
    return {role: ExpectedModel(catalog()[entry.model].file, catalog()[entry.model].sha256)
            for role, entry in (("chat", wanted.chat), ("code", wanted.code))}


def _token(variable: str) -> str:
    """The access token in the named environment variable; it is never a parameter, because parameters are kept in the report."""
    return secret(variable) if variable else ""


def _display(view: View, missing: list[Result]) -> None:
    """Put the verdict, and the record of checks whose cells were skipped, into the output of a cell that is about to raise."""
    from IPython.display import display

    if missing:
        text = "\n".join(map(repr, missing))
        display({MIME: [result.to_dict() for result in missing], "text/html": "".join(result._repr_html_() for result in missing),
                 "text/plain": text}, raw=True)
    display(view)
