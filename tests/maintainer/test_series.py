"""What the maintainer and memory say of themselves as Prometheus metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from suite.errors import StorageError
from suite.maintainer.job import Job
from suite.maintainer.maintainer import Maintainer
from suite.maintainer.series import MaintainerSeries
from suite.memory.memory import Memory
from suite.memory.series import MemorySeries
from suite.monitoring.metric import Metrics
from suite.settings import load
from suite.testing import MemoryStore, StandInEmbedder


def samples(collector):
    """Every sample by its name and labels, as Prometheus' own parser reads them."""
    metrics = Metrics()
    metrics.registry("x").register(collector)
    text = metrics.exposition("x").decode()
    return {(sample.name, *sample.labels.values()): sample.value for family in text_string_to_metric_families(text) for sample in family.samples
            if not sample.name.startswith(("suite_requests", "suite_request_seconds", "suite_part"))}


def test_the_age_of_the_heartbeat_and_how_each_job_last_ended(storage):
    def fail():
        raise StorageError("The disk is full.")

    now = [1000.0]
    maintainer = Maintainer(storage, [Job("good", lambda: None, every=9e6), Job("bad", fail, every=9e6), Job("idle", lambda: None, every=9e6)],
                            clock=lambda: now[0])
    series = MaintainerSeries(maintainer, lambda: now[0])
    assert samples(series) == {("suite_maintainer_job_failed", name): 0.0 for name in ("good", "bad", "idle")}
    maintainer.start()
    try:
        for name in ("good", "bad"):
            maintainer.run_now(name)
        now[0] = 1090.0
        seen = samples(series)
    finally:
        maintainer.close()
    assert 0 <= seen.pop(("suite_maintainer_heartbeat_age_seconds",)) < 60
    assert seen == {("suite_maintainer_job_age_seconds", "good"): 90.0, ("suite_maintainer_job_age_seconds", "bad"): 90.0,
                    ("suite_maintainer_job_failed", "good"): 0.0, ("suite_maintainer_job_failed", "bad"): 1.0,
                    ("suite_maintainer_job_failed", "idle"): 0.0}


def test_turns_projects_and_what_waits_for_the_store(storage, tmp_path):
    def down(_method, _name):
        raise StorageError("The store is down.")

    store = MemoryStore()
    memory = Memory(storage, store, StandInEmbedder(), load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path))
    memory.create_project("other")
    for number in range(3):
        memory.remember(f"question {number}", "reply", project="other")
    store.fail = down
    seen = samples(MemorySeries(memory.series))
    assert 0 <= seen.pop(("suite_memory_sync_lag_seconds",)) < 60
    assert seen == {("suite_memory_turns",): 3.0, ("suite_memory_projects",): 1.0, ("suite_memory_sync_pending",): 3.0}
    store.fail = None
    memory.sync()
    seen = samples(MemorySeries(memory.series))
    assert (seen["suite_memory_sync_pending",], seen["suite_memory_sync_lag_seconds",]) == (0.0, 0.0)


def test_a_database_that_does_not_answer_gives_no_numbers_and_breaks_no_scrape():
    def gone():
        raise StorageError("The database is locked.")

    assert samples(MemorySeries(gone)) == {}
