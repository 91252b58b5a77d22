"""The file tools read the workspace and nothing else, however they are asked."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools_stage import Stage, set_stage

from suite.errors import BadRequest, Denied, NotFound, SuiteError
from suite.tools.builtin import files, paths


@pytest.fixture(params=["workspace", "further root"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose `workspace` is WORKSPACE_DIR, or a folder of WORKSPACE_ROOTS beside an empty WORKSPACE_DIR."""
    found = set_stage(tmp_path) if request.param == "workspace" else set_stage(tmp_path, **beside(tmp_path))
    yield found
    found.storage.close()


def beside(root: Path) -> dict[str, str]:
    """Settings under which the stage's workspace is a further root."""
    (root / "first").mkdir()
    return {"workspace_dir": str(root / "first"), "workspace_roots": str(root / "작업 공간")}


def place_of(stage: Stage, *private: Path) -> files.Place:
    further = stage.tools.workspace != stage.workspace
    return files.Place(stage.tools.workspace, stage.workspace, private, further=(stage.workspace,) if further else ())


def named(stage: Stage, path: str) -> str:
    """How a tool names what it found: in a further root by the whole path."""
    return path if stage.tools.workspace == stage.workspace else os.path.normpath(stage.workspace / path)


def read(stage: Stage, path: str, cwd: Path | None = None) -> dict:
    return stage.tools.call("read_file", {"path": path}, cwd=cwd or stage.workspace).value


def listed(stage: Stage, *path: str) -> dict:
    return stage.tools.call("list_files", {"path": path[0]} if path else {}, cwd=stage.workspace).value


def test_a_text_file_is_read_with_its_path_size_and_kind(stage: Stage) -> None:
    assert read(stage, "README.md") == {"path": named(stage, "README.md"), "content": "# 안녕\n", "size": 5, "bytes": 9, "type": ".md"}


def test_korean_names_and_absolute_paths_inside_work(stage: Stage) -> None:
    assert read(stage, "notes/회의록.txt")["content"] == "세 시에 만나요.\n"
    assert read(stage, str(stage.workspace / "notes" / "회의록.txt"))["path"] == named(stage, "notes/회의록.txt")
    assert read(stage, "notes/../README.md")["path"] == named(stage, "README.md")


def test_relative_paths_start_in_the_caller_s_folder_when_it_is_in_the_workspace(stage: Stage) -> None:
    assert read(stage, "회의록.txt", cwd=stage.workspace / "notes")["path"] == named(stage, "notes/회의록.txt")
    (stage.tools.workspace / "only-here.txt").write_text("x")
    assert read(stage, "only-here.txt", cwd=stage.root)["path"] == "only-here.txt", "else in WORKSPACE_DIR"
    with pytest.raises(NotFound):
        read(stage, "회의록.txt", cwd=stage.root)


@pytest.mark.parametrize("path", ["../outside.txt", "notes/../../outside.txt", "/etc/passwd", "/", "..", "../../../../../../etc/passwd",
                                  "//etc/passwd", "../no-such-file", "/proc/self/environ"])
def test_paths_out_of_the_workspace_are_denied_and_do_not_tell_what_exists(stage: Stage, path: str) -> None:
    with pytest.raises(Denied, match="out of the workspace"):
        read(stage, path)
    with pytest.raises(Denied, match="out of the workspace"):
        listed(stage, path)


def test_a_neighbour_whose_name_begins_like_the_workspace_is_outside(stage: Stage) -> None:
    neighbour = stage.workspace.with_name(stage.workspace.name + "2")
    neighbour.mkdir()
    (neighbour / "a.txt").write_text("x")
    with pytest.raises(Denied):
        read(stage, str(neighbour / "a.txt"))


def test_a_link_to_the_outside_is_denied(stage: Stage) -> None:
    (stage.workspace / "link.txt").symlink_to(stage.root / "outside.txt")
    (stage.workspace / "folder").symlink_to(stage.root)
    (stage.workspace / "chain").symlink_to("link.txt")
    for path in ("link.txt", "folder/outside.txt", "chain", "folder"):
        with pytest.raises(Denied):
            read(stage, path)
    with pytest.raises(Denied):
        listed(stage, "folder")


def test_a_link_inside_the_workspace_is_followed(stage: Stage) -> None:
    (stage.workspace / "short").symlink_to("notes")
    assert read(stage, "short/회의록.txt")["path"] == named(stage, "notes/회의록.txt")


def test_a_workspace_that_is_itself_a_link_works(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.txt").write_text("hello")
    (tmp_path / "door").symlink_to(real)
    place = files.Place(tmp_path / "door", tmp_path / "door")
    assert files.read_file("a.txt", place)["content"] == "hello"


def test_a_link_put_in_after_the_check_is_not_followed(stage: Stage) -> None:
    place = place_of(stage)
    (stage.root / "secret-folder").mkdir()
    (stage.root / "secret-folder" / "회의록.txt").write_text("outside")
    spot = paths.settle("notes/회의록.txt", place)
    (stage.workspace / "notes").rename(stage.workspace / "old")
    (stage.workspace / "notes").symlink_to(stage.root / "secret-folder")
    with pytest.raises(SuiteError), paths.open_folder(spot.root, spot.parts[:-1], "notes/회의록.txt"):
        raise AssertionError("the swapped folder was entered")
    (stage.workspace / "old" / "회의록.txt").unlink()
    (stage.workspace / "old" / "회의록.txt").symlink_to(stage.root / "outside.txt")
    with paths.open_folder(spot.root, ("old",), "old/회의록.txt") as folder, pytest.raises(SuiteError):
        files._content(folder, "회의록.txt", "old/회의록.txt")


def test_a_link_put_in_between_the_last_look_and_the_opening_is_not_followed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = os.open

    def swap_then_open(path: str, flags: int, *more: int, **options: int) -> int:
        if path == "README.md":
            (stage.workspace / "README.md").unlink()
            (stage.workspace / "README.md").symlink_to(stage.root / "outside.txt")
        return opening(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", swap_then_open)
    with pytest.raises(Denied, match="link"):
        files.read_file("README.md", place_of(stage))
    assert (stage.workspace / "README.md").is_symlink()


def test_links_in_a_circle_are_one_sentence(stage: Stage) -> None:
    (stage.workspace / "a").symlink_to("b")
    (stage.workspace / "b").symlink_to("a")
    with pytest.raises(SuiteError, match="circle"):
        read(stage, "a")


@pytest.mark.parametrize("path", ["README.md\0.txt", "\0", "a" * 300, "a/" * 1500 + "b", "\udc80"])
def test_impossible_names_are_refused_in_one_sentence(stage: Stage, path: str) -> None:
    with pytest.raises((BadRequest, NotFound)):
        read(stage, path)


def test_a_path_over_the_limit_or_empty_names_the_argument(stage: Stage) -> None:
    for path in ("a" * 5000, ""):
        with pytest.raises(BadRequest, match="'path'"):
            read(stage, path)


def test_a_folder_is_not_a_file_and_a_file_is_not_a_folder(stage: Stage) -> None:
    with pytest.raises(BadRequest, match="a folder"):
        read(stage, "notes")
    with pytest.raises(BadRequest, match="a folder"):
        read(stage, ".")
    with pytest.raises(BadRequest, match="not a folder"):
        listed(stage, "README.md")
    with pytest.raises(BadRequest, match="not a folder"):
        read(stage, "README.md/x")


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_without_waiting_for_a_writer(stage: Stage) -> None:
    os.mkfifo(stage.workspace / "pipe")
    with pytest.raises(BadRequest, match="a pipe"):
        read(stage, "pipe")


def test_a_socket_and_a_device_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stage.workspace)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        with pytest.raises(BadRequest, match="a socket"):
            read(stage, "sock")
    place = files.Place(Path("/dev"), Path("/dev"))
    with pytest.raises(BadRequest, match="a device"):
        files.read_file("zero", place)


def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not(stage: Stage) -> None:
    (stage.workspace / "big.txt").write_bytes(b"a" * files.READ_LIMIT)
    assert read(stage, "big.txt")["size"] == files.READ_LIMIT
    with (stage.workspace / "big.txt").open("ab") as stream:
        stream.write(b"a")
    with pytest.raises(BadRequest, match=str(files.READ_LIMIT)):
        read(stage, "big.txt")


@pytest.mark.parametrize("data", [b"ab\0cd", "한글".encode("cp949"), b"\x89PNG\r\n\xff"])
def test_what_is_not_text_is_refused_in_one_sentence(stage: Stage, data: bytes) -> None:
    (stage.workspace / "data.bin").write_bytes(data)
    with pytest.raises(BadRequest, match="binary"):
        read(stage, "data.bin")


@pytest.mark.parametrize("name", [".env", ".env.local", "prod.env", ".ENV", ".ssh/config", "server.key", "SERVER.PEM", "id_rsa", "id_ed25519.pub",
                                  ".netrc", "access.token", "deep/.aws/credentials"])
def test_files_that_hold_secrets_are_denied(stage: Stage, name: str) -> None:
    file = stage.workspace / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("secret")
    with pytest.raises(Denied, match="secrets"):
        read(stage, name)


def test_a_harmless_name_that_links_to_a_secret_is_denied(stage: Stage) -> None:
    (stage.workspace / ".env").write_text("secret")
    (stage.workspace / "harmless.txt").symlink_to(".env")
    with pytest.raises(Denied, match="secrets"):
        read(stage, "harmless.txt")


def test_names_that_only_look_a_little_like_secrets_are_read(stage: Stage) -> None:
    for name in ("environment.yml", "keynote.md", "administrator.txt", "ideas.md", ".gitignore"):
        (stage.workspace / name).write_text("fine")
        assert read(stage, name)["content"] == "fine"


def test_the_suite_s_own_data_is_not_shown_even_inside_the_workspace(stage: Stage) -> None:
    for folder in ("run", "sqlite"):
        own = stage.workspace / "data" / folder
        own.mkdir(parents=True)
        (own / "x.txt").write_text("private")
        place = place_of(stage, own)
        with pytest.raises(Denied, match="own data"):
            files.read_file(f"data/{folder}/x.txt", place)
        with pytest.raises(Denied, match="own data"):
            files.list_files(place, f"data/{folder}")


def test_a_folder_is_listed_by_name_with_folders_marked(stage: Stage) -> None:
    (stage.workspace / "link").symlink_to(stage.root)
    value = listed(stage, ".")
    assert value == {"path": named(stage, "."), "files": ["README.md", "link", "notes/"], "count": 3, "left_out": 0}
    assert listed(stage) == value


def test_a_long_listing_is_cut_and_says_so(stage: Stage) -> None:
    many = stage.workspace / "many"
    many.mkdir()
    for n in range(files.LIST_LIMIT + 3):
        (many / f"{n:05}").touch()
    value = listed(stage, "many")
    assert len(value["files"]) == files.LIST_LIMIT and value["count"] == files.LIST_LIMIT + 3 and value["left_out"] == 3


def test_a_name_in_another_encoding_is_listed_not_a_crash(stage: Stage) -> None:
    (stage.workspace / "notes" / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert "caf\ufffd.txt" in listed(stage, "notes")["files"]


def test_reading_leaves_no_descriptor_open(stage: Stage) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("README.md", "notes", "../x", "none", "notes/none", "README.md/x"):
        for tool in (files.read_file, lambda path, place: files.list_files(place, path)):
            try:
                tool(path, place_of(stage))
            except SuiteError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_swapped_in_while_reading_never_shows_the_outside(stage: Stage) -> None:
    place, target, done = place_of(stage), stage.workspace / "swap.txt", threading.Event()
    target.write_text("inside")
    spare = stage.workspace / "spare"

    def swap() -> None:
        while not done.is_set():
            spare.symlink_to(stage.root / "outside.txt")
            os.replace(spare, target)
            spare.write_text("inside")
            os.replace(spare, target)

    thread = threading.Thread(target=swap)
    thread.start()
    seen: set[str] = set()
    try:
        tries, until = 0, time.monotonic() + 60
        while (tries < 400 or not {"inside", "refused"} <= seen) and time.monotonic() < until:
            tries += 1
            try:
                seen.add(files.read_file("swap.txt", place)["content"])
            except SuiteError:
                seen.add("refused")
    finally:
        done.set()
        thread.join(10)
    assert "inside" in seen and "refused" in seen  # both states were met, and nothing but them
    assert seen <= {"inside", "refused", ""}
