"""What the release's own notebook shows: the results of all phases as the runner computed them; nothing is judged in the kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import BadRequest, NotFound, RunFailed
from suite.runbooks import archive
from suite.runbooks.view import View
from suite.settings import load

READ = ("release", "stage", "verdict", "line", "score", "gates", "checks", "runs", "not_verified", "risks", "facts")


class Aggregate:
    """The results of one release, part by part."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results = results

    def verdict(self) -> View:
        """The verdict in one sentence, and what it is about."""
        found = self.results
        about = found["facts"]
        line = f"{found['release']}: {found['line']}"
        rows = [("stage", found["stage"]), ("profile", about.get("profile") or "not known"), ("commit", about.get("commit") or "not known"),
                ("criteria", about.get("criteria_sha256", "")), ("began", about.get("started_at", ""))]
        return View(render.card(line, rows, badge_text="pass" if found["verdict"] in ("READY", "REHEARSAL") else "fail"), line)

    def phases(self) -> View:
        """How each phase ended, and how many of its checks are in which state."""
        rows = []
        for run in self.results["runs"]:
            own = [row["state"] for row in self.results["checks"] if f"phase{row['phase']}_" in run["runbook"]]
            tally = ", ".join(f"{own.count(state)} {state}" for state in dict.fromkeys(own))
            rows.append((run["runbook"], run["state"], f"{run['seconds']:.1f}", tally, run["trouble"]))
        return _table(["phase", "ended", "seconds", "checks", "trouble"], rows, "Phases")

    def checks(self) -> View:
        """Every check with its state and the reason for it."""
        from suite.checks.result import Result

        rows = [(row["id"], row["title"], row["category"], row["state"], Result.from_dict(row).why, row["proven_red_at"] or "never")
                for row in self.results["checks"]]
        return _table(["check", "title", "category", "state", "why", "proven red"], rows, "Checks")

    def score(self) -> View:
        """The share of each category; readiness is the lowest of them."""
        score = self.results["score"]
        rows = [(name, _share(row["score"]), row["state"], row["weight"], ", ".join(row["checks"])) for name, row in score["categories"].items()]
        rows += [("lowest", _share(score["lowest"]), "", "", ""), ("mean", _share(score["mean"]), "", "", "")]
        return _table(["category", "share", "state", "weight", "checks"], rows, "Readiness is the lowest category")

    def gates(self) -> View:
        """What no percentage outvotes."""
        rows = [(gate["title"], gate["state"], ", ".join(gate["checks"]), gate["why"]) for gate in self.results["gates"]]
        return _table(["gate", "state", "checks", "why"], rows, "Gates")

    def not_verified(self) -> View:
        """What this release check does not show."""
        return _table(["not verified"], [(sentence,) for sentence in self.results["not_verified"]], "What was not verified")

    def risks(self) -> View:
        """The accepted risks, each tied to the checks that lessen it."""
        rows = [(risk["title"], risk["likelihood"], risk["impact"], risk["answer"], risk["state"], risk["why"]) for risk in self.results["risks"]]
        return _table(["risk", "likelihood", "impact", "answer", "state", "why"], rows, "Accepted risks")

    def finish(self) -> View:
        """The verdict once more. Raises RunFailed when it is neither READY nor REHEARSAL."""
        if self.results["verdict"] not in ("READY", "REHEARSAL"):
            raise RunFailed(self.results["line"])
        return self.verdict()


def read_results(place: str = "") -> Aggregate:
    """The results in a file, in a release's folder, or of the newest sealed release when `place` is empty.

    Raises NotFound where there are none, BadRequest for a file that holds something else.
    """
    if not place:
        rows = [row for row in archive.releases(load().reports_dir) if row.path.is_dir()]
        if not rows:
            raise NotFound(f"No release is sealed in {load().reports_dir}; run `suite check --release NAME` first, or name a results.json.")
        place = str(rows[-1].path)
    path = Path(place).expanduser()
    file = path / archive.RESULTS if path.is_dir() else path
    try:
        found = json.loads(file.read_bytes())
        missing = [key for key in READ if key not in found]
    except FileNotFoundError:
        raise NotFound(f"{file} is not there; name the results.json of a release.") from None
    except (OSError, ValueError, TypeError) as error:
        raise BadRequest(f"{file} cannot be read as results of a release ({type(error).__name__}: {str(error)[:100]}).") from error
    if missing:
        raise BadRequest(f"{file} holds no results of a release: it lacks {', '.join(missing)}.")
    return Aggregate(found)


def _share(value: float | None) -> str:
    return "unverified" if value is None else f"{value:.0%}"


def _table(columns: list[str], rows: list[tuple[Any, ...]], title: str) -> View:
    return View(render.table(columns, rows, title=title), f"{title}\n{render.text_table(columns, rows)}")
