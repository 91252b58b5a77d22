"""WORKSPACE_ROOTS: which folders may be named, and tools over two roots that lie apart: nothing but the two, whichever way a path goes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_git_tools import plain, repository
from tools_stage import Stage, open_stage, set_stage

from suite.errors import BadRequest, Denied, NotFound, NotReady, SettingsError, SuiteError
from suite.settings import load
from suite.tools.builtin import files, git
from suite.tools.roots import further_roots
from suite.tools.tool import NOBODY, Place

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A workspace, and a further root `second` with a file in it."""
    (tmp_path / "second" / "notes").mkdir(parents=True)
    (tmp_path / "second" / "둘째.txt").write_text("two\n", encoding="utf-8")
    found = set_stage(tmp_path, workspace_roots=str(tmp_path / "second"))
    for tool in (*files.WRITE_TOOLS, *git.git_tools()):
        found.tools.register(tool)
    yield found
    found.storage.close()


def place(stage: Stage) -> Place:
    return Place(stage.workspace, stage.workspace, (stage.root / "data" / "run",), further=(stage.root / "second",))


# ---- which folders may be named ----


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("work/inner", "data/run", "home/me/projects", "other/inner", "third"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "door").symlink_to("work")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    return tmp_path


def roots(folders: Path, *names: str) -> tuple[Path, ...]:
    setting = load({"workspace_roots": os.pathsep.join(str(folders / name) for name in names)}, {}, folders).workspace_roots
    return further_roots(setting, folders / "work", folders / "data")


def test_folders_apart_from_each_other_are_taken_with_their_links_resolved(folders: Path) -> None:
    (folders / "link").symlink_to("other")
    assert roots(folders, "link", "third", "home/me/projects") == (folders / "other", folders / "third", folders / "home/me/projects")
    assert further_roots("", folders / "work", folders / "data") == further_roots(" : ", folders / "work", folders / "data") == ()
    assert roots(folders, "other-not/../third") == (folders / "third",)


def test_relative_ones_and_the_home_directory_are_settled_when_they_are_read(folders: Path) -> None:
    assert load({"workspace_roots": "third:~/projects"}, {}, folders).workspace_roots == f"{folders}/third:{folders}/home/me/projects"


@pytest.mark.parametrize(("names", "said"), [
    (["none"], "none', which is not a folder; make it"), (["file"], "file', which is not a folder"),
    (["/"], "names '/', which is or holds the home directory or is all of the machine"), (["home/me"], "holds the home directory"), (["home"], "holds the home directory"),
    ([""], "holds the home directory"), (["data"], "DATA_DIR or lies in it"), (["data/run"], "DATA_DIR or lies in it"),
    (["work"], "lies in '.*work', where tools may work already"), (["work/inner"], "lies in '.*work'"), (["door"], "lies in '.*work'"), (["door/inner"], "lies in '.*work'"),
    (["other", "other"], "lies in '.*other'"), (["other", "other/inner"], "lies in '.*other'"), (["other/inner", "other"], "holds '.*other/inner', .* only one"),
    (["third", "none"], "none', which is not a folder"), (["third\0"], "no path in UTF-8"), (["\udc80"], "no path in UTF-8"),
])
def test_what_is_no_root_is_one_sentence(folders: Path, names: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        roots(folders, *names)
    assert str(caught.value).startswith("WORKSPACE_ROOTS names ") and "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_folder_that_holds_the_data_directory_but_not_the_home_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "big" / "data").mkdir(parents=True)
    with pytest.raises(SettingsError, match="holds DATA_DIR"):
        further_roots(str(folders / "big"), folders / "work", folders / "big" / "data")


@pytest.mark.parametrize("home", ["/", os.fsdecode(b"/caf\xe9"), "/nowhere"])
def test_whatever_the_home_directory_is_all_of_the_machine_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    assert roots(folders, "third") == (folders / "third",)
    with pytest.raises(SettingsError, match="all of the machine"):
        roots(folders, "/")


def test_a_root_that_cannot_be_one_keeps_the_tools_from_working_and_says_why(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, workspace_roots=str(tmp_path / "none"))
    with pytest.raises(NotReady) as caught:
        stage.tools.call("list_files")
    for seen in (str(stage.tools.ready().reasons), str(caught.value)):
        assert "WORKSPACE_ROOTS names" in seen and "none', which is not a folder" in seen
    (tmp_path / "none").mkdir()
    stage.tools.start()
    assert stage.tools.ready().ok and stage.tools.call("list_files", {"path": str(tmp_path / "none")}).value["count"] == 0
    stage.storage.close()


def test_a_root_that_goes_away_is_told_and_the_others_work(stage: Stage) -> None:
    assert stage.tools.ready().ok
    shutil.rmtree(stage.root / "second")
    state = stage.tools.ready()
    assert not state.ok and f"The folder {stage.root / 'second'} of WORKSPACE_ROOTS is gone" in state.reasons[0]
    assert stage.tools.call("read_file", {"path": "README.md"}).value["size"] == 5
    for tool, arguments in (("read_file", {}), ("list_files", {}), ("git_status", {})):
        with pytest.raises((NotFound, BadRequest), match=r"There is no|no git repository"):
            stage.tools.call(tool, {"path": str(stage.root / "second" / "둘째.txt"), **arguments})
    with pytest.raises(NotFound):
        files.write_file(str(stage.root / "second" / "x.txt"), "x", place(stage))
    assert not (stage.root / "second").exists(), "a root is never made"


# ---- two roots ----


def test_absolute_paths_work_in_each_root_and_relative_ones_start_in_the_first(stage: Stage) -> None:
    second = stage.root / "second"
    told = stage.tools.call("read_file", {"path": str(second / "둘째.txt")}).value
    assert (told["path"], told["content"]) == (str(second / "둘째.txt"), "two\n")
    assert stage.tools.call("read_file", {"path": told["path"]}).value == told, "what is told can be asked for again"
    assert stage.tools.call("list_files", {"path": str(second)}).value == {"path": str(second), "files": ["notes/", "둘째.txt"], "count": 2, "left_out": 0}
    assert files.write_file(str(second / "new" / "x.txt"), "x", place(stage)) == {"path": str(second / "new" / "x.txt"), "size": 1, "bytes": 1, "created": True}
    assert (second / "new" / "x.txt").read_text() == "x"
    with pytest.raises(NotFound):
        stage.tools.call("read_file", {"path": "둘째.txt"})
    assert stage.tools.call("read_file", {"path": str(stage.workspace / "README.md")}).value["path"] == "README.md"
    assert stage.tools.call("read_file", {"path": "../second/둘째.txt"}).value == told, "a way out that leads into the other is none"


def test_a_caller_whose_folder_is_in_a_further_root_starts_there(stage: Stage) -> None:
    second = stage.root / "second"
    assert stage.tools.call("read_file", {"path": "둘째.txt"}, cwd=second).value["size"] == 4
    assert stage.tools.call("read_file", {"path": "../둘째.txt"}, cwd=second / "notes").value["size"] == 4
    assert stage.tools.call("list_files", cwd=stage.root).value["path"] == ".", "who is outside of both starts in the first"
    (stage.root / "door").symlink_to(second)
    assert stage.tools.call("list_files", cwd=stage.root / "door").value["path"] == str(second)


def test_a_link_from_one_root_into_the_other_is_followed_and_one_out_of_both_is_denied(stage: Stage) -> None:
    second = stage.root / "second"
    (stage.workspace / "over").symlink_to(second)
    (second / "back").symlink_to(stage.workspace)
    (second / "out").symlink_to(stage.root)
    (stage.workspace / "chain").symlink_to(second / "out")
    assert stage.tools.call("read_file", {"path": "over/둘째.txt"}).value["path"] == str(second / "둘째.txt")
    assert stage.tools.call("read_file", {"path": str(second / "back" / "over" / "back" / "README.md")}).value["path"] == "README.md"
    for path in ("chain/outside.txt", "over/out/outside.txt", str(second / "out" / "outside.txt"), "chain"):
        with pytest.raises(Denied, match="leads out of the workspace"):
            stage.tools.call("read_file", {"path": path})
        with pytest.raises(Denied, match="leads out of the workspace"):
            files.write_file(path, "evil", place(stage))
    assert (stage.root / "outside.txt").read_text() == "outside"


def test_what_is_denied_is_told_with_the_roots_that_there_are(stage: Stage) -> None:
    with pytest.raises(Denied) as caught:
        stage.tools.call("read_file", {"path": "/etc/passwd"})
    assert f"leads out of the workspace ({stage.workspace}, {stage.root / 'second'}); name a file inside of it." in str(caught.value)


def test_a_neighbour_whose_name_begins_like_a_root_is_outside(stage: Stage) -> None:
    (stage.root / "second2").mkdir()
    (stage.root / "second2" / "a.txt").write_text("x")
    with pytest.raises(Denied):
        stage.tools.call("read_file", {"path": str(stage.root / "second2" / "a.txt")})


def test_the_suite_s_own_data_is_denied_by_way_of_each_root(stage: Stage) -> None:
    (stage.root / "data" / "run").mkdir()
    (stage.root / "data" / "run" / "token").write_text("hunter2")
    (stage.root / "second" / "link").symlink_to(stage.root / "data" / "run")
    with pytest.raises(Denied):
        stage.tools.call("read_file", {"path": str(stage.root / "second" / "link" / "token")})
    own = replace(place(stage), private=(stage.root / "second" / "notes",))
    with pytest.raises(Denied, match="own data"):
        files.write_file(str(stage.root / "second" / "notes" / "x"), "x", own)


def test_a_root_that_was_swapped_for_a_link_after_the_start_leads_nowhere(stage: Stage) -> None:
    second = stage.root / "second"
    second.rename(stage.root / "moved")
    second.symlink_to("/etc")
    for path in (second / "passwd", Path("/etc/passwd")):
        with pytest.raises(Denied):
            stage.tools.call("read_file", {"path": str(path)})
    with pytest.raises(Denied):
        stage.tools.call("list_files", {"path": str(second)})


def test_a_root_swapped_between_the_check_and_the_opening_is_not_entered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    second, settled = stage.root / "second", files.settle
    (stage.root / "elsewhere").mkdir()
    (stage.root / "elsewhere" / "둘째.txt").write_text("hunter2")

    def settle_then_swap(*arguments: Any, **options: Any) -> Any:
        spot = settled(*arguments, **options)
        second.rename(stage.root / "moved")
        second.symlink_to(stage.root / "elsewhere")
        return spot

    monkeypatch.setattr(files, "settle", settle_then_swap)
    with pytest.raises(SuiteError) as caught:
        files.read_file(str(second / "둘째.txt"), place(stage))
    assert "hunter2" not in str(caught.value)


# ---- git over two roots ----


@needs_git
def test_repositories_of_each_root_are_worked_on_by_absolute_paths(stage: Stage) -> None:
    second = repository(stage.root / "second")
    repository(stage.workspace)
    (second / "b.txt").write_text("b\n")
    here = place(stage)
    assert git.git_status(here, NOBODY, str(second))["path"] == str(second)
    assert git.git_add([str(second / "b.txt")], here, NOBODY)["added"] == ["b.txt"]
    assert "+b" in git.git_diff(replace(here, cwd=second), NOBODY, staged=True)["diff"]
    assert git.git_commit("zwei", here, NOBODY, path=str(second))["files"] == 1
    assert [commit["subject"] for commit in git.git_log(here, NOBODY, path=str(second))["commits"]] == ["zwei", "처음"]
    assert [commit["subject"] for commit in git.git_log(here, NOBODY)["commits"]] == ["처음"]
    assert stage.tools.call("git_log", {"path": str(second)}).value["commits"][0]["subject"] == "zwei"
    with pytest.raises(Denied, match="out of the workspace"):
        git.git_log(here, NOBODY, path=str(stage.root))
    with pytest.raises(Denied, match="out of the workspace"):
        git.git_commit("x", here, NOBODY, path="/etc")


@needs_git
def test_one_call_does_not_add_to_two_repositories(stage: Stage) -> None:
    repository(stage.workspace)
    second = repository(stage.root / "second")
    for folder in (stage.workspace, second):
        (folder / "same.txt").write_text("x")
    for paths in ([str(stage.workspace / "same.txt"), str(second / "same.txt")], [str(second / "same.txt"), "same.txt"]):
        with pytest.raises(BadRequest, match="two calls"):
            git.git_add(paths, place(stage), NOBODY)
    assert plain(stage.workspace, "diff", "--cached", "--name-only") == plain(second, "diff", "--cached", "--name-only") == ""


@needs_git
def test_a_repository_above_a_further_root_is_not_found(stage: Stage) -> None:
    repository(stage.root)
    with pytest.raises(BadRequest, match="git init"):
        git.git_status(place(stage), NOBODY, str(stage.root / "second"))


@needs_git
def test_a_worktree_in_one_root_of_a_repository_in_the_other_works(stage: Stage) -> None:
    second = repository(stage.root / "second")
    plain(second, "worktree", "add", "-q", str(stage.workspace / "tree"), "-b", "w")
    (stage.workspace / "tree" / "a.txt").write_text("two\n")
    assert git.git_status(place(stage), NOBODY, "tree")["branch"] == "w"
    assert "+two" in git.git_diff(place(stage), NOBODY, "tree/a.txt")["diff"]
    alone = replace(place(stage), further=())
    with pytest.raises(Denied, match="outside of the workspace"):
        git.git_status(alone, NOBODY, "tree")


# ---- whatever path is given ----

STEPS = st.sampled_from(["..", ".", "first", "second", "outside", "a", "deep", "over", "back", "out", "up", "data", ".env", "f.txt", "", "~", "%2e%2e", "second2"])
PATHS = st.tuples(st.sampled_from(["", "/", "{first}/", "{second}/", "{root}/", "//", "/proc/self/root{root}/", "/proc/self/cwd/"]), st.lists(STEPS, max_size=7))


@pytest.fixture(scope="module")
def maze() -> Iterator[Path]:
    """Two roots, a folder outside, links between all of them, and a file in each folder that says where it lies."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in ("first/a/deep", "second/a/deep", "outside/a", "second2", "second/data"):
            (root / name).mkdir(parents=True)
        for inner in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            (inner / "f.txt").write_text(str(inner.relative_to(root)))
            (inner / ".env").write_text("hunter2")
        for link, target in {"first/over": root / "second", "second/back": root / "first", "first/out": root / "outside", "second/a/up": root, "second/out": "../outside",
                             "outside/second": root / "second", "first/a/deep/over": "../../over/a"}.items():
            (root / link).symlink_to(target)
        yield root


@settings(max_examples=400, deadline=None)
@given(PATHS, st.sampled_from(["first", "second"]))
def test_whatever_path_is_given_only_files_of_the_roots_are_read_written_and_listed(maze: Path, path: tuple[str, list[str]], start: str) -> None:
    first, second = maze / "first", maze / "second"
    text = path[0].format(first=first, second=second, root=maze) + "/".join(path[1])
    here = Place(first, maze / start, (second / "data",), further=(second,))
    real = Path(os.path.realpath(here.cwd / text))
    allowed = any(real.is_relative_to(root) for root in (first, second)) and not real.is_relative_to(second / "data") and ".env" not in real.parts
    for tool in (files.read_file, lambda path, place: files.list_files(place, path)):
        try:
            told = tool(text, here)
        except SuiteError as error:
            assert isinstance(error, Denied) or allowed, "what is not allowed is denied, and nothing else is told of it"
            assert not isinstance(error, Denied) or not allowed
        else:
            assert allowed and os.path.samefile(first / told["path"], real)
            assert "content" not in told or told["content"] == str(real.parent.relative_to(maze))
    before = {file: file.read_bytes() for file in maze.rglob("*") if file.is_file() and not file.is_symlink()}
    try:
        told = files.write_file(text, "written", here)
    except SuiteError as error:
        assert isinstance(error, Denied) is not allowed
        changed = before
    else:
        assert allowed and os.path.realpath(first / told["path"]) == str(real)
        changed = {**before, real: b"written"}
    try:
        assert {file: file.read_bytes() for file in maze.rglob("*") if file.is_file() and not file.is_symlink()} == changed
    finally:
        if real in before:
            real.write_bytes(before[real])
        elif changed is not before:
            real.unlink()


def test_the_setting_reaches_a_stage_and_its_schemas_say_so(stage: Stage) -> None:
    described = stage.tools.info("read_file")["inputSchema"]["properties"]["path"]["description"]
    assert "further root" in described
    again = open_stage(stage.root, workspace_roots="")
    with pytest.raises(Denied):
        again.tools.call("read_file", {"path": str(stage.root / "second" / "둘째.txt")})
    again.storage.close()
