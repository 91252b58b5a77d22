"""P4.3 and P4.4 where stages, machines and waivers differ: what applies when, what cannot be seen, and how the list reads."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from suite.bench import throwaway
from suite.checks import ground
from suite.checks.check import perform
from suite.checks.criteria import Criteria, examine, load
from suite.checks.ground import Mount, crypt, encrypted, mount
from suite.checks.phase4 import PLACES, RECOMMENDATIONS
from suite.checks.phase4_hardening import LIST, listed

LIMITS = load()


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir), monitoring_interval=1) as (stack, target):
        yield stack, target


@pytest.fixture
def staged(running: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stack's record with other words for one test, and what a check then finds."""
    stack, target = running
    said = stack.record

    def found(check: Any, criteria: Criteria = LIMITS, **words: Any) -> Any:
        monkeypatch.setattr(stack, "record", replace(said, **words))
        done = perform(check, target, criteria[check.id])
        assert examine(done.to_dict(), criteria) == (done.state, [])
        return done

    return found


def seen(result: Any) -> dict[str, Any]:
    return {item["name"]: item["observed"] for item in result.conditions}


def test_the_list_is_what_the_criteria_demand() -> None:
    conditions = LIMITS["P4.4"].conditions
    assert list(LIST) == [row.name for row in conditions]
    assert {name for name, row in LIST.items() if row.applies} == {row.name for row in conditions if row.optional}  # the others are never skipped


def test_in_stage_dev_what_is_asked_of_real_data_does_not_apply_and_the_list_says_when_it_would(staged: Any) -> None:
    done = staged(RECOMMENDATIONS)
    assert done.state == "pass", done.why
    states = {row[0]: row[1] for row in listed(done)}
    assert len(states) == len(LIST) and set(states.values()) == {"pass", "does not apply"}
    assert {name for name, row in LIST.items() if states[row.sentence] == "does not apply"} == {
        "key_age", "backup_age", "encrypted_at_rest", "run_as_root", "models_in_this_process"}
    assert ("The data directory is encrypted on the disk.", "does not apply", "", "applies when the stage is staging or prod") in listed(done)


@pytest.mark.parametrize(("stage", "applies"), [("staging", {"backup_age", "encrypted_at_rest", "run_as_root"}),
                                                ("prod", {"backup_age", "encrypted_at_rest", "run_as_root", "models_in_this_process"})])
def test_in_other_stages_it_is_looked_at(stage: str, applies: set[str], staged: Any) -> None:
    values = seen(staged(RECOMMENDATIONS, stage=stage))
    assert {name for name, value in values.items() if value is not None} == LIST.keys() - {"key_age"} - ({"models_in_this_process"} - applies)
    assert values["run_as_root"] is (os.geteuid() == 0) and values["backup_age"] == "inf"  # no snapshot is older than any limit
    assert isinstance(values["encrypted_at_rest"], bool)


def test_a_backup_that_was_restored_once_is_what_is_asked_for(staged: Any, running: Any) -> None:
    stack, _ = running
    snapshot = stack.backups.create()
    assert seen(staged(RECOMMENDATIONS, stage="staging"))["backup_age"] == "inf"  # made, and never restored
    stack.backups.verify(snapshot.path).check()
    assert 0 <= seen(staged(RECOMMENDATIONS, stage="staging"))["backup_age"] < 3600
    assert seen(staged(RECOMMENDATIONS))["backup_age"] is None  # a young stack in stage dev


def test_what_somebody_answers_for_is_waived_until_its_day_and_the_check_is_no_pass(staged: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("".join(
        f"['P4.4'.waivers.{name}]\nowner = 'kim'\nexpiry = {day}\nreason = 'agreed'\n" for name, day in [
            ("models_in_this_process", "9000-01-01"), ("backup_age", "9000-01-01"), ("run_as_root", "9000-01-01"), ("encrypted_at_rest", "9000-01-01")]),
        encoding="utf-8")
    waived = load(waivers=tmp_path / "mine.toml")
    done = staged(RECOMMENDATIONS, waived, stage="prod")
    assert done.state == "waived", done.why
    states = {row[0]: row[1:] for row in listed(done)}
    assert states[LIST["models_in_this_process"].sentence] == ("waived", "models_in_this_process True", "kim until 9000-01-01: agreed")
    (tmp_path / "mine.toml").write_text((tmp_path / "mine.toml").read_text().replace("9000", "2001", 1), encoding="utf-8")
    done = staged(RECOMMENDATIONS, load(waivers=tmp_path / "mine.toml"), stage="prod")
    states = {row[0]: row[1] for row in listed(done)}
    assert (done.state, states[LIST["models_in_this_process"].sentence]) == ("fail", "fail")
    assert "kim's waiver of models_in_this_process expired on 2001-01-01" in done.why


def test_what_cannot_be_looked_at_from_here_is_not_taken_for_good(staged: Any) -> None:
    elsewhere = staged(RECOMMENDATIONS, id="0" * 32)  # another host than the one whose folder this is
    assert elsewhere.state == "fail" and "run this where the stack runs" in elsewhere.why
    assert {name for name, value in seen(elsewhere).items() if value == "not seen"} == {"beyond_loopback", "readable_by_others", "token_in_logs"}
    places = staged(PLACES, id="0" * 32)
    assert places.state == "not-run" and "is not on this machine" in places.why
    gone = staged(RECOMMENDATIONS, stage="staging", pid=(1 << 31) - 1)
    assert (seen(gone)["beyond_loopback"], seen(gone)["run_as_root"]) == ("not seen", "not seen") and gone.state == "fail"


def test_a_stack_that_does_not_say_what_is_exposed_is_not_taken_for_good(running: Any, staged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = type(running[0])._host_facts
    monkeypatch.setattr(running[0], "_host_facts", lambda: {**honest(running[0]), "exposure": {}})
    values = seen(staged(RECOMMENDATIONS))
    assert {values[name] for name in ("unencrypted_links", "key_age", "settings_readable")} == {"not seen"}


def test_files_of_the_vector_engine_are_private_by_their_folder_and_no_others_are(running: Any, staged: Any) -> None:
    stack, _ = running
    stack.store.create("of-this-test", 8)
    [shard] = stack.data.glob("vectors/of-this-test/shard")
    engine, own = next(path for path in shard.rglob("*") if path.is_file()), shard.parent / "of-ours.json"
    engine.chmod(0o644)  # as the umask of a notebook's kernel has it
    assert staged(RECOMMENDATIONS).state == "pass"
    own.touch(mode=0o644)
    assert seen(staged(RECOMMENDATIONS))["readable_by_others"] == 1
    own.unlink()
    shard.chmod(0o755)
    assert seen(staged(RECOMMENDATIONS))["readable_by_others"] >= 1
    shard.chmod(0o700)
    stack.store.drop("of-this-test")


def test_data_in_memory_is_for_stage_dev_only(staged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.checks.phase4_place.mount", lambda path: Mount("/", "tmpfs", "tmpfs", "rw"))
    assert staged(PLACES).state == "pass"
    done = staged(PLACES, stage="staging")
    assert done.state == "fail" and seen(done)["volatile_filesystems"] == 12


def test_a_check_of_another_user_shows_nothing(staged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.checks.phase4_place.os.geteuid", lambda: 12_345)
    assert seen(staged(PLACES))["same_user"] is False


def test_a_file_that_does_not_come_back_as_it_was_written_is_seen_and_none_stays(staged: Any, running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: honest(path)[:-1] if "analytics" in str(path) else honest(path))
    done = staged(PLACES)
    assert seen(done)["not_kept"] == 1 and done.state == "fail"
    assert not list(running[0].data.rglob("*releasecheck*"))


def test_the_evidence_says_what_is_stored_where(staged: Any) -> None:
    folders = {item["folder"]: item for item in staged(PLACES).evidence if item["name"] == "folder"}
    assert folders["sqlite"]["keeps"] == "storage" and folders["sqlite"]["bytes"] > 0 and folders["vectors"]["mode"] == "0700"
    assert len(folders) == 12 and all(row["filesystem"] for row in folders.values())


def test_a_mount_says_its_filesystem_and_whether_a_database_may_lie_there() -> None:
    assert mount(Path("/proc/self")).kind == "proc" and not mount(Path("/proc/self")).fit
    assert mount(Path("/proc/self/fd")).place.startswith("/proc")
    shm = next((row for row in psutil.disk_partitions(all=True) if row.mountpoint == "/dev/shm"), None)
    assert shm is None or (mount(Path("/dev/shm")).volatile and mount(Path("/dev/shm")).fit)
    for kind, options, fit in [("ext4", "rw,relatime", True), ("ext4", "ro,relatime", False), ("nfs4", "rw", False), ("cifs", "rw", False), ("xfs", "rw,errors=remount-ro", True)]:
        assert Mount("/x", "/dev/x", kind, options).fit is fit


def test_the_mount_that_counts_is_the_nearest_and_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part = type(psutil.disk_partitions(all=True)[0])

    def row(place: str, kind: str) -> Any:
        return part(**{**dict.fromkeys(part._fields, 0), "device": "d", "mountpoint": place, "fstype": kind, "opts": "rw"})

    real = os.path.realpath(tmp_path)
    rows = [row(real, "first"), row("/", "root"), row(real, "second"), row(real[:-1], "beside")]
    monkeypatch.setattr(ground.psutil, "disk_partitions", lambda all: rows)
    assert mount(tmp_path).kind == "second" and mount(Path("/")).kind == "root"


def test_a_volume_is_encrypted_when_all_that_it_is_made_of_is(tmp_path: Path) -> None:
    def block(name: str, uuid: str, *below: str) -> Path:
        place = tmp_path / name
        (place / "dm").mkdir(parents=True)
        (place / "slaves").mkdir()
        (place / "dm" / "uuid").write_text(uuid)
        for each in below:
            (place / "slaves" / each).symlink_to(tmp_path / each)
        return place

    assert crypt(block("a", "CRYPT-LUKS2-abc-x\n")) and not crypt(block("b", "LVM-abc\n"))
    assert crypt(block("c", "LVM-c\n", "a")) and not crypt(block("d", "LVM-d\n", "a", "b")) and not crypt(tmp_path / "nowhere")


def test_encryption_is_told_with_its_reason_and_never_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def under(kind: str, device: str = "none") -> tuple[bool, str]:
        monkeypatch.setattr(ground, "mount", lambda path: Mount("/", device, kind, "rw"))
        return encrypted(tmp_path)

    assert under("tmpfs")[0] and under("fuse.gocryptfs")[0]
    assert under("overlay") == (False, "overlay on none is not encrypted as far as this system can see")
    monkeypatch.setattr(ground, "crypt", lambda block: bool(re.fullmatch(r"/sys/dev/block/\d+:\d+", str(block))))
    assert under("ext4", "/dev/null") == (True, "/dev/null is a dm-crypt volume")


def test_the_host_record_of_another_stack_is_not_this_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "host.json").write_text(json.dumps({"id": "a"}), encoding="utf-8")
    assert ground.on_this_machine({"id": "a", "data_dir": str(tmp_path)}) == tmp_path
    for host in ({"id": "b", "data_dir": str(tmp_path)}, {"data_dir": str(tmp_path)}, {"id": "a"}, {"id": "a", "data_dir": str(tmp_path / "x")}):
        assert ground.on_this_machine(host) is None
    for said in ("[]", "{}", "{"):
        (tmp_path / "run" / "host.json").write_text(said, encoding="utf-8")
        assert ground.on_this_machine({"id": None, "data_dir": str(tmp_path)}) is None
