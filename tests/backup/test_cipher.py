"""Encrypted snapshots: nothing readable is left, only the key opens them, and nothing can be cut, moved or exchanged unseen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.backup import cipher
from suite.backup.cipher import CHUNK, MAGIC, SALT, TAG, Altered, Key, make_key, read_key, seal, unseal
from suite.backup.snapshot import Snapshot
from suite.backup.verify import verify
from suite.errors import BadRequest

KEY = Key(b"k" * 32)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    make_key(tmp_path / "my.key")
    return tmp_path / "my.key"


def round_trip(folder: Path, data: bytes) -> Path:
    for name in ("plain", "sealed", "back"):
        (folder / name).unlink(missing_ok=True)
    (folder / "plain").write_bytes(data)
    size, digest = seal(folder / "plain", folder / "sealed", KEY, "here")
    assert unseal(folder / "sealed", folder / "back", KEY, "here") == (size, digest) and (folder / "sealed").stat().st_size == size
    return folder / "back"


@given(st.binary(max_size=3000))
def test_what_is_sealed_comes_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert round_trip(tmp_path_factory.mktemp("sealed"), data).read_bytes() == data


@pytest.mark.parametrize("size", [CHUNK - 30, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_any_number_of_chunks_comes_back(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert round_trip(tmp_path, data).read_bytes() == data


def test_the_holes_of_a_file_take_no_room_in_its_sealed_form_and_are_holes_again(tmp_path: Path) -> None:
    with (tmp_path / "hollow").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"x" * 5000)
        file.truncate(32 << 20)
    size, _ = seal(tmp_path / "hollow", tmp_path / "sealed", KEY, "here")
    unseal(tmp_path / "sealed", tmp_path / "back", KEY, "here")
    assert size < 100_000 and (tmp_path / "back").stat().st_size == 32 << 20 and (tmp_path / "back").stat().st_blocks < 1000
    assert (tmp_path / "back").read_bytes() == (tmp_path / "hollow").read_bytes()


def test_a_change_a_cut_an_exchange_another_place_or_key_is_seen(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(os.urandom(3 * CHUNK + 5))
    seal(tmp_path / "plain", tmp_path / "sealed", KEY, "here")
    whole = (tmp_path / "sealed").read_bytes()
    head, step = len(MAGIC) + SALT, CHUNK + TAG
    chunks = [whole[head + at:head + at + step] for at in range(0, len(whole) - head, step)]
    broken = {
        "a bit": whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:], "the last chunk cut off": whole[:head] + b"".join(chunks[:-1]),
        "two chunks exchanged": whole[:head] + b"".join([chunks[1], chunks[0], *chunks[2:]]), "a chunk twice": whole + chunks[-1],
        "the salt": whole[:len(MAGIC)] + bytes(SALT) + whole[head:], "another beginning": b"x" + whole[1:], "cut in the salt": whole[:20], "nothing": b"",
        "cut in a chunk": whole[:-1],
    }
    for what, data in broken.items():
        (tmp_path / "sealed").write_bytes(data)
        (tmp_path / "back").unlink(missing_ok=True)
        with pytest.raises(Altered, match="its chunk . was altered" if "chunk" in what else None):  # not only by what the file says of its length
            unseal(tmp_path / "sealed", tmp_path / "back", KEY, "here")
            pytest.fail(what)
    (tmp_path / "sealed").write_bytes(whole)
    for key, place in ((Key(b"o" * 32), "here"), (KEY, "there")):
        (tmp_path / "back").unlink(missing_ok=True)
        with pytest.raises(Altered):
            unseal(tmp_path / "sealed", tmp_path / "back", key, place)


def test_an_encrypted_snapshot_shows_nothing_that_people_wrote_and_verifies_with_its_key_only(made: Callable[..., Snapshot], key_file: Path) -> None:
    key = read_key(key_file)
    snapshot = made(key)
    assert snapshot.encrypted and all(entry.path.endswith(cipher.SUFFIX) for entry in snapshot.files)
    for path in Path(snapshot.path).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"lighthouse" not in data and b"SQLite format" not in data and key.secret.hex().encode() not in data, path
    found = verify(snapshot.path, key=key)
    assert found.ok and (found.points, found.searches, found.decisions) == (44, 10, 2)
    with pytest.raises(BadRequest, match=rf"is encrypted with the key {key.id}; name its file with --key-file\.$"):
        verify(snapshot.path)
    with pytest.raises(BadRequest, match=rf"is encrypted with the key {key.id}, not with {KEY.id}; name the other key's file\.$"):
        verify(snapshot.path, key=KEY)
    assert os.listdir(Path(snapshot.path).parent) and all(name.startswith(snapshot.name) for name in os.listdir(Path(snapshot.path).parent))


def test_a_file_of_another_snapshot_with_the_same_key_is_not_taken_for_this_ones(made: Callable[..., Snapshot], key_file: Path) -> None:
    from test_verification import rewrite

    key = read_key(key_file)
    first, second = made(key), made(key)
    name = "database/suite.db.sealed"
    Path(second.path, name).write_bytes(Path(first.path, name).read_bytes())
    rewrite(Path(second.path))
    assert f"{name} cannot be decrypted: its chunk 0 was altered, moved or cut." in verify(second.path, key=key).problems


def test_a_manifest_that_says_otherwise_than_what_is_encrypted_is_found(made: Callable[..., Snapshot], key_file: Path) -> None:
    from test_verification import rewrite

    key = read_key(key_file)
    snapshot = made(key)
    rewrite(Path(snapshot.path), lambda body: body["collections"].pop("notes"))
    assert any("collections are not those that were encrypted" in problem for problem in verify(snapshot.path, key=key).problems)


def test_a_key_file_is_private_new_and_a_key(tmp_path: Path, key_file: Path) -> None:
    assert key_file.stat().st_mode & 0o777 == 0o600 and len(read_key(key_file).secret) == 32 and read_key("") is None
    assert read_key(key_file).secret.hex() not in repr(read_key(key_file))
    with pytest.raises(BadRequest, match="is there already"):
        make_key(key_file)
    key_file.chmod(0o640)
    with pytest.raises(BadRequest, match="has mode 0640, so others may read it"):
        read_key(key_file)
    key_file.chmod(0o600)
    for text in ("", "suite-backup-key:", "suite-backup-key:zz", "x" * 5000, "suite-backup-key:" + "00" * 31):
        key_file.write_text(text)
        with pytest.raises(BadRequest, match="holds no backup key"):
            read_key(key_file)
    with pytest.raises(BadRequest, match="cannot be read"):
        read_key(tmp_path / "absent")
