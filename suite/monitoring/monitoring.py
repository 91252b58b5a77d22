"""What `bench.monitoring` is: targets, metrics, samples and charts as tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from suite.errors import BadRequest, NotReady, SettingsError
from suite.monitoring.cells import COLUMNS as CELLS
from suite.monitoring.cells import CellWatch
from suite.monitoring.chart import step_for
from suite.monitoring.dashboard import Line
from suite.monitoring.model_memory import COLUMNS, ModelMemory
from suite.monitoring.rule import Matcher, duration, parse_duration
from suite.monitoring.samples import Series
from suite.monitoring.scrape import Scraped
from suite.monitoring.silence import Silence
from suite.monitoring.table import ROWS

if TYPE_CHECKING:
    import pandas as pd

RULES = ("name", "severity", "state", "for", "expression", "sentence", "error")
ALERTS = ("name", "severity", "state", "since", "value", "summary", "labels")
PANELS = ("dashboard", "uid", "id", "title", "kind", "unit", "sentence", "queries")
SILENCES = ("id", "state", "matchers", "begin", "until", "by", "reason")
LONGEST = 366 * 86_400.0  # seconds of a silence
TARGETS = ("job", "instance", "up", "at", "seconds", "error")


class MonitorFace(Protocol):
    """The host's monitor, or the guest's remote face of it."""

    def targets(self) -> list[Scraped]: ...

    def rules(self) -> list[dict[str, Any]]: ...

    def alerts(self) -> list[dict[str, Any]]: ...

    def silences(self) -> list[Silence]: ...

    def silence(self, matchers: Sequence[str], seconds: float, by: str, reason: str) -> Silence: ...

    def unsilence(self, id: str) -> Silence: ...

    def names(self) -> list[str]: ...

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]: ...

    def dashboards(self) -> list[dict[str, Any]]: ...

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]: ...

    def memory(self) -> list[ModelMemory]: ...


class Monitoring:
    """Tables of what monitoring saw; every method raises NotReady where MONITORING_ENABLED is false."""

    def __init__(self, monitor: MonitorFace | None, who: str = "", cells: CellWatch | None = None) -> None:
        self._monitor, self._who, self._cells = monitor, who, cells or CellWatch()

    def targets(self) -> pd.DataFrame:
        """How each target was found last: job, instance, up, at (UTC), seconds that it took, and the error of one that is down."""
        import pandas as pd

        rows = [one.to_dict() for one in self._there().targets()]
        found = pd.DataFrame(rows, columns=list(TARGETS))
        found["at"] = pd.to_datetime(found["at"], unit="s", utc=True)
        return found

    def rules(self) -> pd.DataFrame:
        """Each alert rule: name, severity, state (inactive, pending, firing), for (seconds), expression (PromQL), sentence, error."""
        import pandas as pd

        rows = [(one["name"], one["labels"].get("severity", ""), one["state"], one["duration"], one["query"], one["annotations"].get("summary", ""),
                 one.get("lastError", "")) for one in self._there().rules()]
        return pd.DataFrame(rows, columns=list(RULES))

    def alerts(self) -> pd.DataFrame:
        """What is pending or fires, the most severe first: name, severity, state, since (UTC), value, summary, labels."""
        import pandas as pd

        rows = [(*(one["labels"].pop(name, "") for name in ("alertname", "severity")), one["state"], pd.Timestamp(one["activeAt"]),
                 float(one["value"]), one["annotations"].get("summary", ""), one["labels"]) for one in map(_own, self._there().alerts())]
        return pd.DataFrame(rows, columns=list(ALERTS))

    def silences(self, ended: bool = False) -> pd.DataFrame:
        """The silences that hold, the one that ends last first, with `ended` the others too: id, state (active, expired), matchers, begin and until
        (UTC), by, reason. Raises NotReady where ALERTMANAGER_ENABLED is false too.
        """
        import pandas as pd

        now = time.time()
        rows = [(one.id, "active" if one.holds(now) else "expired", list(one.matchers), one.begin, one.until, one.by, one.reason)
                for one in self._there().silences() if ended or one.holds(now)]
        found = pd.DataFrame(rows, columns=list(SILENCES))
        for name in ("begin", "until"):
            found[name] = pd.to_datetime(found[name], unit="s", utc=True).dt.round("ms")
        return found

    def silence(self, alert: str, reason: str, lasting: str | float = "2h", by: str = "", **labels: str) -> Silence:
        """Tell nobody of an alert for a while: `alert` is the name of its rule, `lasting` such as `30m`, `2h` or seconds; it is still looked at.

        `labels` narrow, such as `gpu="0"`; `by` is who silences, the owner of this notebook unless given. Raises BadRequest, and NotReady where
        ALERTMANAGER_ENABLED is false too.
        """
        names = sorted({one["name"] for one in self._there().rules()})
        if alert not in names:
            raise BadRequest(f"There is no rule {str(alert)[:80]!r} whose alerts could be silenced; there are {', '.join(names)}.", param="alert")
        seconds = _seconds(lasting, "lasting")
        if seconds > LONGEST:
            raise BadRequest(f"lasting is {str(lasting)[:40]!r} but must be {duration(LONGEST)} at most.", param="lasting")
        try:
            matchers = [str(Matcher.parse(f'{label}="{value}"')) for label, value in {"alertname": alert, **labels}.items()]
        except SettingsError as error:
            raise BadRequest(error.message, param="labels") from error
        return self._there().silence(matchers, seconds, by or self._who, reason)

    def unsilence(self, id: str) -> Silence:
        """End a silence now. Raises NotFound where none of that id holds, and NotReady where ALERTMANAGER_ENABLED is false too."""
        return self._there().unsilence(id)

    def metrics(self) -> pd.DataFrame:
        """The metrics of which there are samples: name, kind, unit, labels, sentence; the last four are empty for those that are not the suite's."""
        import pandas as pd

        rows = []
        for name in self._there().names():
            row = ROWS.get(name) or ROWS.get(name.rsplit("_", 1)[0])
            rows.append((name, row.kind, row.unit, " ".join(row.labels), row.sentence) if row else (name, "", "", "", ""))
        return pd.DataFrame(rows, columns=["name", "kind", "unit", "labels", "sentence"])

    def samples(self, metric: str, since: str | float = "1h", **labels: str) -> pd.DataFrame:
        """Samples of a metric, one a row: at (UTC), value, and a column for each label. `since` is how far to look back: `15m`, `24h`, or seconds.

        `labels` narrow, such as `job="rag"`. Raises BadRequest for a metric of which nothing is kept, or a time that cannot be read.
        """
        import pandas as pd

        back = _seconds(since)
        matchers = [Matcher(name, "=", str(value)) for name, value in labels.items()]
        found = self._there().select(metric, matchers, time.time() - back, None)
        parts = [pd.DataFrame({"at": pd.to_datetime(one.times, unit="s", utc=True), "value": one.values, **one.labels}) for one in found]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["at", "value"])

    def dashboards(self) -> pd.DataFrame:
        """What there is to see, a panel in each row: dashboard, uid, id, title, kind, unit, sentence, and queries (PromQL)."""
        import pandas as pd

        rows = [(one["title"], one["uid"], *(panel[key] for key in PANELS[2:-1]), "\n".join(query["expression"] for query in panel["queries"]))
                for one in self._there().dashboards() for panel in one["panels"]]
        return pd.DataFrame(rows, columns=list(PANELS))

    def chart(self, dashboard: str, panel: str | int, since: str | float | None = None, step: float | None = None) -> pd.DataFrame:
        """The lines of a panel, one value a row: at (UTC), line, value, and a column for each label.

        Dashboard and panel are meant by title or by uid and id. `since` is how far to look back: `15m`, `24h`, or seconds; as far as the dashboard
        itself does when None. `step` is the seconds between two values. Raises BadRequest for what there is not to be seen.
        """
        import pandas as pd

        monitor = self._there()
        found = _named(monitor.dashboards(), "uid", dashboard, "dashboard")
        wanted = _named(found["panels"], "id", panel, "panel")
        back = found["range"] if since is None else _seconds(since)
        step = step_for(back, 1.0) if step is None else step
        end = time.time()
        parts = [pd.DataFrame({"at": pd.to_datetime(one.times, unit="s", utc=True), "line": one.name, "value": one.values, **one.labels})
                 for one in monitor.chart(found["uid"], wanted["id"], end - back, end, step)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["at", "line", "value"])

    def memory(self) -> pd.DataFrame:
        """Bytes of each loaded model, planned and seen: server, model, where (ram, gpu), planned, seen, how it was seen.

        `how` is process (it has one of its own), difference (what was more after its load than before, whatever else happened meanwhile), or rest:
        the last rows say what the kernel and the cards hold that is attributed to no model. A number that nobody knows is missing.
        """
        import pandas as pd

        found = pd.DataFrame([row.to_dict() for row in self._there().memory()], columns=list(COLUMNS))
        return found.astype({"planned": "Int64", "seen": "Int64"})

    def cells(self) -> pd.DataFrame:
        """The last 200 cells of this notebook: cell (number), source (first line), at (UTC), seconds, ram and gpu.

        The last two are the bytes by which this kernel held more after the cell than before, whatever else ran meanwhile; `gpu` is missing where no
        NVIDIA driver says it. A guest sees its own cells and its own kernel, not the host's; outside a notebook there are none.
        """
        import pandas as pd

        self._there()
        found = pd.DataFrame([cell.to_dict() for cell in self._cells.rows()], columns=list(CELLS))
        found["at"] = pd.to_datetime(found["at"].astype(float), unit="s", utc=True)
        return found.astype({"cell": "int64", "seconds": "float64", "ram": "int64", "gpu": "Int64"})

    def _there(self) -> MonitorFace:
        if self._monitor is None:
            raise NotReady("Monitoring is off in this stack; set MONITORING_ENABLED=true and start it again.")
        return self._monitor


def _named(rows: list[dict[str, Any]], key: str, name: str | int, what: str) -> dict[str, Any]:
    found = next((row for row in rows if name in (row[key], row["title"])), None)
    if found is None:
        raise BadRequest(f"There is no {what} {str(name)[:80]!r}; use one of {', '.join(row['title'] for row in rows)}.", param=what)
    return found


def _own(alert: dict[str, Any]) -> dict[str, Any]:
    return {**alert, "labels": dict(alert["labels"])}


def _seconds(span: str | float, name: str = "since") -> float:
    if isinstance(span, (int, float)) and not isinstance(span, bool) and span > 0:
        return float(span)
    try:
        return parse_duration(str(span))
    except SettingsError as error:
        raise BadRequest(f"{name} is {span!r} but must be seconds or a duration such as 15m or 24h.", param=name) from error
