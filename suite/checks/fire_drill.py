"""Fire drills of the alert rules: on a throw-away stack bring the cause about, demand the notification, take the cause back, demand its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from suite.checks import fire_host, fire_part, fire_request, fire_tool, fire_upkeep, fire_watch
from suite.checks.check import now
from suite.checks.fault import Stack
from suite.checks.fire import Fire, MovedClock, Scene
from suite.checks.listen import listening
from suite.checks.target import Target
from suite.checks.watched import wait_for
from suite.errors import NotFound, SettingsError
from suite.monitoring.load_rules import load_rules
from suite.monitoring.notify import PACES
from suite.monitoring.rule import Rule
from suite.monitoring.sentence import fields

FIRES = (*fire_part.FIRES, *fire_request.FIRES, *fire_upkeep.FIRES, *fire_tool.FIRES, *fire_host.FIRES, *fire_watch.FIRES)
QUIET = 60.0  # seconds that the stack is looked at before anything is done to it
GONE = 300.0  # seconds for which a sample still counts when no other has come
SLACK = 120.0
DELIVERED = 10.0  # seconds until what was told has arrived
REPEATS = 2  # times that an alert without end is to arrive, and then its repetition is waited for in vain
Throwaway = Callable[..., AbstractContextManager[tuple[Stack, Target]]]


@dataclass(frozen=True)
class Fired:
    """How one fire drill went; `red` says that the alert arrived and was over afterwards. `beside` are other rules that fired, `at` UTC, ISO 8601."""

    fire: Fire
    red: bool
    at: str
    why: str = ""
    beside: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The row that scripts rely on: {id, fault, red, at} as of any drill, and beside it how, why and beside."""
        return {"id": self.fire.rule, "fault": self.fire.sentence, "red": self.red, "at": self.at, "how": self.fire.how, "why": self.why,
                "beside": list(self.beside)}


class Failed(Exception):
    """What a drill demanded and did not see."""


def fire_drills(fires: Iterable[Fire], throwaway: Throwaway, announce: Callable[[Fired], None] = lambda _: None) -> list[Fired]:
    """One drill after the other, each on its own stack."""
    done = []
    for fire in fires:
        done.append(fire_drill(fire, throwaway))
        announce(done[-1])
    return done


def fire_drill(fire: Fire, throwaway: Throwaway) -> Fired:
    """Have one rule fire and end. `throwaway` gives a stack for a `clock` and settings."""
    clock, burning = MovedClock(), set[str]()
    # a backup at its hour would be one that the drill did not ask for
    far = f"{datetime.now() + timedelta(hours=12):%H:%M}"
    try:
        with (fire_host.at_rest(), listening() as listener,
              throwaway(clock=clock, alert_webhook_url=listener.url, memory_backup_cron=far, **fire.settings) as (stack, target)):
            scene = Scene(stack, target, clock, listener, burning=burning)
            try:
                with closing(target):
                    why = _drilled(fire, _rule(fire, stack), scene)
            finally:
                for monitor in scene.watchers:
                    monitor.close()
    except Failed as failure:
        return Fired(fire, False, now(), str(failure), _beside(fire, burning))
    except Exception as error:  # noqa: BLE001 - the edge of a drill: a stack that breaks otherwise proves nothing about the rule
        return Fired(fire, False, now(), f"{type(error).__name__}: {error}", _beside(fire, burning))
    return Fired(fire, True, now(), why, _beside(fire, burning))


def choose_fires(asked: Iterable[str]) -> list[Fire]:
    """The drills that are meant by `PartDown` (of each severity) or `RequestErrors/critical`; all when nothing is asked. Raises NotFound."""
    asked = list(asked)
    for name in asked:
        if not any(_meant(name, fire) for fire in FIRES):
            raise NotFound(f"No alert rule is called {name!r}; there are {', '.join(dict.fromkeys(fire.rule.split('/')[0] for fire in FIRES))}.")
    return [fire for fire in FIRES if not asked or any(_meant(name, fire) for name in asked)]


def undrilled() -> list[str]:
    """Rules without a drill, and drills without a rule, by their keys."""
    return sorted({rule.key for rule in load_rules()} ^ {fire.rule for fire in FIRES})


def _meant(name: str, fire: Fire) -> bool:
    return name.lower() in (fire.rule.lower(), fire.rule.split("/")[0].lower())


def _rule(fire: Fire, stack: Stack) -> Rule:
    found = next((rule for rule in stack.monitor.watch.rules if rule.key == fire.rule), None)
    if found is None:
        raise SettingsError(f"The stack has no rule {fire.rule}; see rules.toml.")
    return found


def _drilled(fire: Fire, rule: Rule, scene: Scene) -> str:
    """What was said when it fired; raises Failed."""
    fire.before(scene)
    scene.until(lambda: False, QUIET)
    already = set(scene.burning)
    if rule.key in already and fire.ends == "resolved":
        raise Failed("it fires on a stack to which nothing was done")
    wait = max(rule.hold + rule.window + PACES[rule.severity].wait, PACES[rule.severity].interval) + GONE + SLACK
    with fire.cause(scene):
        _arrives(scene, rule, wait, 1 if fire.ends == "resolved" else REPEATS)
        strange = {key for key in scene.burning - already if key.endswith("/critical")} - {rule.key} - fire.beside
        if strange:
            raise Failed(f"{', '.join(sorted(strange))} fired as well, which the cause does not explain")
        said = _sentence(scene, rule)
    wait = rule.window + PACES[rule.severity].interval + GONE + SLACK
    if fire.ends == "stops":
        _stays_away(scene, rule, wait)
    elif not _seen(scene, lambda: bool(_alerts(scene, rule, "resolved")) and not _active(scene, rule), wait):
        raise Failed(f"the cause was taken back, and within {wait:.0f} s nobody was told that it is over")
    return said


def _arrives(scene: Scene, rule: Rule, seconds: float, times: int) -> None:
    if not _seen(scene, lambda: len(_alerts(scene, rule, "firing")) >= times, seconds * times):
        states = {(row["name"], row["labels"]["severity"]): row["state"] for row in scene.stack.monitor.rules()}
        raise Failed(f"it was {states[rule.name, rule.severity]} after {seconds * times:.0f} s, and "
                     f"{len(_alerts(scene, rule, 'firing'))} of {times} notifications arrived")


def _stays_away(scene: Scene, rule: Rule, seconds: float) -> None:
    before = len(_alerts(scene, rule, "firing"))
    scene.until(lambda: False, seconds)
    if len(_alerts(scene, rule, "firing")) != before:
        raise Failed("it went on to arrive although the rules were looked at no more")


def _seen(scene: Scene, condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds after rounds, or soon after the last of them: what is told arrives a moment later."""
    return scene.until(condition, seconds) or wait_for(condition, DELIVERED)


def _sentence(scene: Scene, rule: Rule) -> str:
    """The sentence as it arrived; raises Failed for one that is not filled in."""
    alert = _alerts(scene, rule, "firing")[-1]
    said, labels = str(alert["annotations"].get("summary", "")), alert["labels"]
    empty = [name for name in fields(rule.sentence) if name != "value" and not labels.get(name)]
    words = said.lower().replace(",", " ").split()
    if not said or empty or {"{", "}"} & set(said) or any(_no_number(word) for word in words):
        raise Failed(f"its sentence is not filled in{f' (it has no {empty[0]})' if empty else ''}: {said!r}")
    return said


def _no_number(word: str) -> bool:
    try:
        return not math.isfinite(float(word.rstrip("%.;")))
    except ValueError:
        return False


def _active(scene: Scene, rule: Rule) -> bool:
    return any(alert.rule == rule.key for monitor in (scene.stack.monitor, *scene.watchers) for alert in monitor.watch.active())


def _alerts(scene: Scene, rule: Rule, status: str) -> list[Mapping[str, Any]]:
    """The alerts of that rule that arrived with that status, the oldest first."""
    wanted = (rule.name, rule.severity, status)
    return [alert for body in list(scene.listener.came) for alert in body.get("alerts", [])
            if (alert["labels"].get("alertname"), alert["labels"].get("severity"), alert["status"]) == wanted]


def _beside(fire: Fire, burning: set[str]) -> tuple[str, ...]:
    return tuple(sorted(burning - {fire.rule, "Watchdog/none"}))
