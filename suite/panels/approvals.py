"""The approvals panel: the calls that wait, whoever decides with their key and a reason, and what was decided last; beside it a static table."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from html import escape
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, Literal

import ipywidgets as widgets
from traitlets import Unicode

from suite import render
from suite.access.approval import Approval
from suite.access.mode import owner_confirms
from suite.bench import Bench
from suite.errors import BadRequest, SuiteError
from suite.panels.live import Live, close, legible, short

MOST, RECENT = 1000, 100  # how many are asked for: of those that wait, of all
DECIDED = 5  # rows of what was decided last
SHOWN = 300  # characters of the arguments in the static table; the panel itself shows all of them
LONG, LINES = 700, 8  # characters and lines of a value that are visible at once
EVERY = 2  # how many ticks of the countdown lie between two looks
KEY_SECONDS = 60.0  # how long a key that was entered waits for its decision
WAITING_COLUMNS = ("id", "tool", "asked by", "why", "arguments", "folder", "until")
DECIDED_COLUMNS = ("id", "tool", "asked by", "state", "decided by", "rule", "reason", "when")
CONFIRM = ("Stage dev, policy owner-confirm: without a key you decide about your own calls as the owner of this notebook, and the record says so. "
           "With a key it is that key's actor who decides.")
OTHERS = "A decision takes the API key of somebody else who holds approvals.decide; your own calls are not yours to approve."
HELD = "A key was entered. It is used for the next decision, and forgotten then or after a minute."


def approvals(bench: Bench) -> ApprovalsPanel:
    """A panel over the calls that wait for an approval, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return ApprovalsPanel(bench)


class KeyBox(widgets.Password):
    """A password box whose text the kernel does not send back to the browsers, as it does with what is entered elsewhere."""

    value = Unicode("", help="The text").tag(sync=True, echo_update=False)


class Row:
    """One call that waits: two buttons, the seconds it has left, and all that is known of it."""

    def __init__(self, approval: Approval, workspace: str) -> None:
        self.approval = approval
        self.approve = widgets.Button(description="Approve", icon="check", button_style="success", layout={"width": "100px"})
        self.reject = widgets.Button(description="Reject", icon="times", button_style="danger", layout={"width": "90px"})
        self.left = widgets.HTML(layout={"width": "64px"})
        self.facts = widgets.HTML(_facts(approval, workspace), layout={"width": "760px"})
        self.box = widgets.HBox([self.approve, self.reject, self.left, self.facts],
                                layout={"align_items": "flex-start", "margin": "0 0 6px 0"})
        self.count_down()

    def count_down(self) -> None:
        """Show how long it still waits."""
        self.left.value = f"<b>{max(0, math.ceil(self.approval.expires - time.time()))} s</b>"

    def enable(self, on: bool) -> None:
        """Let it be decided, or not."""
        self.approve.disabled = self.reject.disabled = not on

    def close(self) -> None:
        """Take it off the page."""
        close(self.box)


class ApprovalsPanel(Live):
    """The widgets and what they show: `waiting` and `decided` are the rows, `said` the sentence above them.

    The key is taken out of its box as soon as it arrives, so that no saved widget state holds it, and kept for one decision.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "suite-panel-approvals")
        self.waiting: list[Approval] = []
        self.decided: list[Approval] = []
        self._rows: dict[str, Row] = {}
        self._key, self._key_until, self._ticks, self._policy, self._workspace = "", 0.0, 0, "", ""
        self.key = KeyBox(placeholder="API key of whoever decides", continuous_update=False, layout={"width": "320px"})
        self.reason = widgets.Text(placeholder="why; it is part of the record", continuous_update=False, layout={"width": "420px"})
        self.policy, self.last = widgets.HTML(), widgets.HTML()
        self.rows, self.nothing = widgets.VBox(), widgets.HTML('<div style="opacity:.75">No call waits.</div>')
        self.box = widgets.VBox([widgets.HTML("<strong>Calls that wait for an approval</strong>"), widgets.HBox([self.key, self.reason]),
                                 self.policy, self.notice, self.rows, self.last])
        self.key.observe(self._take, "value")
        self._guarded(self._open)

    def renew(self) -> None:
        """Count down, and look again at every other tick."""
        self._ticks += 1
        if self._key and time.monotonic() > self._key_until:
            self._hold("")
        if self._ticks % EVERY == 0:
            self._look()
        for row in list(self._rows.values()):
            row.count_down()

    def over(self) -> None:
        """Nothing can be decided here any more."""
        self._hold("")
        for row in list(self._rows.values()):
            row.enable(False)
            row.left.value = ""

    def _open(self) -> None:
        identity = self._bench._behind.record.identity  # of the stack itself: a guest that was attached may have other settings
        self._policy = CONFIRM if owner_confirms(SimpleNamespace(stage=identity["stage"], security_mode=identity["security_mode"])) else OTHERS
        self._workspace = identity["workspace_dir"]
        self._hold("")
        self._look()

    def _take(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.key.value = ""
            self._hold(change["new"].strip())

    def _hold(self, key: str) -> None:
        self._key, self._key_until = key, time.monotonic() + KEY_SECONDS
        self.policy.value = f'<div style="opacity:.75;line-height:1.35">{escape(HELD if key else self._policy)}</div>'

    def _look(self) -> None:
        mine, face = self._next_turn(), self._bench.approvals
        waiting = face.list("pending", limit=MOST)
        over = [row for row in face.list("", limit=RECENT) if row.state != "pending"]
        with self._asked:
            if mine == self._turn:  # nobody has looked again meanwhile
                self._show(list(reversed(waiting)), sorted(over, key=_when, reverse=True)[:DECIDED])

    def _show(self, waiting: list[Approval], decided: list[Approval]) -> None:
        changed = (waiting, decided) != (self.waiting, self.decided)
        self.waiting, self.decided = waiting, decided
        gone = {id: row for id, row in self._rows.items() if id not in {each.id for each in waiting}}
        self._rows = {each.id: self._rows.get(each.id) or self._row(each) for each in waiting}  # a row that stays is the same to whoever clicks it
        if changed or not self.last.value:
            self.rows.children = [row.box for row in self._rows.values()] or [self.nothing]
            table = render.table(DECIDED_COLUMNS, self._decided_rows(), title="Decided last", whole=2)
            self.last.value = table if decided else '<div style="opacity:.75">Nothing was decided yet.</div>'
            self._redraw()
        for row in gone.values():
            row.close()

    def _row(self, approval: Approval) -> Row:
        row = Row(approval, self._workspace)
        row.approve.on_click(lambda _button: self._clicked(row, "approve"))
        row.reject.on_click(lambda _button: self._clicked(row, "reject"))
        return row

    def _clicked(self, row: Row, verb: Literal["approve", "reject"]) -> None:
        reason = self.reason.value
        if not reason.strip():  # asked before the key is used up
            self._say(f"Say why you {verb} the call: the reason is part of the record.", bad=True)
            return
        key = self._key
        self._hold("")
        row.enable(False)
        self._later(partial(self._decide, row, verb, reason, key))

    def _decide(self, row: Row, verb: Literal["approve", "reject"], reason: str, key: str) -> None:
        face = self._bench.approvals
        try:
            if not (key.isascii() and key.isprintable()):  # it would be quoted by whoever cannot send it
                raise BadRequest("This is not an API key: it holds characters that none has. Enter it again.")
            done = (face.approve if verb == "approve" else face.reject)(row.approval.id, reason, key=key)
        except SuiteError:
            row.enable(True)
            self._look()
            raise
        self.reason.value = ""
        self._look()
        once = f"; the same call goes ahead once within {round(done.expires - (done.decided or 0))} s" if done.state == "approved" else ""
        self._say(f"{done.tool} by {done.actor} is {done.state} by {done.decided_by} ({done.rule}){once}.")

    def twin(self) -> tuple[str, str]:
        """Both tables; the clock says until when a call waits, because a saved page does not count."""
        waiting = [(row.id[:8], row.tool, row.actor, legible(row.why), short(_words(row), SHOWN), _folder(row.cwd, self._workspace),
                    _clock(row.expires)) for row in self.waiting]
        decided, title, last = self._decided_rows(), "Calls that wait for an approval", "Decided last"
        html = (render.table(WAITING_COLUMNS, waiting, title=title, note=f"{len(waiting)} wait. {self._policy}", whole=3)
                + render.table(DECIDED_COLUMNS, decided, title=last, note=self.said, whole=2))
        text = (f"{title}\n{render.text_table(WAITING_COLUMNS, waiting)}\n{len(waiting)} wait. {self._policy}\n\n"
                f"{last}\n{render.text_table(DECIDED_COLUMNS, decided)}\n{self.said}")
        return html, text

    def _decided_rows(self) -> list[tuple[Any, ...]]:
        return [(row.id[:8], row.tool, row.actor, row.state, row.decided_by or "nobody", row.rule or "–", legible(row.reason), _clock(_when(row)))
                for row in self.decided]


def _facts(row: Approval, workspace: str) -> str:
    """A call as whoever decides must see it: every argument whole."""
    given = "".join(f'<tr><td style="padding:0 10px 0 0;vertical-align:top;opacity:.75">{escape(legible(name))}{_size(value)}</td>'
                    f'<td style="padding:0"><pre style="margin:0 0 2px;padding:0 4px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:160px;'
                    f'overflow:auto;border-left:2px solid #8886">{escape(legible(_value(value)))}</pre></td></tr>'
                    for name, value in row.arguments.items())
    head = f"<b>{escape(legible(row.tool))}</b> asked by <b>{escape(legible(row.actor))}</b>"
    foot = f'<div style="opacity:.7">{escape(legible(row.why))} Folder: {escape(_folder(row.cwd, workspace))} · {row.id[:8]}</div>'
    return f'<div style="line-height:1.35">{head}<table style="margin:2px 0">{given or "<tr><td>no arguments</td></tr>"}</table>{foot}</div>'


def _folder(cwd: str, workspace: str) -> str:
    """Where relative paths of the call start, seen from the workspace; another folder by its whole name."""
    path = PurePath(cwd)
    return legible(str(PurePath("workspace") / path.relative_to(workspace)) if path.is_relative_to(workspace) else cwd)


def _size(value: Any) -> str:
    """How much there is of a long value, so that nobody takes the visible part for all of it."""
    text = _value(value)
    if len(text) <= LONG and text.count("\n") < LINES:
        return ""
    return f'<br><span style="font-size:12px">{text.count(chr(10)) + 1} lines,<br>{len(text)} characters:<br>scroll to the end</span>'


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(row: Approval) -> str:
    return json.dumps(row.arguments, ensure_ascii=False)


def _when(row: Approval) -> float:
    """When it last moved on."""
    return row.expires if row.state == "expired" else max(row.decided or 0.0, row.used or 0.0)


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(moment))
