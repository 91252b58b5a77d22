"""write_file writes whole files of the workspace, and nothing else, however it is asked."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from suite.errors import BadRequest, Denied, NotFound, SuiteError, TooLarge, ToolFailed
from suite.tools.builtin import files
from suite.tools.builtin.files import WRITE_LIMIT, write_file
from suite.tools.builtin.paths import Spot
from suite.tools.schema import check_arguments
from suite.tools.tool import Place


@pytest.fixture(params=["workspace", "further root"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place whose `cwd` is a whole root: the workspace, or a further root beside an empty workspace."""
    root, first = tmp_path / "작업 공간", tmp_path / "first"
    (root / "notes").mkdir(parents=True)
    (root / "README.md").write_text("# 안녕\n", encoding="utf-8")
    (tmp_path / "outside.txt").write_text("outside")
    first.mkdir()
    private = (root / "data" / "run",)
    return Place(root, root, private) if request.param == "workspace" else Place(first, root, private, further=(root,))


def named(place: Place, path: str) -> str:
    """How the tool names what it wrote: in a further root by the whole path."""
    return str(place.cwd / path) if place.further else path


def tree(root: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: contents of files, targets of links."""
    return {str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            for path in sorted(root.rglob("*"))}


def outside(place: Place) -> dict[str, bytes | str | None]:
    """Everything but the root's inside."""
    root, name = place.cwd.parent, place.cwd.name
    return {path: what for path, what in tree(root).items() if not path.startswith(name + "/")}


def test_a_new_file_is_made_with_its_folders(place: Place) -> None:
    assert write_file("a/b/회의록.txt", "세 시\n", place) == {"path": named(place, "a/b/회의록.txt"), "size": 4, "bytes": 8, "created": True}
    assert (place.cwd / "a" / "b" / "회의록.txt").read_text("utf-8") == "세 시\n"


def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(place: Place) -> None:
    file = place.cwd / "run.sh"
    file.write_text("old and longer")
    file.chmod(0o750)
    assert write_file("run.sh", "new", place)["created"] is False
    assert file.read_text() == "new" and stat.S_IMODE(file.stat().st_mode) == 0o750


def test_a_new_file_has_the_mode_that_the_umask_leaves(place: Place) -> None:
    old = os.umask(0o027)
    try:
        write_file("new.txt", "x", place)
    finally:
        os.umask(old)
    assert stat.S_IMODE((place.cwd / "new.txt").stat().st_mode) == 0o640


def test_relative_paths_start_in_the_caller_s_folder(place: Place) -> None:
    assert write_file("x.txt", "x", replace(place, cwd=place.cwd / "notes"))["path"] == named(place, "notes/x.txt")
    assert write_file(str(place.cwd / "y.txt"), "y", place)["path"] == named(place, "y.txt")


def test_nothing_is_left_beside_the_file(place: Place) -> None:
    write_file("notes/a.txt", "x", place)
    assert os.listdir(place.cwd / "notes") == ["a.txt"]


TRAVERSALS = ["../x.txt", "notes/../../x.txt", "/etc/x.txt", "//etc/x.txt", "///x.txt", "..", "/", "../작업 공간2/x.txt", "notes/./../../x.txt",
              "/proc/self/root/tmp/x.txt", "/proc/self/cwd/../x.txt", "/dev/shm/x.txt", "notes/../../outside.txt", "~/../../x.txt/../../../x.txt"]
SPELLINGS = ["%2e%2e/x.txt", "%2e%2e%2fx.txt", "..%2fx.txt", "..%252fx.txt", "%c0%ae%c0%ae/x.txt", "..%c0%afx.txt", "..\\x.txt", "..\\..\\x.txt",
             "C:\\x.txt", "\\\\server\\x.txt", "‥/x.txt", "．．/x.txt", "..∕x.txt", "。。/x.txt", "․․/x.txt", "notes//x.txt", "./notes/./x.txt",
             "..;/x.txt", "...//x.txt", "..\u200b/x.txt", "👩\u200d💻\u3000.txt", "file:///etc/x.txt", "~/x.txt", "$HOME/x.txt", "-rf", "notes/..x.txt"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_a_path_out_of_the_workspace_is_denied_and_nothing_is_written(place: Place, path: str) -> None:
    before = tree(place.cwd.parent)
    with pytest.raises(Denied, match="out of the workspace"):
        write_file(path, "evil", place)
    assert tree(place.cwd.parent) == before


@pytest.mark.parametrize("path", SPELLINGS)
def test_other_spellings_of_a_way_out_are_plain_names_inside(place: Place, path: str) -> None:
    before = outside(place)
    value = write_file(path, "harmless", place)
    assert outside(place) == before
    assert (place.cwd / value["path"]).read_text() == "harmless" and ".." not in Path(value["path"]).parts


@pytest.mark.parametrize("path", ["a\0b.txt", "\0", "a" * 300, "a/" * 2040 + "b", "a/" * 65 + "b", "a\nb.txt", "a\x7fb", "\udc80\ud800", b"\xc0\xae\xc0\xae/x".decode("utf-8", "surrogateescape") * 90])
def test_impossible_names_are_one_sentence(place: Place, path: str) -> None:
    before = outside(place)
    with pytest.raises((BadRequest, NotFound)):
        write_file(path, "x", place)
    assert outside(place) == before


def test_a_link_to_the_outside_is_denied(place: Place) -> None:
    root = place.cwd.parent
    (place.cwd / "file").symlink_to(root / "outside.txt")
    (place.cwd / "folder").symlink_to(root)
    (place.cwd / "dangling").symlink_to(root / "new.txt")
    before = tree(root)
    for path in ("file", "folder/new.txt", "folder/new/deep.txt", "dangling"):
        with pytest.raises(Denied):
            write_file(path, "evil", place)
    assert tree(root) == before


def test_a_link_inside_is_followed(place: Place) -> None:
    (place.cwd / "short").symlink_to("README.md")
    assert write_file("short", "x", place)["path"] == named(place, "README.md")
    assert (place.cwd / "short").is_symlink() and (place.cwd / "README.md").read_text() == "x"


def test_a_second_name_of_an_outside_file_is_cut_off_not_written_through(place: Place) -> None:
    os.link(place.cwd.parent / "outside.txt", place.cwd / "hard.txt")
    write_file("hard.txt", "x", place)
    assert (place.cwd.parent / "outside.txt").read_text() == "outside"


@pytest.mark.parametrize("path", [".env", "deep/.ENV.local", "server.key", ".ssh/authorized_keys", ".aws/credentials", "id_rsa", "secrets.toml"])
def test_names_of_secrets_are_denied(place: Place, path: str) -> None:
    with pytest.raises(Denied, match=r"secrets are kept; tools do not write"):
        write_file(path, "x", place)
    assert sorted(os.listdir(place.cwd)) == ["README.md", "notes"]


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", ".git/config", ".git", "sub/.git/x", ".GIT/config", ".git./config", ".git /config", "git~1/config",
                                  ".g\u200cit/config", "．git/config", ".git::$INDEX_ALLOCATION/config"])
def test_git_folders_are_denied(place: Place, path: str) -> None:
    with pytest.raises(Denied, match=r"\.git folder"):
        write_file(path, "x", place)
    assert sorted(os.listdir(place.cwd)) == ["README.md", "notes"]


def test_a_harmless_name_that_links_into_git_is_denied(place: Place) -> None:
    (place.cwd / ".git" / "hooks").mkdir(parents=True)
    (place.cwd / "tools").symlink_to(".git/hooks")
    with pytest.raises(Denied, match=r"\.git folder"):
        write_file("tools/pre-commit", "x", place)


def test_names_that_only_look_a_little_like_git_are_written(place: Place) -> None:
    for path in (".gitignore", ".gitattributes", ".github/workflows/ci.yml", "git/x", "digit"):
        assert write_file(path, "x", place)["created"]


def test_the_suite_s_own_data_is_denied_even_before_it_is_there(place: Place) -> None:
    with pytest.raises(Denied, match="own data"):
        write_file("data/run/host.json", "x", place)
    assert write_file("data/mine.txt", "x", place)["created"]


def test_folders_and_odd_files_are_not_replaced(place: Place) -> None:
    os.mkfifo(place.cwd / "pipe")
    for path in ("notes", "notes/", ".", "new/", "pipe"):
        with pytest.raises(BadRequest, match=r"folder|pipe"):
            write_file(path, "x", place)
    with pytest.raises(BadRequest, match="not a folder"):
        write_file("README.md/x", "x", place)
    assert sorted(os.listdir(place.cwd)) == ["README.md", "notes", "pipe"]


def test_a_read_only_file_is_left_alone(place: Place) -> None:
    (place.cwd / "README.md").chmod(0o444)
    with pytest.raises(Denied, match="let this user write"):
        write_file("README.md", "x", place)
    assert (place.cwd / "README.md").read_text("utf-8") == "# 안녕\n"


def test_the_limit_counts_bytes_and_lets_the_limit_itself_pass(place: Place) -> None:
    assert write_file("big.txt", "a" * WRITE_LIMIT, place)["bytes"] == WRITE_LIMIT
    with pytest.raises(TooLarge, match=f"{WRITE_LIMIT}"):
        write_file("README.md", "가" * (WRITE_LIMIT // 3) + "ab", place)
    with pytest.raises(BadRequest, match="content"):
        check_arguments("write_file", files.WRITE_TOOLS[0].schema, {"path": "a", "content": "a" * (WRITE_LIMIT + 1)})
    assert (place.cwd / "README.md").read_text("utf-8") == "# 안녕\n"


def test_text_that_is_not_unicode_is_refused(place: Place) -> None:
    with pytest.raises(BadRequest, match="character 2"):
        write_file("README.md", "ab\ud800", place)


@pytest.mark.parametrize(("seam", "code", "kind"), [("fsync", errno.ENOSPC, ToolFailed), ("replace", errno.EACCES, Denied), ("fsync", errno.EIO, BadRequest)])
def test_a_failure_in_the_middle_leaves_what_was_there(place: Place, monkeypatch: pytest.MonkeyPatch, seam: str, code: int, kind: type) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    before = tree(place.cwd)
    monkeypatch.setattr(os, seam, fails)
    with pytest.raises(kind):
        write_file("README.md", "new", place)
    with pytest.raises(kind):
        write_file("other.txt", "new", place)
    monkeypatch.undo()
    assert tree(place.cwd) == before


def test_a_folder_swapped_for_a_link_after_the_check_is_not_entered(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = files.settle

    def settle_then_swap(*arguments: object, **options: object) -> Spot:
        spot = settled(*arguments, **options)  # type: ignore[arg-type]
        (place.cwd / "notes").rename(place.cwd / "old")
        (place.cwd / "notes").symlink_to(place.cwd.parent)
        return spot

    monkeypatch.setattr(files, "settle", settle_then_swap)
    before = outside(place)
    with pytest.raises(SuiteError):
        write_file("notes/outside.txt", "evil", place)
    assert outside(place) == before


def test_a_link_that_takes_the_file_s_place_meanwhile_never_writes_the_outside(place: Place) -> None:
    target, done = place.cwd / "swap.txt", threading.Event()
    spare = place.cwd / "spare"

    def swap() -> None:
        while not done.is_set():
            spare.symlink_to(place.cwd.parent / "outside.txt")
            os.replace(spare, target)
            spare.write_text("inside")
            os.replace(spare, target)

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = set()
    try:
        tries, until = 0, time.monotonic() + 60
        while (tries < 150 or outcomes != {"written", "refused"}) and time.monotonic() < until:
            tries += 1
            try:
                write_file("swap.txt", "evil", place)
                outcomes.add("written")
            except SuiteError:
                outcomes.add("refused")
    finally:
        done.set()
        thread.join(10)
    assert outcomes == {"written", "refused"} and (place.cwd.parent / "outside.txt").read_text() == "outside"


def test_readers_see_the_old_or_the_new_file_never_half_of_one(place: Place) -> None:
    one, two, done = "1" * 200_000, "2" * 200_000, threading.Event()
    write_file("whole.txt", one, place)
    seen = set()

    def look() -> None:
        while not done.is_set():
            seen.add((place.cwd / "whole.txt").read_text())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for n in range(40):
            write_file("whole.txt", two if n % 2 else one, place)
    finally:
        done.set()
        thread.join(10)
    assert seen <= {one, two}


def test_writing_leaves_no_descriptor_open(place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("README.md", "new/deep.txt", "notes", "../x", ".env", "README.md/x", ".git/x"):
        try:
            write_file(path, "x", place)
        except SuiteError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before
