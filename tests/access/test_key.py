"""The access token's file: private, whole, and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from suite.access.key import FILE, create_key, read_key
from suite.errors import DataDirError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "run"
    found.mkdir(mode=0o700)
    return found


def test_the_file_is_readable_by_its_owner_only_whatever_the_umask(folder: Path) -> None:
    old = os.umask(0)
    try:
        key = create_key(folder)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(key.file).st_mode) == 0o600 and len(key.token) == 64
    assert os.listdir(folder) == [FILE]


def test_a_reader_gets_the_same_token(folder: Path) -> None:
    key = create_key(folder)
    assert read_key(folder).matches(key.token)


def test_two_tokens_differ_and_the_newer_one_holds(folder: Path) -> None:
    first, second = create_key(folder), create_key(folder)
    assert first.token != second.token and read_key(folder).matches(second.token) and not second.matches(first.token)


@pytest.mark.parametrize("wrong", ["", "x", "토큰", "\udc80", "0" * 64])
def test_a_wrong_token_does_not_match(folder: Path, wrong: str) -> None:
    key = create_key(folder)
    assert not key.matches(wrong) and not key.matches(key.token[:-1]) and not key.matches(key.token + "0") and key.matches(key.token)


def test_the_token_is_in_no_repr(folder: Path) -> None:
    key = create_key(folder)
    assert key.token not in repr(key) and key.token not in str(key)


def test_a_link_in_the_file_s_place_is_replaced_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("0" * 64)
    victim.chmod(0o600)  # in everything but the link a good token file
    (folder / FILE).symlink_to(victim)
    with pytest.raises(DataDirError):
        read_key(folder)
    create_key(folder)
    assert victim.read_text() == "0" * 64 and not (folder / FILE).is_symlink()


@pytest.mark.parametrize("spoil", [
    lambda file: os.chmod(file, 0o640), lambda file: file.write_text(""), lambda file: file.write_text("short"),
    lambda file: file.write_text("g" * 64), lambda file: file.write_text("0" * 65), lambda file: file.unlink(),
    lambda file: (file.unlink(), os.mkfifo(file, 0o600)),
], ids=["mode", "empty", "short", "letters", "long", "gone", "pipe"])
def test_a_file_that_is_not_private_or_not_whole_is_refused(folder: Path, spoil) -> None:
    spoil(create_key(folder).file)
    with pytest.raises(DataDirError) as caught:
        read_key(folder)
    assert "start" in str(caught.value)


def test_a_folder_that_others_may_write_to_gets_no_token(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(DataDirError, match="chmod 700"):
        create_key(folder)
    assert os.listdir(folder) == []


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match="cannot be written"):
        create_key(tmp_path / "gone")


def test_removing_a_key_leaves_the_file_of_the_next_stack(folder: Path) -> None:
    old = create_key(folder)
    new = create_key(folder)
    old.remove()
    assert read_key(folder).matches(new.token)
    new.remove()
    new.remove()
    assert os.listdir(folder) == []
