"""Check a release: five phases on one stack, one verdict that only the runner computes, and a sealed folder that anybody can verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from suite import render
from suite.checks import criteria as limits
from suite.checks.target import Target, read_urls
from suite.errors import BadRequest, SuiteError
from suite.runbooks import conclude, disk, facts, journal, lanes
from suite.runbooks.catalog import every_id
from suite.runbooks.execute import Ways, execute
from suite.runbooks.expected import PHASES
from suite.runbooks.gates import STAGES
from suite.runbooks.readiness import EXIT
from suite.settings import TABLE, Settings, secret

if TYPE_CHECKING:
    from suite.runbooks.sign import SigningKey

QUICK = {"monitoring_interval": 1.0}  # for a smoke stack of our own: it is looked at as often as a drill's, so that no check waits for rounds
BUDGET = 120.0  # seconds from start to ready, as the phases' own parameter has it


class Opened(Protocol):
    """What is needed of the bench that is started or joined."""

    hosting: bool

    def target(self) -> Target: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Release:
    """One checked release: `results` as results.json has them, `path` its sealed folder, `head` the ledger's, which is worth keeping elsewhere."""

    verdict: str
    line: str
    path: Path
    results: Mapping[str, Any]
    head: str
    seconds: float

    @property
    def exit(self) -> int:
        """0 READY, 1 NOT READY, 2 could not run, 3 REHEARSAL."""
        return EXIT[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"verdict": self.verdict, "line": self.line, "path": str(self.path), "head": self.head, "seconds": self.seconds,
                "results": dict(self.results)}

    def __repr__(self) -> str:
        table = render.text_table(["check", "state", "title", "why"], self._rows())
        return "\n".join([f"{self.results['release']}: {self.line}", table, f"{self.path} ({self.seconds:.1f} s)",
                          f"head of the ledger, to be kept elsewhere: {self.head}"])

    def _repr_html_(self) -> str:
        title, note = f"{self.results['release']}: {self.line}", f"{self.path} · head {self.head}"
        return render.table(["check", "state", "title", "why"], self._rows(), title=title, note=note)

    def _rows(self) -> list[tuple[Any, ...]]:
        from suite.checks.result import Result

        return [(row["id"], row["state"], row["title"], Result.from_dict(row).why) for row in self.results["checks"]]


def check_release(release: str, stage: str, settings: Settings, *, reports: Path | None = None, phases: Sequence[str] | None = None,
                  parameters: Mapping[str, Any] | None = None, strict: bool = False, resume: str = "", progress: bool = True, language: str = "en",
                  key: SigningKey | None = None, start: Callable[..., Opened] | None = None, cell_limit: float = 0.0,
                  time_limit: float = 0.0) -> Release:
    """Execute the phases on one stack, judge them, and seal the folder `reports/<UTC time>-<release>`; whatever happens in a kernel ends in there.

    `start` starts or joins the stack that all phases are guests of; without it each phase starts one. `resume` takes up a release that was broken
    off: `last`, or a folder. Limits are seconds, 0 is the usual one for a cell and none for the run. Raises BadRequest, NotFound, SettingsError for
    what cannot be begun, StorageError when the archive cannot be written: then the folder stays, and the run can be resumed.
    """
    from suite.runbooks.sign import load_key

    asked, own = _asked(phases, stage, language), _settings(settings, stage)
    given = lanes.share_out(parameters or {}, asked)
    criteria = limits.load(str((parameters or {}).get("criteria", "")), {"budget_s": float((parameters or {}).get("budget_s", BUDGET))},
                           waivers=own.waivers, known=every_id())
    signer, archive = key or load_key(own), (reports or own.reports_dir).absolute()
    configuration = facts.configuration(own, criteria.digest)
    begun = {"release": release, "stage": stage, "parameters": _plain(parameters or {}), "phases": asked, **configuration}
    book = journal.resume(archive, resume, begun, time.time()) if resume else journal.begin(archive, begun)
    began = time.monotonic()
    try:
        case = _conduct(book, own, criteria, given, asked, configuration, parameters or {}, start, (cell_limit, time_limit), progress,
                        conclude.Case(release, stage, book.directory, archive, own, criteria, configuration, {}, ({}, {}), book.began, strict))
        return _settle(case, book, signer, language, began)
    finally:
        book.close()


def _asked(phases: Sequence[str] | None, stage: str, language: str) -> list[str]:
    unknown = [name for name in phases or () if name not in PHASES]
    if unknown:
        raise BadRequest(f"A release has no phase {unknown[0]!r}; it has {', '.join(PHASES)}.")
    if stage not in STAGES:
        raise BadRequest(f"The stage is {stage!r} but must be one of {', '.join(STAGES)}.")
    if language not in ("en", "ko"):
        raise BadRequest(f"The language is {language!r} but must be en or ko.")
    return [name for name in PHASES if phases is None or name in phases]


def _settings(settings: Settings, stage: str) -> Settings:
    """The settings of the stack that is checked: of this stage, and on smoke with a shorter interval unless one was set."""
    values = {row.name: getattr(settings, row.name) for row in TABLE}
    changed: dict[str, Any] = {} if settings.stage == stage else {"stage": stage}
    if settings.profile == "smoke":
        changed |= {name: value for name, value in QUICK.items() if settings.source[name] == "default"}
    return Settings(values | changed, {**settings.source, **dict.fromkeys(changed, "the release")})


def _plain(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in sorted(parameters.items())}


def _environment(settings: Settings) -> dict[str, str]:
    """What a kernel needs to find the same settings, by name of its environment: nothing of it is written into a notebook."""
    chosen = {row.env: getattr(settings, row.name) for row in TABLE if settings.source[row.name] != "default" or row.name == "data_dir"}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in chosen.items() if value is not None}


@contextmanager
def _stack(start: Callable[..., Opened] | None, settings: Settings, parameters: Mapping[str, Any]) -> Iterator[tuple[Target | None, str]]:
    """The stack that all phases are checked on, and why there is none."""
    urls = read_urls(parameters.get("base_urls") or {})
    if urls:
        name = str(parameters.get("token_env", ""))
        target = Target(urls, secret(name) if name else "")
        try:
            yield target, ""
        finally:
            target.close()
        return
    if start is None:
        yield None, ""
        return
    own = {row.name: getattr(settings, row.name) for row in TABLE if settings.source[row.name] != "default" and row.name != "profile"}
    before = time.time()
    try:
        bench = start(settings.profile, **own | {"data_dir": str(settings.data_dir)})
    except SuiteError as error:
        yield None, f"The stack could not be started or joined: {error}"
        return
    target = bench.target()
    try:
        ours = bench.hosting and float((facts.stack(target).get("host") or {}).get("started_at", before)) >= before
        yield target, ""
    finally:
        target.close()
        if ours:  # a stack that somebody else has started goes on, in this process too
            bench.stop()


def _conduct(book: journal.Journal, settings: Settings, criteria: limits.Criteria, given: Mapping[str, Mapping[str, Any]], asked: Sequence[str],
             configuration: Mapping[str, Any], parameters: Mapping[str, Any], start: Callable[..., Opened] | None, limit: tuple[float, float],
             progress: bool, case: conclude.Case) -> conclude.Case:
    """Execute what is not finished yet, and gather what the verdict needs."""
    with _stack(start, settings, parameters) as (target, trouble), _Bar(progress, case.release) as bar:
        at_first = facts.stack(target)
        expected = {name: {**row, **_expectation(at_first, name, row)} for name, row in given.items()}
        plan = lanes.Plan(book.directory, settings, criteria, expected, _environment(settings), *limit, announce=bar)
        if trouble:
            for name in PHASES:
                book.note(lanes.not_run(name, trouble))
        else:
            lanes.run_phases(plan, asked, lambda run, report: book.note(run), list(book.runs))
        at_last = facts.stack(target)
    if target is None and not trouble:
        at_first = at_last = {}
    return replace(case, runs=book.runs, stack=(at_first, at_last), trouble=trouble)


def _expectation(stack: Mapping[str, Any], runbook: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Every phase must meet the very stack that the release began with."""
    host = stack.get("host") or {}
    wanted = {"expect_profile": host.get("profile"), "expect_commit": host.get("commit")}
    return {name: str(value) for name, value in wanted.items() if value and not given.get(name)} if host else {}


def _settle(case: conclude.Case, book: journal.Journal, key: SigningKey, language: str, began: float) -> Release:
    """Judge, write, show, seal."""
    from suite.runbooks.final import write_html, write_report
    from suite.runbooks.seal import seal

    body, held = conclude.conclude(case)
    body["facts"]["seconds"] = round(time.monotonic() - began, 3)
    conclude.write(case, body, held)
    ways = Ways(folder=case.directory, environment=_environment(case.settings))
    shown = execute("release", {"results": "results.json"}, case.settings, out=case.directory / "release.ipynb", progress=False, ways=ways)
    body["runs"].append(lanes.run_of("release", shown))
    body["facts"] |= {"seconds": round(time.monotonic() - began, 3), "ended_at": conclude._moment(time.time())}
    conclude.write(case, body, held)
    for run in body["runs"]:
        if run["path"]:
            write_html(case.directory / run["path"])
    write_report(body, case.directory, language)
    try:
        book.clear()
    except OSError as error:
        raise disk.unwritable(case.directory, error) from error
    sealed = seal(case.directory, case.reports, key)
    return Release(body["verdict"], body["line"], sealed.path, body, sealed.head, round(time.monotonic() - began, 2))


class _Bar:
    """One bar over the cells of all phases, with the title of what was begun last."""

    def __init__(self, shown: bool, release: str) -> None:
        self._shown, self._release, self._counts, self._bar = shown, release, {}, None

    def __call__(self, runbook: str, title: str, done: int, total: int) -> None:
        self._counts[runbook] = (done, total)
        if self._bar is not None:
            self._bar.total = sum(total for _, total in self._counts.values())
            self._bar.set_description(f"{self._release}: {title or runbook}"[:80], refresh=False)
            self._bar.update(sum(done for done, _ in self._counts.values()) - self._bar.n)

    def __enter__(self) -> _Bar:
        if self._shown:
            from tqdm.auto import tqdm  # here, because in a notebook it loads the widgets

            self._bar = tqdm(total=0, unit="cell", desc=self._release)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
