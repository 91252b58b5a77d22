"""What the metrics of approvals count."""

from __future__ import annotations

from typing import Any

from suite.access.approval import Wish
from suite.access.approvals import Approvals
from suite.access.audit import Audit
from suite.access.policy import load_policy
from suite.tools.access_series import AccessSeries


def test_a_grant_that_nobody_used_is_none_that_nobody_decided(storage: Any) -> None:
    now = [1000.0]
    approvals = Approvals(storage, seconds=100, clock=lambda: now[0])
    granted, _ = approvals.ask(Wish("a", "write_file", {"path": "granted"}, "/"), "a test")
    approvals.decide(granted.id, "approved", "b", "a rule", "a reason")
    series = AccessSeries(Audit(storage), load_policy(), lambda: now[0])

    def seen() -> tuple[float, float, float]:
        samples = {(sample.name, *sample.labels.values()): sample.value for family in series.collect() for sample in family.samples}
        return (samples["suite_approval_expired_total",], samples["suite_approvals", "expired"], samples["suite_approval_oldest_pending_seconds",])

    assert seen() == (0, 0, 0)
    now[0] += 150
    assert seen() == (0, 1, 0)
    approvals.ask(Wish("a", "write_file", {"path": "forgotten"}, "/"), "a test")
    now[0] += 50
    assert seen() == (0, 1, 50)
    now[0] += 50
    assert seen() == (1, 2, 0)
