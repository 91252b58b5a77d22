"""What a checkout says of itself, asked of real git in a checkout that a test makes and spoils."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from suite import checkout
from suite.checks.surroundings import LAYOUT, Scratch


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    made = Scratch(tmp_path / "checkout")
    made.root()
    return made


def look(scratch: Scratch) -> checkout.Checkout:
    found = checkout.look(scratch.root())
    assert found is not None
    return found


def test_a_clean_checkout_has_a_commit_and_nothing_else(scratch: Scratch) -> None:
    found = look(scratch)
    assert found == checkout.Checkout(scratch.commit(), top=tuple(sorted((".gitignore", *LAYOUT)))) and found.clean
    assert len(found.commit) == 40 and found.to_dict()["commit"] == found.commit


def test_a_folder_without_git_is_no_checkout(tmp_path: Path) -> None:
    assert checkout.look(tmp_path) is None


def test_what_git_ignores_does_not_count(scratch: Scratch) -> None:
    (scratch.root() / "x.report.ipynb").write_text("{}")
    assert look(scratch).clean


def spoil(scratch: Scratch, how: str) -> None:
    root = scratch.root()
    if how == "changed":
        (root / "README.md").write_text("another text\n")
    elif how == "staged":
        (root / "README.md").write_text("another text\n")
        scratch.git("add", "README.md")
    elif how == "deleted":
        (root / "README.md").unlink()
    elif how == "mode":
        (root / "README.md").chmod(0o755)
    elif how == "untracked":
        (root / "suite" / "새 파일.py").write_text("A = 1\n")
    elif how == "link":
        (root / "suite" / "link").symlink_to("nowhere")


@pytest.mark.parametrize(("how", "changed", "untracked"), [
    ("changed", ("README.md",), ()), ("staged", ("README.md",), ()), ("deleted", ("README.md",), ()), ("mode", ("README.md",), ()),
    ("untracked", (), ("suite/새 파일.py",)), ("link", (), ("suite/link",)),
])
def test_every_difference_is_named_and_is_in_the_digest(how: str, changed: tuple[str, ...], untracked: tuple[str, ...], scratch: Scratch) -> None:
    spoil(scratch, how)
    found = look(scratch)
    assert (found.changed, found.untracked, found.clean, found.commit) == (changed, untracked, False, scratch.commit())
    assert len(found.diff_sha256) == 64


def test_the_digest_is_of_the_contents(scratch: Scratch) -> None:
    digests: list[str] = []
    for name, text in (("README.md", "one\n"), ("README.md", "two\n"), ("suite/new.py", "A = 1\n"), ("suite/new.py", "A = 2\n"), ("suite/next.py", "A = 2\n")):
        (scratch.root() / name).write_text(text)
        digests.append(look(scratch).diff_sha256)
    assert len(set(digests)) == len(digests)
    assert look(scratch).diff_sha256 == digests[-1]
    (scratch.root() / "suite" / "next.py").rename(scratch.root() / "suite" / "other.py")
    assert look(scratch).diff_sha256 != digests[-1]
    (scratch.root() / "suite" / "link").symlink_to("a")
    first = look(scratch).diff_sha256
    (scratch.root() / "suite" / "link").unlink()
    (scratch.root() / "suite" / "link").symlink_to("b")
    assert look(scratch).diff_sha256 != first != digests[-1]


def test_a_binary_change_is_in_the_digest(scratch: Scratch) -> None:
    place = scratch.root() / "models" / "x.bin"
    place.write_bytes(bytes(range(256)))
    scratch.commit_all("a binary file")
    found: list[Any] = []
    for byte in (1, 2):
        place.write_bytes(bytes(range(255)) + bytes([byte]))
        found.append(look(scratch).diff_sha256)
    assert len(set(found)) == 2


def test_a_submodule_that_moved_is_named(scratch: Scratch, tmp_path: Path) -> None:
    other = Scratch(tmp_path / "other")
    scratch.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.root()), "models/part")
    scratch.commit_all("a submodule")
    assert look(scratch).clean
    (scratch.root() / "models" / "part" / "README.md").write_text("later\n")
    Scratch(scratch.root() / "models" / "part").commit_all("later")
    found = look(scratch)
    assert found.submodules == ("models/part",) and not found.clean


def test_a_checkout_that_git_cannot_read_says_what_git_said(scratch: Scratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (scratch.root() / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    found = checkout.look(scratch.root())
    assert found is not None and not found.clean and found.commit == "" and "git rev-parse failed" in found.trouble
    monkeypatch.setenv("PATH", str(tmp_path))
    found = checkout.look(scratch.root())
    assert found is not None and not found.clean and "git" in found.trouble


def test_git_that_hangs_is_given_up(scratch: Scratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nread line\n")  # its standard input never ends
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    reading, writing = os.pipe()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(checkout, "SECONDS", 0.2)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        found = checkout.look(scratch._folder)
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, reading, writing):
            os.close(descriptor)
    assert found is not None and "took longer than 0.2 s" in found.trouble


def test_this_code_s_own_commit_is_known_in_a_checkout() -> None:
    found = checkout.look(checkout.root())
    if found is None:
        assert checkout.commit() == ""
    else:
        assert checkout.commit().removesuffix("-dirty") == found.commit
