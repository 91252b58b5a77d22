"""What goes wrong while sealing: a full disk, several at once, a clock that was set back, and folders that are none of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disks import fill, free, mounted
from release_stage import Archive

from suite.errors import BadRequest, NotFound, StorageError
from suite.runbooks import archive as shelf
from suite.runbooks import disk, ledger
from suite.runbooks.seal import seal
from suite.runbooks.sign import make_key
from suite.runbooks.verify import verify

SEAL = """
import sys
from pathlib import Path
from suite.runbooks.seal import seal
from suite.runbooks.sign import load_key
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    print(seal(folder / "reports" / name, folder / "reports", load_key(folder / "key.pem"), runbooks=folder / "runbooks").head, flush=True)
"""


def test_a_full_disk_is_one_sentence_and_the_archive_stays_whole_however_much_there_was(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as small:
        archive = Archive(small)
        archive.seal("R1")
        waiting, before = archive.make("R2"), (archive.reports / ledger.FILE).read_bytes()
        refused, leave = 0, 0
        while True:
            fill(small, leave=leave)
            try:
                sealed = seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
            except StorageError as error:
                assert error.message == f"The disk of {archive.reports} is full, and nothing of this step was kept; free some space, then seal again."
                refused += 1
            else:
                break
            assert (archive.reports / ledger.FILE).read_bytes() == before and verify(archive.reports).ok
            assert waiting.is_dir() and not list(archive.reports.rglob(f"*{disk.FRESH}"))
            free(small)
            leave += 4096
        assert refused >= 5  # it was refused at each of the files and at the ledger
        free(small)
        assert verify(sealed.path).ok and verify(archive.reports, head=sealed.head).ok


def test_a_ledger_that_cannot_take_a_whole_line_keeps_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    archive.seal("R1")
    before = (archive.reports / ledger.FILE).read_bytes()
    waiting = archive.make("R2")
    real = disk.write_all

    def half(handle: int, data: bytes) -> None:
        if data.endswith(b"}\n") and b'"previous"' in data:
            real(handle, data[:len(data) // 2])
            raise OSError(28, "No space left on device")
        real(handle, data)

    monkeypatch.setattr(disk, "write_all", half)
    with pytest.raises(StorageError, match="is full, and nothing of this step was kept"):
        seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
    assert (archive.reports / ledger.FILE).read_bytes() == before
    monkeypatch.undo()
    seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
    assert verify(archive.reports).ok and len(shelf.releases(archive.reports)) == 2


def test_no_key_is_half_made_on_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as small:
        (small / "keys").mkdir()
        fill(small)
        with pytest.raises(StorageError, match=r"The key .* cannot be written \(No space left on device\); free some space"):
            make_key(small / "keys" / "key.pem")
        assert os.listdir(small / "keys") == []


def test_several_at_once_on_one_archive_each_get_their_line(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    _ = archive.key  # made by one
    names = [archive.make(f"R{number}").name for number in range(6)]
    groups = [names[:2], names[2:4], names[4:]]
    running = [subprocess.Popen([sys.executable, "-c", SEAL, str(tmp_path), *group], stdout=subprocess.PIPE, text=True) for group in groups]
    heads = [head for process in running for head in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(row.head for row in shelf.releases(archive.reports)) == sorted(heads) and len(set(heads)) == 6
    assert verify(archive.reports, archive.key.public).ok
    assert all(verify(row.path, archive.key.public).ok for row in shelf.releases(archive.reports))


def test_whoever_waits_too_long_for_another_is_told(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    told = r"Another process seals into .* and did not end within 0\.01 s; end it, or try again"
    with disk.held(archive.reports), pytest.raises(StorageError, match=told), disk.held(archive.reports, wait=0.01):
        pass


def test_a_clock_that_was_set_back_is_told_and_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    archive.seal("R1")
    monkeypatch.setattr(disk, "now", lambda: 1000.0)
    archive.seal("R2")
    found = verify(archive.reports)
    assert found.ok and "The clock was set back before line 2 of the ledger: its time is earlier than that of the line before." in found.notes
    assert [row.release for row in shelf.releases(archive.reports)] == ["R1", "R2"]  # in the order in which they were sealed


def test_a_name_that_is_taken_gets_a_number_and_no_release_is_written_over(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    first = archive.seal("R1")
    archive._made = 0  # the same second once more
    second = archive.seal("R1")
    assert second.path.name == f"{first.path.name}-2" and verify(first.path).ok and verify(second.path).ok


def test_no_folder_that_the_ledger_does_not_know_is_taken_for_a_release_or_written_over(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    waiting = archive.make("R1")
    name = waiting.name.removeprefix(".").removesuffix(shelf.PARTIAL)
    (archive.reports / name).mkdir()
    (archive.reports / name / "mine.txt").write_text("x", encoding="utf-8")
    sealed = seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
    assert sealed.path.name == f"{name}-2" and (archive.reports / name / "mine.txt").exists() and verify(archive.reports).ok
    shutil.rmtree(sealed.path)
    archive._made = 0
    assert archive.seal("R1").path.name == f"{name}-3"  # the ledger still has the second


def test_a_folder_that_waits_under_a_sealed_releases_name_does_not_become_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    first, other = archive.seal("R1"), archive.seal("R2")
    first.path.rename(tmp_path / "away")
    forged = shutil.copytree(other.path, archive.reports / f".{first.path.name}{shelf.PARTIAL}")
    last = (archive.reports / ledger.FILE).read_text(encoding="utf-8").splitlines(keepends=True)[0]
    (archive.reports / ledger.FILE).write_text(last, encoding="utf-8")  # as if R1 had been the last one
    assert shelf.recover(archive.reports) == [] and forged.is_dir()
    assert any(f"{first.path.name} is in the ledger, but its folder or its attestation is gone" in doubt for doubt in verify(archive.reports).doubts)
    shutil.rmtree(forged)
    (tmp_path / "away").rename(forged)
    assert shelf.recover(archive.reports) == [f"{first.path.name} had been sealed and got its name."] and verify(first.path).ok


def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "folder" / "results.json"
    file.parent.mkdir()
    disk.write_whole(file, b"old")
    with file.open("rb") as reader:
        disk.write_whole(file, b"new")
        assert reader.read() == b"old" and file.read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        disk.write_whole(file, b"newer")
    assert file.read_bytes() == b"new" and os.listdir(file.parent) == ["results.json"]


def test_what_is_no_folder_of_a_release_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(BadRequest, match=r"cannot be sealed into .*; what is sealed is a folder \.<name>\.partial in it"):
        seal(tmp_path / "elsewhere", archive.reports, archive.key)
    with pytest.raises(BadRequest, match="is not there; it was sealed already, or never made"):
        seal(archive.reports / ".gone.partial", archive.reports, archive.key)
    waiting = archive.make("R1")
    (waiting / "link").symlink_to(tmp_path)
    with pytest.raises(BadRequest, match=r"link is a symbolic link, and only plain files can be; put the file itself there"):
        seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
    (waiting / "link").unlink()
    for name, sentence in (("criteria.toml", "holds no criteria.toml"), ("phase2_health.ipynb", "is no notebook")):
        text = (waiting / name).read_text(encoding="utf-8")
        (waiting / name).unlink()
        if name.endswith("ipynb"):
            (waiting / name).write_text(text[:-50], encoding="utf-8")
        with pytest.raises(BadRequest, match=sentence):
            seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
        (waiting / name).write_text(text, encoding="utf-8")
    (waiting / "results.json").unlink()
    with pytest.raises(NotFound, match=r"holds no results\.json"):
        seal(waiting, archive.reports, archive.key, runbooks=archive.runbooks)
    assert not (archive.reports / ledger.FILE).exists() and waiting.is_dir()


def test_what_is_neither_a_release_nor_an_archive_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not there; `suite report list` names the sealed releases"):
        verify(tmp_path / "nothing")
    with pytest.raises(BadRequest, match=r"holds no attestation\.dsse\.json, so it was never sealed"):
        verify(tmp_path)
    (tmp_path / "out.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(BadRequest, match="is a file; name the folder of a sealed release"):
        verify(tmp_path / "out.ipynb")
