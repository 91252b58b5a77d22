"""The signing key: private, made once, read from a file or a descriptor, opened with its passphrase, and never shown."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from suite.errors import BadRequest
from suite.runbooks.sign import PublicKey, key_file, load_key, make_key, read_public
from suite.settings import load

# RFC 8032, section 7.1, test 1
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_the_settings_own_key_is_made_at_first_use_and_stays(tmp_path: Path) -> None:
    settings = load({"data_dir": str(tmp_path / "data")}, environ={})
    first = load_key(settings)
    file = tmp_path / "data" / "keys" / "report-ed25519.pem"
    assert key_file(settings) == file and file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert load_key(settings) == first == load_key(file) and read_public(file.with_suffix(".pub")) == (first.public,)
    assert os.listdir(file.parent) == [file.name, "report-ed25519.pub"] or sorted(os.listdir(file.parent)) == [file.name, "report-ed25519.pub"]


def test_two_at_first_use_get_the_same_key(tmp_path: Path) -> None:
    code = ("from suite.runbooks.sign import load_key; from suite.settings import load; import sys; "
            "print(load_key(load({'data_dir': sys.argv[1]}, environ={})).public.id)")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate(timeout=120)[0].strip() for process in running}
    assert len(told) == 1 and told == {load_key(tmp_path / "data" / "keys" / "report-ed25519.pem").public.id}


def test_a_known_key_signs_as_the_standard_says(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
    file = tmp_path / "key.pem"
    file.touch(mode=0o600)
    file.write_bytes(private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    key = load_key(file)
    assert key.public.raw.hex() == PUBLIC
    assert key.sign(b"").hex() == ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
                                   "655141438e7a100b")
    assert key.public.signed(key.sign(b"x"), b"x") and not key.public.signed(key.sign(b"x"), b"y") and not key.public.signed(b"short", b"x")


def test_a_passphrase_locks_the_file_and_is_demanded(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    make_key(file, "correct horse")
    assert b"ENCRYPTED" in file.read_bytes()
    key = load_key(file, "correct horse")
    assert key.public.signed(key.sign(b"x"), b"x")
    with pytest.raises(BadRequest, match="is locked with a passphrase; give it with --passphrase-fd, or at a terminal"):
        load_key(file)
    with pytest.raises(BadRequest, match="is not opened by this passphrase"):
        load_key(file, "wrong")
    assert load_key(file, "correct horse") == key


def test_a_key_is_read_from_an_open_descriptor_which_stays_open(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem")
    with (tmp_path / "key.pem").open("rb") as stream:
        assert load_key(stream.fileno()) == load_key(tmp_path / "key.pem")
        os.fstat(stream.fileno())
    with pytest.raises(BadRequest, match="The file descriptor 999 cannot be read"):
        load_key(999)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    make_key(file)
    file.chmod(0o640)
    with pytest.raises(BadRequest, match=r"is not a private file of this user \(mode 0640\); call `chmod 600` on it"):
        load_key(file)
    file.chmod(0o600)
    (tmp_path / "link.pem").symlink_to(file)
    with pytest.raises(BadRequest, match=r"link\.pem cannot be read"):
        load_key(tmp_path / "link.pem")
    with pytest.raises(BadRequest, match=r"gone\.pem cannot be read \(No such file or directory\); name the file that `suite report key` made"):
        load_key(tmp_path / "gone.pem")


def test_what_is_no_key_of_ours_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch(mode=0o600)
    for data, sentence in ((b"", "is no private key in PEM"), (b"nonsense", "is no private key in PEM"),
                           (rsa.generate_private_key(65537, 2048).private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()),
                            "is of another kind than Ed25519")):
        file.write_bytes(data)
        with pytest.raises(BadRequest, match=sentence):
            load_key(file)


def test_several_public_keys_may_stand_in_one_file(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        make_key(tmp_path / f"{name}.pem")
        keys.append(load_key(tmp_path / f"{name}.pem").public)
    (tmp_path / "both.pub").write_bytes(keys[0].pem() + b"\n" + keys[1].pem())
    assert read_public(tmp_path / "both.pub") == tuple(keys)
    other = rsa.generate_private_key(65537, 2048).public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    for data, sentence in ((b"", "holds no public key in PEM"), (other, "holds a public key that is no Ed25519 key"),
                           (keys[0].pem().replace(b"MCow", b"AAAA"), "holds a public key that is no Ed25519 key")):
        (tmp_path / "x.pub").write_bytes(data)
        with pytest.raises(BadRequest, match=sentence):
            read_public(tmp_path / "x.pub")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_public(tmp_path / "none.pub")


def test_nothing_shows_the_private_key(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem")
    key = load_key(tmp_path / "key.pem")
    shown = f"{key!r} {key} {key.public!r}"
    assert key.public.id in shown and "_private" not in shown and "object at" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert PublicKey(key.public.raw) == key.public
