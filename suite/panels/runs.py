"""The panel of releases: the list, one of them opened, what changed since another, and how a check stood over all; beside it the same as tables."""

from __future__ import annotations

import threading
import time
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from suite import render
from suite.bench import Bench
from suite.panels.live import Moving, legible, short
from suite.runbooks import archive
from suite.runbooks.archive import ReleaseRow
from suite.runbooks.diff import Difference, compare
from suite.runbooks.history import History, history
from suite.runbooks.verify import verify

EVERY = 5  # ticks between two looks at the archive
MOST = 20  # releases in the list; all of them can be chosen
WHY = 300  # characters of a reason
DOUBTS = 5  # that are shown of a report that was changed; the others are counted
COLUMNS = ("sealed (UTC)", "release", "stage", "verdict", "lowest", "not passed")
CHECK_COLUMNS = ("check", "title", "state", "why")


def runs(bench: Bench, reports: str | Path = "") -> RunsPanel:
    """A panel over the archive of releases in `reports`, by default that of the bench; raises nothing: what goes wrong is said in it."""
    return RunsPanel(bench, Path(reports).expanduser().absolute() if str(reports) else bench.settings.reports_dir)


class RunsPanel(Moving):
    """The widgets and what they show: `releases` are the rows, oldest first, `opened` the results of the chosen one, `difference` and `past` what was
    compared and looked back at, `said` a sentence.
    """

    def __init__(self, bench: Bench, reports: Path) -> None:
        super().__init__(bench, "suite-panel-runs")
        self.reports = reports
        self.releases: list[ReleaseRow] = []
        self.opened: dict[str, Any] = {}
        self.difference: Difference | None = None
        self.past: History | None = None
        self._ticks, self._doubts, self._offering = 0, "", 0
        self.release = widgets.Dropdown(options=[], description="Release", layout={"width": "420px"})
        self.other = widgets.Dropdown(options=[("nothing", "")], description="Since", layout={"width": "420px"})
        self.check = widgets.Dropdown(options=[("every check", "")], description="History", layout={"width": "260px"})
        self.verify = widgets.Button(description="Verify", icon="check-square-o", tooltip="is it as it was sealed?", layout={"width": "110px"})
        self.list, self.card, self.changes, self.picture = (widgets.HTML() for _ in range(4))
        self.box = widgets.VBox([widgets.HTML("<strong>Releases</strong>"), self.notice, self.list, widgets.HBox([self.release, self.verify]),
                                 self.card, self.other, self.changes, self.check, self.picture])
        self._guarded(self._look)
        for each in (self.release, self.other, self.check):
            each.observe(lambda _change: self._chosen(), "value")
        self.verify.on_click(lambda _button: self._verify_clicked())

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._look)

    def _chosen(self) -> None:
        if threading.get_ident() != self._offering:  # else it is this panel itself that offers something new to choose
            self.refresh()

    def renew(self) -> None:
        """Look for a release that has come now and then."""
        self._ticks += 1
        if self._ticks % EVERY == 0 and [row.head for row in archive.releases(self.reports)] != [row.head for row in self.releases]:
            self._look()

    def recovered(self) -> None:
        """Say again what is shown."""
        self._look()

    def _look(self) -> None:
        mine, rows = self._next_turn(), archive.releases(self.reports)
        with self._asked:
            if mine != self._turn:
                return
            self.releases, self._offering = rows, threading.get_ident()
            try:
                self._offer(rows)
            finally:
                self._offering = 0
            chosen, since, check = self.release.value, self.other.value, self.check.value
        opened = archive.results(self.reports / chosen) if chosen else {}
        difference = compare(self.reports, since, chosen) if chosen and since and since != chosen else None
        past = history(self.reports, check) if rows else None
        with self._asked:
            if mine == self._turn:  # nobody has chosen again meanwhile
                self.opened, self.difference, self.past = opened, difference, past
                self._show()
                self.moved()

    def _offer(self, rows: list[ReleaseRow]) -> None:
        """Every release and check can be chosen, the newest first; what was chosen stays so."""
        names = [(f"{row.release} · {_clock(row.at)} · {row.verdict}", row.path.name) for row in reversed(rows)]
        checks = list(dict.fromkeys(name for row in rows for name in row.states))
        for each, options in ((self.release, names), (self.other, [("nothing", ""), *names]),
                              (self.check, [("every check", ""), *((name, name) for name in checks)])):
            kept, known = each.value, [value for _, value in options]
            if list(each.options) == options:
                continue
            first = known[0] if known else None
            if each is self.other and kept in (None, "") and len(known) > 2:
                first = known[2]  # the one before the newest
            each.options = options
            each.value = kept if kept in known and kept != "" else first

    def _show(self) -> None:
        self._doubts = ""
        rows = self._rows()
        note = f"{len(self.releases)} releases in {self.reports}" + (f"; the newest {MOST} are shown." if len(self.releases) > MOST else ".")
        self.list.value = render.table(COLUMNS, rows, note=note, whole=6) if rows else f'<div style="opacity:.75">{escape(self._none())}</div>'
        self.card.value = self._opened_html() if self.opened else ""
        self.changes.value = self.difference._repr_html_() if self.difference else ""
        self.picture.value = self.past._repr_html_() if self.past else ""
        self._say("")

    def _none(self) -> str:
        return f"No release is sealed in {self.reports} yet; `suite check --release NAME` makes one."

    def _rows(self) -> list[tuple[Any, ...]]:
        return [(_clock(row.at), legible(row.release), row.stage, row.verdict.lower(), _share(row.lowest),
                 short(", ".join(name for name, state in row.states.items() if state not in ("pass", "not-applicable")), 60))
                for row in reversed(self.releases[-MOST:])]

    def _facts(self) -> list[tuple[str, Any]]:
        score = self.opened["score"]
        gates = [f"{gate['title']}: {gate['state']}" for gate in self.opened["gates"] if gate["state"] != "pass"]
        return [("verdict", self.opened["line"]), ("readiness", f"lowest {_share(score['lowest'])}, mean {_share(score['mean'])}"),
                ("gates", "; ".join(gates) or f"all {len(self.opened['gates'])} pass"), ("commit", self.opened["facts"].get("commit") or "–"),
                ("report", str(self.reports / str(self.release.value) / "report.html")), *([("verified", self._doubts)] if self._doubts else [])]

    def _open_checks(self) -> list[tuple[Any, ...]]:
        from suite.checks.result import Result

        return [(row["id"], legible(row["title"]), row["state"], short(Result.from_dict(row).why, WHY)) for row in self.opened["checks"]
                if row["state"] != "pass"]

    def _opened_html(self) -> str:
        title = f"{self.opened['release']} ({self.opened['stage']})"
        card = render.card(legible(title), self._facts(), badge_text=str(self.opened["verdict"]).lower())
        return card + (render.table(CHECK_COLUMNS, self._open_checks(), title="Not passed", whole=1) if self._open_checks() else "")

    def _verify_clicked(self) -> None:
        if not self.release.value:
            self._say(self._none(), bad=True)
            return
        self.verify.disabled = True
        self._later(self._verify)

    def _verify(self) -> None:
        try:
            found = verify(self.reports / self.release.value)
            more = f" And {len(found.doubts) - DOUBTS} more." if len(found.doubts) > DOUBTS else ""
            self._doubts = "nothing speaks against it" if found.ok else " ".join(found.doubts[:DOUBTS]) + more
            self.card.value = self._opened_html()
            self._say("" if found.ok else f"This report is not as it was sealed: {found.doubts[0]}", bad=not found.ok)
            self.moved()
        finally:
            self.verify.disabled = False

    def twin(self) -> tuple[str, str]:
        """The list, the opened release, what changed, and the history with its plot."""
        if not self.releases:
            return f'<div style="opacity:.75">{escape(self.said or self._none())}</div>', self.said or self._none()
        html = [render.table(COLUMNS, self._rows(), title="Releases", whole=6)]
        text = [f"Releases\n{render.text_table(COLUMNS, self._rows())}"]
        if self.opened:
            facts = "\n".join(f"{name}: {value}" for name, value in self._facts())
            html.append(self._opened_html())
            text.append(f"{self.opened['release']} ({self.opened['stage']})\n{facts}\n{render.text_table(CHECK_COLUMNS, self._open_checks())}")
        for part in (self.difference, self.past):
            if part is not None:
                html.append(part._repr_html_())
                text.append(repr(part))
        said = f'<div style="opacity:.75">{escape(self.said)}</div>' if self.said else ""
        return "".join(html) + said, "\n\n".join([*text, self.said]).rstrip()


def _share(value: float | None) -> str:
    return "unverified" if value is None else f"{100 * value:.0f} %" if value == 1 else f"{int(1000 * value) / 10:g} %"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))
