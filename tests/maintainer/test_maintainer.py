from __future__ import annotations

import threading
import time
from datetime import datetime

import pytest

from suite.errors import NotFound, NotReady, SettingsError, StorageError
from suite.maintainer.job import Job, JobState
from suite.maintainer.maintainer import RETRY, Maintainer


@pytest.fixture
def started(storage):
    running = []

    def start(*jobs, **options):
        maintainer = Maintainer(storage, jobs, **options)
        maintainer.start()
        running.append(maintainer)
        return maintainer

    yield start
    for maintainer in running:
        maintainer.close()
        assert not maintainer.live().ok


def test_a_job_runs_again_and_again_on_its_interval(started):
    third = threading.Event()
    runs = []

    def work():
        runs.append(1)
        if len(runs) == 3:
            third.set()

    started(Job("sweep", work, every=0.02))
    assert third.wait(10)


def test_run_now_runs_the_job_once_and_gives_its_result(started):
    maintainer = started(Job("expiry", lambda: {"deleted": 3}, every=3600))
    state = maintainer.run_now("expiry")
    assert (state.runs, state.result, state.error) == (1, {"deleted": 3}, "")
    assert maintainer.run_now("expiry").runs == 2
    assert maintainer.ready().ok


def test_a_failed_job_makes_the_maintainer_not_ready_until_it_succeeds_and_the_others_go_on(started):
    failing = [True]

    def backup():
        if failing[0]:
            raise StorageError("The disk is full.")

    maintainer = started(Job("backup", backup, daily="03:00"), Job("sync", dict, every=3600))
    failed = maintainer.run_now("backup")
    assert failed.error == "The disk is full."
    assert failed.due == pytest.approx(failed.finished + RETRY)
    state = maintainer.ready()
    assert not state.ok and "The job 'backup' failed: The disk is full." in state.reasons
    assert maintainer.run_now("sync").error == ""
    failing[0] = False
    maintainer.run_now("backup")
    assert maintainer.ready().ok


def test_the_state_of_jobs_outlives_a_restart_and_a_missed_time_is_made_up_for(storage, started):
    first = started(Job("sync", dict, every=3600))
    finished = first.run_now("sync").finished
    first.close()
    ran = threading.Event()
    second = started(Job("sync", ran.set, every=3600), clock=lambda: finished + 3601)
    assert ran.wait(10)
    assert second.run_now("sync").runs == 3


def test_it_is_not_ready_before_start_and_after_close(storage):
    maintainer = Maintainer(storage, [Job("sync", dict, every=3600)])
    assert not maintainer.live().ok and not maintainer.ready().ok
    with pytest.raises(NotReady):
        maintainer.run_now("sync")
    maintainer.start()
    assert maintainer.ready().ok and maintainer.deep().ok
    maintainer.close()
    assert not maintainer.ready().ok


def test_a_heart_that_stopped_is_seen(started):
    release = threading.Event()
    begun = threading.Event()

    def hang():
        begun.set()
        release.wait(30)

    maintainer = started(Job("hang", hang, every=3600, limit=0.05), beat=0.02)

    def gives_up():
        with pytest.raises(NotReady):
            maintainer.run_now("hang")

    try:
        waiter = threading.Thread(target=gives_up)
        waiter.start()
        assert begun.wait(10)
        deadline = time.monotonic() + 10
        while maintainer.ready().ok and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        reasons = maintainer.ready().reasons
        assert any("heartbeat" in reason and "'hang' for too long" in reason for reason in reasons), reasons
    finally:
        release.set()
        waiter.join(10)


def test_a_long_job_within_its_limit_does_not_count_as_a_stopped_heart(started):
    release = threading.Event()
    begun = threading.Event()

    def work():
        begun.set()
        release.wait(30)

    maintainer = started(Job("backup", work, every=3600), beat=0.01)
    waiter = threading.Thread(target=maintainer.run_now, args=("backup",))
    waiter.start()
    try:
        assert begun.wait(10)
        deadline = time.monotonic() + 10
        while maintainer.heartbeat["age_s"] <= 0.05 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert maintainer.heartbeat["age_s"] > 0.03
        assert maintainer.ready().ok and maintainer.ready().facts["running"] == "backup"
    finally:
        release.set()
        waiter.join(10)


def test_the_heart_beats_without_any_job(started):
    maintainer = started(beat=0.01)
    first = maintainer.heartbeat["at"]
    deadline = time.monotonic() + 10
    while maintainer.heartbeat["at"] == first and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert maintainer.heartbeat["at"] > first


def test_a_database_that_cannot_be_written_is_a_failed_job_and_not_a_dead_thread(storage, started):
    maintainer = started(Job("sync", dict, every=3600))
    with storage.begin() as connection:
        connection.exec_driver_sql("DROP TABLE jobs")
    assert "was not written" in maintainer.run_now("sync").error
    assert maintainer.live().ok and not maintainer.ready().ok


def test_an_unknown_job_is_named(started):
    with pytest.raises(NotFound, match=r"'restore'.*sync"):
        started(Job("sync", dict, every=3600)).run_now("restore")


@pytest.mark.parametrize("schedule", [{}, {"every": 5, "daily": "03:00"}, {"every": 0}, {"daily": "24:00"}, {"daily": "3 am"}])
def test_a_schedule_that_makes_no_sense_is_refused(schedule):
    with pytest.raises(SettingsError):
        Job("sync", dict, **schedule)


def test_two_jobs_of_one_name_are_refused(storage):
    with pytest.raises(SettingsError):
        Maintainer(storage, [Job("a", dict, every=1), Job("a", dict, every=2)])


def test_a_daily_job_is_due_at_its_local_time():
    job = Job("backup", dict, daily="03:00")
    morning = datetime(2026, 5, 4, 2, 0).timestamp()
    assert datetime.fromtimestamp(job.due(None, morning)) == datetime(2026, 5, 4, 3, 0)
    assert datetime.fromtimestamp(job.due(morning, morning)) == datetime(2026, 5, 4, 3, 0)
    after = datetime(2026, 5, 4, 3, 0).timestamp()
    assert datetime.fromtimestamp(job.due(after, after)) == datetime(2026, 5, 5, 3, 0)
    week_later = datetime(2026, 5, 11, 12, 0).timestamp()
    assert job.due(after, week_later) < week_later  # missed, so at once


def test_a_clock_set_back_does_not_put_a_job_off_for_long():
    assert Job("sync", dict, every=60).due(finished=10_000, now=100) == 160


def test_job_states_survive_json():
    state = JobState("sync", 2, 1.0, 2.0, "", 3.0, {"synced": 1})
    assert JobState.from_dict(state.to_dict()) == state
