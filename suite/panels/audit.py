"""The audit panel: the newest entries with filters, and whether the chain is whole; beside it the same as a static table."""

from __future__ import annotations

import threading
import time
from html import escape
from typing import Any

import ipywidgets as widgets

from suite import render
from suite.access.audit import Verification
from suite.bench import Bench
from suite.panels.live import Live, legible, short, worded
from suite.tools.trail import OUTCOMES

MOST = 30  # entries that are shown
SHOWN = 160  # characters of a reason in a row
FINDINGS = 10  # findings that are shown; the others are counted
AT_ONCE = 10_000  # entries up to which the chain is verified when the panel is opened
EVERY = 2  # ticks between two looks
FILTERS = ("actor", "kind", "subject")
COLUMNS = ("entry", "at (UTC)", "actor", "kind", "subject", "outcome", "reason", "client", "digest")
OUTCOME_STATES = {"allowed": "pass", "done": "pass", "ask": "degraded", "denied": "fail", "failed": "fail"}  # whose colour a badge has


def audit(bench: Bench) -> AuditPanel:
    """A panel over a bench's audit trail, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return AuditPanel(bench)


class AuditPanel(Live):
    """The widgets and what they show: `entries` are the rows, newest first, `verification` the last look at the whole chain, `said` a sentence."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "suite-panel-audit")
        self.entries: list[Any] = []
        self.verification: Verification | None = None
        self._verified_at, self._head, self._ticks = 0.0, (-1, ""), 0
        self.actor, self.kind, self.subject = (widgets.Combobox(placeholder=name, continuous_update=False, ensure_option=False,
                                                                layout={"width": "180px"}) for name in FILTERS)
        self.outcome = widgets.Dropdown(options=[("every outcome", ""), *((name, name) for name in OUTCOMES)], layout={"width": "140px"})
        self.verify = widgets.Button(description="Verify", icon="check-square-o", button_style="primary", tooltip="read the whole chain",
                                     layout={"width": "120px"})
        self.chain, self.rows = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox([widgets.HTML("<strong>Audit trail</strong>"), widgets.HBox([self.verify, self.chain]),
                                 widgets.HBox([self.actor, self.kind, self.subject, self.outcome]), self.notice, self.rows])
        self._guarded(self._open)
        for each in (self.actor, self.kind, self.subject, self.outcome):
            each.observe(lambda _change: self.refresh(), "value")
        self.verify.on_click(lambda _button: self._verify_clicked())

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._find)

    def renew(self) -> None:
        """Look at the end of the trail now and then, and at the entries when it has moved."""
        self._ticks += 1
        if self._ticks % EVERY == 0 and self._bench.audit.head() != self._head:
            self._find()

    def recovered(self) -> None:
        """Say again what is shown."""
        self._find()

    def over(self) -> None:
        """There is nothing left to verify."""
        self.verify.disabled = True

    def _open(self) -> None:
        if self._bench.audit.head()[0] <= AT_ONCE:
            self._verify()
        self._find()

    def _find(self) -> None:
        mine, face = self._next_turn(), self._bench.audit
        head = face.head()  # before the entries: one that comes in between is then looked for again
        asked = {"actor": self.actor.value.strip(), "kind": self.kind.value.strip(), "subject": self.subject.value.strip()}
        found = face.list(MOST, outcome=self.outcome.value, **asked)
        with self._asked:
            if mine == self._turn:  # nobody has asked again meanwhile
                self._show(head, list(found.itertuples(index=False))[::-1], any(asked.values()) or bool(self.outcome.value))

    def _show(self, head: tuple[int, str], entries: list[Any], narrowed: bool) -> None:
        self._head, self.entries = head, entries
        for name in FILTERS:
            box = getattr(self, name)
            box.options = sorted({*box.options, *(str(getattr(entry, name)) for entry in entries)})
        self.rows.value = _table(entries)
        self._show_chain()
        self._say(f"{len(entries)} shown, the newest first" + (" of those that fit" if narrowed else "") + ".")
        self._redraw()

    def _verify_clicked(self) -> None:
        self.verify.disabled = True
        self._later(self._verify_again)

    def _verify_again(self) -> None:
        try:
            self._verify()
            self._find()
        finally:
            self.verify.disabled = False

    def _verify(self) -> None:
        found = self._bench.audit.verify()
        self.verification, self._verified_at = found, time.time()

    def _show_chain(self) -> None:
        state, words = self._state()
        findings = "".join(f"<li>{escape(legible(line))}</li>" for line in self._findings())
        self.chain.value = (f'<div style="line-height:1.35">{render.badge(state)} {escape(words)}<br><span style="opacity:.75">'
                            f'{escape(self._end())}</span>{f"<ul>{findings}</ul>" if findings else ""}</div>')

    def _state(self) -> tuple[str, str]:
        """A word with a colour, and the state of the chain in words."""
        found = self.verification
        if found is None:
            return "not-run", f"The chain was not verified yet: it has more than {AT_ONCE} entries."
        when = f"verified at {time.strftime('%H:%M:%S UTC', time.gmtime(self._verified_at))}"
        if found.ok:
            return "pass", f"The chain is whole: {found.entries} entries, {when}."
        return "fail", f"The chain is NOT as it was written: {len(found.findings)} found in {found.entries} entries, {when}."

    def _findings(self) -> list[str]:
        found = self.verification.findings if self.verification else ()
        return [*found[:FINDINGS], *([f"and {len(found) - FINDINGS} more"] if len(found) > FINDINGS else [])]

    def _end(self) -> str:
        return f"Head: entry {self._head[0]}, digest {self._head[1]}" if self._head[0] >= 0 else ""

    def twin(self) -> tuple[str, str]:
        """The state of the chain and the same entries."""
        state, words = self._state()
        facts = [("chain", state), ("", words), *(("found", legible(line)) for line in self._findings()), ("", self._end())]
        rows = [_cells(entry) for entry in self.entries]
        html = render.card("Audit trail", facts) + render.table(COLUMNS, rows, note=self.said, whole=2)
        lines = "\n".join(line for line in (words, *self._findings(), self._end()) if line)
        return html, f"Audit trail: {state}\n{lines}\n{render.text_table(COLUMNS, rows)}\n{self.said}"


def _cells(entry: Any) -> tuple[Any, ...]:
    at = "–" if entry.at != entry.at else entry.at.strftime("%Y-%m-%d %H:%M:%S")
    return (entry.seq, at, *(short(str(value), SHOWN) for value in (entry.actor, entry.kind, entry.subject, entry.outcome, entry.reason,
                                                                    entry.client)), str(entry.digest)[:8])


def _table(entries: list[Any]) -> str:
    """The rows for the widget, where an outcome is a coloured word."""
    cell = "padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0"
    head = "".join(f'<th style="{cell};border-bottom:1px solid #8888">{name}</th>' for name in COLUMNS)
    lines = []
    for entry in entries:
        shown = [escape(str(value)) for value in _cells(entry)]
        shown[5] = worded(entry.outcome, OUTCOME_STATES.get(entry.outcome, ""))
        whole = (";white-space:nowrap" if place in (0, 1, 2, 3, 5) else "" for place in range(len(shown)))
        lines.append("<tr>" + "".join(f'<td style="{cell}{style}">{value}</td>' for value, style in zip(shown, whole, strict=True)) + "</tr>")
    return f'<div style="font-size:13px;line-height:1.45"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
