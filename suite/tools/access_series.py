"""Who there is, what waits for approval, and how long the audit trail is, as Prometheus metrics read at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.access.approval import STATES
from suite.access.audit import Audit
from suite.access.policy import Policy
from suite.errors import SuiteError
from suite.monitoring.table import ROWS, counter_family, gauge_family

DECISION = "suite_approval_decision_seconds"
_ROLES = "SELECT role, COUNT(*) FROM actors WHERE active GROUP BY role"
# what nobody decided in time is expired, whatever the row says
_STATES = ("SELECT CASE WHEN state IN ('pending', 'approved') AND expires <= ? THEN 'expired' ELSE state END AS now, COUNT(*), MIN(requested), "
           "SUM(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) FROM approvals GROUP BY now")
_DECIDED = ("SELECT CASE WHEN state = 'rejected' THEN 'rejected' ELSE 'approved' END AS decision, decided - requested FROM approvals "
            "WHERE decided IS NOT NULL AND decided_by <> '' AND state <> 'cancelled'")


class AccessSeries(Collector):
    """`suite_access_*`, `suite_approval*` and `suite_audit_*`; none while the database does not answer."""

    def __init__(self, audit: Audit, policy: Policy, clock: Callable[[], float] = time.time) -> None:
        self._audit, self._policy, self._clock = audit, policy, clock

    def collect(self) -> Iterable[Metric]:
        """The families."""
        try:
            return [*self._actors(), *self._approvals(), self._decisions(), *self._trail()]
        except SuiteError:
            return []

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the database."""
        return []

    def _actors(self) -> Iterator[Metric]:
        found = dict(self._rows(_ROLES))
        family = gauge_family("suite_access_actors")
        for role in dict.fromkeys((*self._policy.roles, *found)):
            family.add_metric((role,), found.get(role, 0))
        yield family

    def _approvals(self) -> Iterator[Metric]:
        now = self._clock()
        found = {state: row for state, *row in self._rows(_STATES, now)}
        family = gauge_family("suite_approvals")
        for state in STATES:
            family.add_metric((state,), found.get(state, (0,))[0])
        yield family
        # a grant that nobody used is expired, too, but somebody did decide
        yield counter_family("suite_approval_expired_total", int(found["expired"][2]) if "expired" in found else 0)
        yield gauge_family("suite_approval_oldest_pending_seconds", max(0.0, now - found["pending"][1]) if "pending" in found else 0.0)

    def _decisions(self) -> Metric:
        """The time that people took; of the rows, so that decisions made by other processes count, and those of earlier runs."""
        row = ROWS[DECISION]
        family = Metric(DECISION, row.sentence, "histogram")
        waits: dict[str, list[float]] = {"approved": [], "rejected": []}
        for decision, seconds in self._rows(_DECIDED):
            waits[decision].append(seconds)
        for decision, seconds in waits.items():
            for step in row.buckets:
                family.add_sample(f"{DECISION}_bucket", {"decision": decision, "le": str(float(step))}, sum(one <= step for one in seconds))
            family.add_sample(f"{DECISION}_bucket", {"decision": decision, "le": "+Inf"}, len(seconds))
            family.add_sample(f"{DECISION}_count", {"decision": decision}, len(seconds))
            family.add_sample(f"{DECISION}_sum", {"decision": decision}, sum(seconds))
        return family

    def _trail(self) -> Iterator[Metric]:
        yield gauge_family("suite_audit_entries", self._audit.head()[0])
        yield gauge_family("suite_audit_waiting", self._audit.waiting)
        yield counter_family("suite_audit_failures_total", self._audit.failures)

    def _rows(self, statement: str, *values: object) -> list[tuple]:
        return self._audit.storage.quick.rows(statement, values)
