"""The alerts panel: what fires and is pending, targets that are down, silences, and the rules; beside it the same as static tables."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets

from suite import render
from suite.bench import Bench
from suite.errors import NotReady, SuiteError
from suite.monitoring.rule import Matcher, duration
from suite.panels.live import Moving, close, legible, short, worded

EVERY = 5  # ticks between two looks
SHOWN = 50  # alerts that have a button
SILENT = (("30 minutes", "30m"), ("2 hours", "2h"), ("1 day", "1d"), ("7 days", "7d"))
ALERT_COLUMNS = ("alert", "severity", "state", "since (UTC)", "what and what to do")
TARGET_COLUMNS = ("target", "at", "why")
SILENCE_COLUMNS = ("id", "alerts", "until (UTC)", "by", "reason")
RULE_COLUMNS = ("rule", "severity", "state", "for", "means")
STATES = {"critical": "fail", "warning": "degraded", "firing": "fail", "pending": "degraded"}  # whose colour a word has
DEAD_MAN = "Watchdog"  # it fires as long as rules are looked at


def alerts(bench: Bench) -> AlertsPanel:
    """A panel over a bench's alerts, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return AlertsPanel(bench)


class AlertsPanel(Moving):
    """The widgets and what they show: `active`, `down`, `silences` and `rules` are rows as `bench.monitoring` has them, `said` a sentence."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "suite-panel-alerts")
        self.active: list[dict[str, Any]] = []
        self.down: list[dict[str, Any]] = []
        self.silences: list[dict[str, Any]] = []
        self.rules: list[dict[str, Any]] = []
        self._rows: dict[str, widgets.HBox] = {}
        self._silence_boxes: dict[str, widgets.HBox] = {}
        self._silencing: set[widgets.Button] = set()
        self._targets, self._ticks, self._watched, self._untold = 0, 0, False, ""
        self.reason = widgets.Text(placeholder="why; it is kept with the silence", continuous_update=False, layout={"width": "320px"})
        self.lasting = widgets.Dropdown(options=SILENT, value="2h", tooltip="how long nobody is told", layout={"width": "130px"})
        self.state, self.targets, self.all_rules = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.rows, self.silenced = widgets.VBox(), widgets.VBox()
        asked = widgets.HBox([widgets.HTML('<span style="opacity:.75">To silence:</span>'), self.lasting, self.reason])
        self.box = widgets.VBox([widgets.HTML("<strong>Alerts</strong>"), self.notice, self.state, self.rows, self.targets, asked, self.silenced,
                                 self.all_rules])
        self._guarded(self._look)

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._look)

    def renew(self) -> None:
        """Look at what monitoring has seen; it looks itself every MONITORING_INTERVAL seconds."""
        self._ticks += 1
        if self._ticks % EVERY == 0:
            self._look()

    def over(self) -> None:
        """Nothing can be silenced here any more."""
        for row in (*self.rows.children, *self.silenced.children):
            row.children[0].disabled = True

    def _look(self) -> None:
        mine, watched = self._next_turn(), self._bench.monitoring
        targets, silences = watched.targets().to_dict("records"), self._silences()
        active, rules = watched.alerts().to_dict("records"), watched.rules().to_dict("records")
        with self._asked:
            if mine == self._turn:  # nobody has looked again meanwhile
                self._targets, self._watched = len(targets), any(row["name"] == DEAD_MAN for row in active)
                self._show([row for row in active if row["name"] != DEAD_MAN], [row for row in targets if not row["up"]], silences, rules)

    def _silences(self) -> list[dict[str, Any]]:
        try:
            found = self._bench.monitoring.silences().to_dict("records")
        except NotReady as error:  # nobody is told of alerts: they are there all the same
            self._untold = error.message
            return []
        self._untold = ""
        return list(found)

    def _show(self, active: list[dict[str, Any]], down: list[dict[str, Any]], silences: list[dict[str, Any]], rules: list[dict[str, Any]]) -> None:
        changed = ((_keys(active), silences) != (_keys(self.active), self.silences) or len(rules) != len(self.rules)
                   or [row["job"] for row in down] != [row["job"] for row in self.down])
        self.active, self.down, self.silences = active, down, silences
        self._rows = _kept(self.rows, self._rows, {_key(row): partial(self._alert_row, row) for row in active[:SHOWN]})
        self._silence_boxes = _kept(self.silenced, self._silence_boxes, {row["id"]: partial(self._silence_row, row) for row in silences})
        for row in active[:SHOWN]:
            self._renew_row(self._rows[_key(row)], row)
        if rules != self.rules:
            self.rules = rules
            inside = render.table(RULE_COLUMNS, self._rule_rows(), whole=4)
            self.all_rules.value = f'<details><summary style="cursor:pointer">All {len(rules)} rules</summary>{inside}</details>'
        self.targets.value = render.table(TARGET_COLUMNS, self._down_rows(), title="Targets that are down", whole=2) if down else ""
        state, words = self._state()
        self.state.value = f'<div style="line-height:1.5">{render.badge(state)} {escape(words)}</div>'
        if changed:
            self.moved()

    def _state(self) -> tuple[str, str]:
        """A word with a colour, and how things stand in words."""
        firing = sum(row["state"] == "firing" for row in self.active)
        words = [f"{firing} firing, {len(self.active) - firing} pending" if self.active else "Nothing fires",
                 f"{len(self.down)} of {self._targets} targets down" if self.down else f"all {self._targets} targets up",
                 f"silenced: {len(self.silences)}" if self.silences else "nothing is silenced",
                 f"{len(self.rules)} rules are looked at" if self._watched else f"the rules are not looked at: {DEAD_MAN} does not fire"]
        bad = any(row["state"] == "firing" and row["severity"] == "critical" for row in self.active) or self.down
        state = "fail" if bad else "degraded" if self.active or not self._watched else "ok"
        return state, "; ".join(words) + "." + (f" {self._untold}" if self._untold else "")

    def _alert_row(self, row: dict[str, Any]) -> widgets.HBox:
        button = widgets.Button(description="Silence", icon="bell-slash", layout={"width": "100px"})
        button.on_click(partial(self._silence_clicked, row))
        return widgets.HBox([button, widgets.HTML(layout={"width": "820px"})], layout={"align_items": "flex-start"})

    def _renew_row(self, box: widgets.HBox, row: dict[str, Any]) -> None:
        """What an alert is now; a button that was clicked stays as it is until that is done."""
        button, words = box.children
        words.value = self._alert_words(row)
        if button not in self._silencing:
            button.disabled = bool(self._untold or self._mute(row))

    def _alert_words(self, row: dict[str, Any]) -> str:
        mute = self._mute(row)
        quiet = f' <span style="opacity:.75">silenced until {_clock(mute["until"])}</span>' if mute else ""
        return (f'<div style="line-height:1.4">{worded(row["severity"], STATES.get(row["severity"], ""))} '
                f'{worded(row["state"], STATES.get(row["state"], ""))} <b>{escape(legible(row["name"]))}</b> '
                f'<span style="opacity:.7">since {_clock(row["since"])}</span>{quiet}<br>{escape(legible(row["summary"]))}</div>')

    def _mute(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The silence that holds for an alert."""
        labels = {**row["labels"], "alertname": row["name"], "severity": row["severity"]}
        return next((one for one in self.silences if all(Matcher.parse(text).matches(labels) for text in one["matchers"])), None)

    def _silence_row(self, row: dict[str, Any]) -> widgets.HBox:
        button = widgets.Button(description="End", icon="bell", layout={"width": "100px"})
        button.on_click(partial(self._end_clicked, row["id"]))
        words = (f'<div style="line-height:1.4">{worded("silence", "")} <b>{escape(_muted(row))}</b> until {_clock(row["until"])}, by '
                 f'{escape(legible(row["by"]))}<br><span style="opacity:.75">{escape(legible(row["reason"]))}</span></div>')
        return widgets.HBox([button, widgets.HTML(words, layout={"width": "820px"})], layout={"align_items": "flex-start"})

    def _silence_clicked(self, row: dict[str, Any], button: widgets.Button) -> None:
        if not self.reason.value.strip():
            self._say(f"Say why {row['name']} is silenced: the reason is kept with the silence.", bad=True)
            return
        button.disabled = True
        self._silencing.add(button)
        self._later(partial(self._silence, row, self.lasting.value, self.reason.value, button))

    def _silence(self, row: dict[str, Any], lasting: str, reason: str, button: widgets.Button) -> None:
        labels = {name: value for name, value in row["labels"].items() if name not in ("alertname", "severity")}
        try:
            made = self._bench.monitoring.silence(row["name"], reason, lasting, **{**labels, "severity": row["severity"]})
        except SuiteError:
            button.disabled = False
            raise
        finally:
            self._silencing.discard(button)
        self.reason.value = ""
        self._look()
        self._say(f"{row['name']} is silenced until {_clock(made.until)} by {made.by}; it goes on being looked at.")

    def _end_clicked(self, id: str, button: widgets.Button) -> None:
        button.disabled = True
        self._later(partial(self._end, id))

    def _end(self, id: str) -> None:
        ended = self._bench.monitoring.unsilence(id)
        self._look()
        self._say(f"The silence of {', '.join(ended.matchers)} is over.")

    def twin(self) -> tuple[str, str]:
        """How things stand, and a table each of alerts, targets that are down, silences and rules that are not at rest."""
        state, words = self._state()
        facts = [("state", state), ("", words), *([("", self.said)] if self.said else [])]
        tables = [("Alerts", ALERT_COLUMNS, self._alert_rows(), 4), ("Targets that are down", TARGET_COLUMNS, self._down_rows(), 2),
                  ("Silences", SILENCE_COLUMNS, self._silence_rows(), 3)]
        shown = [one for one in tables if one[2]]
        html = render.card("Alerts", facts) + "".join(render.table(columns, rows, title=title, whole=whole) for title, columns, rows, whole in shown)
        texts = [f"{title}\n{render.text_table(columns, rows)}" for title, columns, rows, _ in shown]
        return html, "\n\n".join([f"Alerts: {state}\n{words}", *texts, self.said]).rstrip()

    def _alert_rows(self) -> list[tuple[Any, ...]]:
        return [(legible(row["name"]), row["severity"], row["state"], _clock(row["since"]), legible(row["summary"])) for row in self.active]

    def _down_rows(self) -> list[tuple[Any, ...]]:
        return [(row["job"], _clock(row["at"]), short(row["error"], 300)) for row in self.down]

    def _silence_rows(self) -> list[tuple[Any, ...]]:
        return [(row["id"], _muted(row), _clock(row["until"]), legible(row["by"]), legible(row["reason"])) for row in self.silences]

    def _rule_rows(self) -> list[tuple[Any, ...]]:
        return [(row["name"], row["severity"], row["state"], duration(row["for"]), row["error"] or row["sentence"]) for row in self.rules]


def _keys(active: list[dict[str, Any]]) -> list[Any]:
    """What tells alerts from others: their value, and so their words, may change while they last."""
    return [(row["name"], row["severity"], row["state"], row["labels"]) for row in active]


def _key(row: dict[str, Any]) -> str:
    """What tells an alert from others while it lasts."""
    return json.dumps([row["name"], row["severity"], row["labels"]], sort_keys=True)


def _kept(column: widgets.VBox, before: dict[str, widgets.HBox], wanted: dict[str, Callable[[], widgets.HBox]]) -> dict[str, widgets.HBox]:
    """Rows by key, in order; one that was there stays the same, so that nobody who is about to click it loses it."""
    now = {key: before[key] if key in before else made() for key, made in wanted.items()}
    if list(column.children) != list(now.values()):
        column.children = list(now.values())
    for key in before.keys() - now.keys():
        close(before[key])
    return now


def _muted(silence: dict[str, Any]) -> str:
    """Which alerts a silence is about."""
    return legible(", ".join(silence["matchers"]))


def _clock(moment: Any) -> str:
    """A moment, in UTC seconds or of pandas, as day and time."""
    if moment != moment:  # NaT: a Prometheus has not looked yet
        return "not yet"
    seconds = moment if isinstance(moment, float) else moment.timestamp()
    return time.strftime("%m-%d %H:%M:%S UTC", time.gmtime(seconds))
