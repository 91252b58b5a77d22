"""The git tools on real repositories, hostile ones too: nothing of a repository runs, and nothing outside of the workspace is shown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tools_stage import set_stage

from suite.errors import BadRequest, Denied, NotFound, SuiteError, TimedOut, ToolFailed
from suite.tools.builtin import git as tools
from suite.tools.builtin import repository as repositories
from suite.tools.builtin.program import run_program
from suite.tools.tool import NOBODY, Place, Watch

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
LOCAL = {"PATH": os.defpath, "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "사람", "GIT_AUTHOR_EMAIL": "p@x.test",
         "GIT_COMMITTER_NAME": "사람", "GIT_COMMITTER_EMAIL": "p@x.test", "LC_ALL": "C.UTF-8"}


def plain(folder: Path, *arguments: str, check: bool = True) -> str:
    """git as a person runs it."""
    return subprocess.run(["git", *arguments], cwd=folder, env=LOCAL, check=check, capture_output=True, text=True).stdout


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    plain(folder, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one\n")
    plain(folder, "add", "a.txt")
    plain(folder, "commit", "-q", "-m", "처음\n\n몸통")
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "작업 공간")


@pytest.fixture(autouse=True, params=["workspace", "further root"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with its folder as the workspace, and as a further root beside an empty workspace."""
    monkeypatch.setitem(globals(), "FIRST", None if request.param == "workspace" else tmp_path_factory.mktemp("first"))


FIRST: Path | None = None


def at(folder: Path, root: Path | None = None, *private: Path) -> Place:
    root = root or folder
    return Place(root, folder, private) if FIRST is None else Place(FIRST, folder, private, further=(root,))


def named(root: Path, path: str) -> str:
    """How a tool names a repository: in a further root by the whole path."""
    return path if FIRST is None else str(root / path)


def every_tool(place: Place) -> dict[str, object]:
    """What each tool gives, or the error that it raises."""
    given: dict[str, object] = {}
    calls: dict[str, Callable[[], object]] = {
        "status": lambda: tools.git_status(place, NOBODY), "diff": lambda: tools.git_diff(place, NOBODY),
        "staged": lambda: tools.git_diff(place, NOBODY, staged=True), "log": lambda: tools.git_log(place, NOBODY, oneline=False),
        "add": lambda: tools.git_add(["."], place, NOBODY), "commit": lambda: tools.git_commit("x", place, NOBODY, add_all=True)}
    for name, call in calls.items():
        try:
            given[name] = call()
        except SuiteError as error:
            given[name] = error
    return given


def test_what_changed_is_told_added_shown_and_committed(work: Path) -> None:
    (work / "a.txt").write_text("two\n")
    (work / "새 파일.txt").write_text("x\n")
    status = tools.git_status(at(work), NOBODY)
    assert status["branch"] == "main" and not status["clean"] and status["count"] == 2
    assert {"path": "a.txt", "index": " ", "worktree": "M", "previous": ""} in status["changes"]
    assert {"path": "새 파일.txt", "index": "?", "worktree": "?", "previous": ""} in status["changes"]
    diff = tools.git_diff(at(work), NOBODY)
    assert "-one\n+two\n" in diff["diff"] and diff["files"] == 1 and not diff["cut"]
    assert tools.git_add(["a.txt", "새 파일.txt"], at(work), NOBODY) == {"added": ["a.txt", "새 파일.txt"], "count": 2, "withheld": []}
    assert tools.git_diff(at(work), NOBODY)["diff"] == "" and "+++ b/새 파일.txt" in tools.git_diff(at(work), NOBODY, staged=True)["diff"]
    made = tools.git_commit("둘\n\n# 이유\n", at(work), NOBODY)
    assert made["subject"] == "둘" and made["files"] == 2 and made["branch"] == "main"
    assert plain(work, "log", "-1", "--format=%H|%an|%ce|%B").strip() == f"{made['id']}|Local AI Suite|suite@localhost|둘\n\n# 이유"
    assert tools.git_status(at(work), NOBODY)["clean"]


def test_the_log_gives_commits_with_and_without_their_bodies(work: Path) -> None:
    (work / "a.txt").write_text("2")
    plain(work, "commit", "-qam", "second")
    first = tools.git_log(at(work), NOBODY, oneline=False)["commits"]
    assert [(commit["subject"], commit["body"], commit["author"], commit["email"]) for commit in first] == [
        ("second", "", "사람", "p@x.test"), ("처음", "몸통", "사람", "p@x.test")]
    assert [commit["body"] for commit in tools.git_log(at(work), NOBODY)["commits"]] == ["", ""]
    assert [commit["id"] for commit in tools.git_log(at(work), NOBODY, max_count=1)["commits"]] == [plain(work, "rev-parse", "HEAD").strip()]


def test_the_repository_s_own_user_makes_the_commit(work: Path) -> None:
    plain(work, "config", "user.name", "김 개발")
    plain(work, "config", "user.email", "kim@x.test")
    (work / "b.txt").write_text("x")
    made = tools.git_commit("b", at(work), NOBODY, add_all=True)
    assert (made["author"], made["email"]) == ("김 개발", "kim@x.test")
    assert plain(work, "log", "-1", "--format=%an %ae %cn").strip() == "김 개발 kim@x.test 김 개발"


def test_through_the_tools_part_too(tmp_path: Path) -> None:
    stage = set_stage(tmp_path)
    repository(stage.workspace)
    for tool in tools.git_tools():
        stage.tools.register(tool)
    assert stage.tools.call("git_log", {}).value["commits"][0]["subject"] == "처음"
    with pytest.raises(BadRequest, match="1000"):
        stage.tools.call("git_log", {"max_count": 1001})
    stage.storage.close()


def test_a_deleted_a_renamed_and_an_executable_file(work: Path) -> None:
    (work / "tool.sh").write_text("x" * 100)
    tools.git_commit("tool", at(work), NOBODY, add_all=True)
    (work / "a.txt").unlink()
    (work / "tool.sh").rename(work / "other.sh")
    (work / "other.sh").chmod(0o755)
    assert tools.git_add(["."], at(work), NOBODY)["added"] == ["a.txt", "other.sh", "tool.sh"]
    changes = tools.git_status(at(work), NOBODY)["changes"]
    assert {"path": "other.sh", "index": "R", "worktree": " ", "previous": "tool.sh"} in changes
    tools.git_commit("moved", at(work), NOBODY)
    assert plain(work, "ls-files", "--stage").split()[0] == "100755" and plain(work, "ls-files").split() == ["other.sh"]


def test_a_new_repository_without_commits(tmp_path: Path) -> None:
    plain(tmp_path, "init", "-q", "-b", "trunk")
    assert tools.git_log(at(tmp_path), NOBODY) == {"commits": [], "count": 0, "cut": False}
    assert tools.git_status(at(tmp_path), NOBODY)["branch"] == "trunk"
    with pytest.raises(BadRequest, match="Nothing is staged"):
        tools.git_commit("x", at(tmp_path), NOBODY)
    (tmp_path / "x").write_text("x")
    assert tools.git_add(["x"], at(tmp_path), NOBODY)["count"] == 1 and "+x" in tools.git_diff(at(tmp_path), NOBODY, staged=True)["diff"]
    assert tools.git_commit("x", at(tmp_path), NOBODY)["files"] == 1


def test_a_folder_of_the_workspace_and_a_repository_below_it(tmp_path: Path) -> None:
    project = repository(tmp_path / "projects" / "one")
    (project / "sub").mkdir()
    (project / "sub" / "b.txt").write_text("b")
    (project / "c.txt").write_text("c")
    assert [change["path"] for change in tools.git_status(at(tmp_path), NOBODY, "projects/one/sub")["changes"]] == ["sub/"]
    assert tools.git_add(["projects/one/sub"], at(tmp_path), NOBODY)["added"] == ["sub/b.txt"]
    assert tools.git_add(["b.txt"], at(project / "sub", tmp_path), NOBODY)["added"] == []
    assert tools.git_status(at(project / "sub", tmp_path), NOBODY)["path"] == named(tmp_path, "projects/one")
    other = repository(tmp_path / "projects" / "two")
    (other / "d.txt").write_text("d")
    with pytest.raises(BadRequest, match="two calls"):
        tools.git_add(["projects/one/c.txt", "projects/two/d.txt"], at(tmp_path), NOBODY)


def test_what_is_no_repository_is_refused_with_the_next_step(tmp_path: Path) -> None:
    repository(tmp_path)  # above the workspace: not to be found
    workspace = tmp_path / "inside"
    workspace.mkdir()
    for given in every_tool(at(workspace)).values():
        assert isinstance(given, BadRequest) and "git init" in str(given)
    (workspace / ".git").mkdir()
    for given in every_tool(at(workspace)).values():
        assert isinstance(given, BadRequest) and "not a whole repository" in str(given)


def test_a_bare_repository_that_looks_like_a_folder_is_none(tmp_path: Path) -> None:
    plain(tmp_path, "init", "-q", "--bare", "evil")
    with pytest.raises(BadRequest, match="git init"):
        tools.git_status(at(tmp_path), NOBODY, "evil")


NAMES = ["--output=x", "-rf", "--", "a\nb.txt", "회의 록.txt", ":(exclude)*", ":", "*", "'q'\"", "$(touch x)", "tab\there", "\\", "HEAD", "main", "@{0}", ".gitignore"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_never_an_option_or_a_pattern(work: Path, name: str) -> None:
    (work / name).write_text("# first\n")
    (work / "bystander.txt").write_text("x\n")
    before = set(os.listdir(work))
    assert tools.git_add([name], at(work), NOBODY)["added"] == [name]
    assert plain(work, "diff", "--cached", "--name-only", "-z").split("\0")[:-1] == [name]
    tools.git_commit("--amend", at(work), NOBODY)
    (work / name).write_text("# second\n")
    (work / "a.txt").write_text("changed\n")
    diff = tools.git_diff(at(work), NOBODY, name)
    assert diff["files"] == 1 and "+# second" in diff["diff"] and "changed" not in diff["diff"]
    assert name in [change["path"] for change in tools.git_status(at(work), NOBODY)["changes"]]
    assert set(os.listdir(work)) == before and plain(work, "rev-list", "--count", "HEAD", "--").strip() == "2"


def test_a_name_in_another_encoding_is_shown_and_added(work: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.txt")
    (work / odd).write_text("x")
    assert tools.git_status(at(work), NOBODY)["changes"][0]["path"] == "caf\ufffd.txt"
    assert tools.git_add(["."], at(work), NOBODY)["added"] == ["caf\ufffd.txt"]


@pytest.mark.parametrize("path", ["../x", "/etc", "//etc", "..", ".git/config", ".git", "sub/../../x", "%2e%2e/../../y"])
def test_paths_out_of_the_workspace_and_into_git_are_denied(work: Path, path: str) -> None:
    for call in (lambda: tools.git_status(at(work), NOBODY, path), lambda: tools.git_diff(at(work), NOBODY, path),
                 lambda: tools.git_add(["a.txt", path], at(work), NOBODY), lambda: tools.git_add([path], at(work), NOBODY)):
        with pytest.raises(SuiteError):
            call()


def test_names_that_are_not_there_or_ignored_are_told(work: Path) -> None:
    (work / ".gitignore").write_text("*.log\n")
    (work / "x.log").write_text("x")
    with pytest.raises(NotFound, match=r"none\.txt"):
        tools.git_add(["none.txt"], at(work), NOBODY)
    with pytest.raises(NotFound, match=r"none\.txt"):
        tools.git_diff(at(work), NOBODY, "none.txt")
    with pytest.raises(BadRequest, match="ignored"):
        tools.git_add(["x.log"], at(work), NOBODY)
    assert tools.git_add(["a.txt"], at(work), NOBODY)["added"] == []
    for paths in ([], ["a"] * 1001):
        with pytest.raises(BadRequest, match="1000"):
            tools.git_add(paths, at(work), NOBODY)


@pytest.mark.parametrize("message", [" ", "\n\t", "a\0b", "a\ud800"])
def test_a_message_that_says_nothing_is_refused(work: Path, message: str) -> None:
    (work / "a.txt").write_text("2")
    with pytest.raises(BadRequest, match="message"):
        tools.git_commit(message, at(work), NOBODY, add_all=True)


# ---- secrets and the suite's own data ----


def test_secrets_are_neither_added_nor_shown(work: Path) -> None:
    for name in (".env", "server.key", "deep/.aws/credentials"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("hunter2\n")
    (work / "fine.txt").write_text("x\n")
    assert tools.git_add(["."], at(work), NOBODY) == {"added": ["fine.txt"], "count": 1, "withheld": [".env", "deep/.aws/credentials", "server.key"]}
    for name in (".env", "deep/.aws/credentials"):
        with pytest.raises(Denied, match="secrets"):
            tools.git_add([name], at(work), NOBODY)
        with pytest.raises(Denied, match="secrets"):
            tools.git_diff(at(work), NOBODY, name)
    tools.git_commit("x", at(work), NOBODY, add_all=True)
    assert plain(work, "ls-files").split() == ["a.txt", "fine.txt"]


def test_a_secret_that_a_person_committed_is_not_shown_changed_nor_renamed(work: Path) -> None:
    (work / ".env").write_text("hunter2\n" * 20)
    plain(work, "add", ".env")
    assert "hunter2" in plain(work, "diff", "--cached")
    diff = tools.git_diff(at(work), NOBODY, staged=True)
    assert diff["diff"] == "" and diff["withheld"] == 1
    status = tools.git_status(at(work), NOBODY)
    assert status["changes"] == [] and status["withheld"] == 1 and not status["clean"]
    with pytest.raises(Denied, match=r"\.env"):
        tools.git_commit("x", at(work), NOBODY)
    plain(work, "commit", "-qm", "env")
    (work / ".env").write_text("hunter3\n")
    assert tools.git_diff(at(work), NOBODY)["diff"] == "" and tools.git_diff(at(work), NOBODY)["withheld"] == 1


def test_the_suite_s_own_data_is_neither_added_nor_shown(work: Path) -> None:
    own = work / "data" / "run"
    own.mkdir(parents=True)
    (own / "token").write_text("hunter2\n")
    plain(work, "add", "data")
    place = at(work, work, own)
    assert tools.git_diff(place, NOBODY, staged=True)["diff"] == ""
    plain(work, "rm", "-q", "--cached", "-r", "data")
    assert tools.git_add(["."], place, NOBODY) == {"added": [], "count": 0, "withheld": ["data/run/token"]}


# ---- repositories that are not wholly here ----


def lead_out(work: Path, how: str) -> None:
    """Make the repository at `work` keep some of its data in a repository outside."""
    outside = repository(work.parent / "outside")
    (outside / "secret.txt").write_text("hunter2\n")
    plain(outside, "add", ".")
    plain(outside, "commit", "-qm", "hunter2")
    if how == "linked worktree":
        shutil.rmtree(work)
        plain(outside, "worktree", "add", "-q", str(work), "-b", "w")
        return
    if how in (".git file", ".git link"):
        shutil.rmtree(work / ".git")
        if how == ".git file":
            (work / ".git").write_text(f"gitdir: {outside / '.git'}\n")
        else:
            (work / ".git").symlink_to(outside / ".git")
    if how == "commondir":
        (work / ".git" / "commondir").write_text(str(outside / ".git"))
    if how == "alternates":
        (work / ".git" / "objects" / "info").mkdir(exist_ok=True)
        (work / ".git" / "objects" / "info" / "alternates").write_text(f"{outside / '.git' / 'objects'}\n")
        (work / ".git" / "refs" / "heads" / "main").write_text(plain(outside, "rev-parse", "HEAD"))
    if how in ("objects", "refs", "config"):
        inner = work / ".git" / how
        shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
        inner.symlink_to(outside / ".git" / how)


@pytest.mark.parametrize("how", ["linked worktree", ".git file", ".git link", "commondir", "alternates", "objects", "refs", "config"])
def test_a_repository_that_keeps_data_outside_is_denied(work: Path, how: str) -> None:
    lead_out(work, how)
    for name, given in every_tool(at(work)).items():
        assert isinstance(given, Denied) and "outside of the workspace" in str(given), (name, given)


def test_a_working_tree_set_outside_is_not_looked_at(work: Path) -> None:
    outside = work.parent / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("hunter2\n")
    plain(work, "config", "core.worktree", str(outside))
    assert "hunter2" in plain(work, "diff")
    (work / "a.txt").write_text("mine\n")
    given = every_tool(at(work))
    assert "hunter2" not in str(given) and "mine" in str(given["diff"])


def test_a_worktree_inside_the_workspace_works(work: Path) -> None:
    plain(work, "worktree", "add", "-q", "tree", "-b", "w")
    (work / "tree" / "a.txt").write_text("two\n")
    assert tools.git_status(at(work), NOBODY, "tree")["branch"] == "w"
    assert "+two" in tools.git_diff(at(work), NOBODY, "tree/a.txt")["diff"]
    assert tools.git_commit("w", at(work / "tree", work), NOBODY, add_all=True)["branch"] == "w"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_repository_of_another_user_is_denied(work: Path) -> None:
    os.chown(work / ".git", 12345, 12345)
    with pytest.raises(Denied, match="another user"):
        tools.git_status(at(work), NOBODY)


def test_a_folder_swapped_for_a_link_after_the_check_shows_nothing_of_the_outside(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, outside = repository(work / "inner"), repository(work.parent / "outside")
    (inner / "a.txt").write_text("inside\n")
    (outside / "a.txt").write_text("hunter2\n")
    silence = repositories._silence

    def swap_then_silence(repository: repositories.Repository) -> None:
        inner.rename(work / "moved")
        inner.symlink_to(outside)
        silence(repository)

    monkeypatch.setattr(repositories, "_silence", swap_then_silence)
    diff = tools.git_diff(at(work), NOBODY, "inner/a.txt")
    assert "+inside" in diff["diff"] and "hunter2" not in diff["diff"]


def test_links_in_the_working_tree_are_stored_not_followed(work: Path) -> None:
    (work.parent / "outside.txt").write_text("hunter2")
    (work / "link").symlink_to(work.parent / "outside.txt")
    (work / "door").symlink_to(work.parent)
    assert tools.git_add(["link", "door"], at(work), NOBODY)["added"] == ["door", "link"]
    assert "hunter2" not in tools.git_diff(at(work), NOBODY, staged=True)["diff"]
    with pytest.raises(Denied):
        tools.git_add(["door/outside.txt"], at(work), NOBODY)


# ---- repositories that want to run something ----


def arm(work: Path, marker: Path) -> None:
    """Put into a repository everything by which git could be made to run `marker`'s program."""
    program = work.parent / "evil.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $@" >> {marker.as_posix()!r}\ncat 2>/dev/null\nexit 0\n')
    program.chmod(0o755)
    hooks = work / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor"):
        shutil.copy(program, hooks / hook)
    (work / ".gitattributes").write_text("*.txt filter=evil diff=evil\n*.md filter=pipe\n")
    settings = {
        "core.fsmonitor": str(program), "core.pager": str(program), "core.editor": str(program), "core.sshCommand": str(program),
        "core.askPass": str(program), "diff.external": str(program), "diff.evil.command": str(program), "diff.evil.textconv": str(program),
        "filter.evil.clean": str(program), "filter.evil.smudge": str(program), "filter.evil.required": "true", "filter.pipe.process": str(program),
        "filter.p=q.clean": str(program), "gpg.program": str(program), "commit.gpgSign": "true", "log.showSignature": "true", "alias.status": f"!{program}",
        "pager.log": str(program), "pager.diff": str(program), "pager.status": str(program), "interactive.diffFilter": str(program),
        "core.hooksPath": str(hooks), "gc.auto": "1", "credential.helper": str(program), "status.submoduleSummary": "true", "diff.submodule": "log",
        "submodule.recurse": "true", "user.signingKey": "x", "maintenance.auto": "true"}
    for key, value in settings.items():
        plain(work, "config", key, value)
    (work / ".git" / "included").write_text(f'[filter "later"]\n\tclean = "{program}"\n')
    plain(work, "config", "include.path", "included")
    with (work / ".gitattributes").open("a") as stream:
        stream.write("*.inc filter=later\n")


def test_nothing_of_a_hostile_repository_runs(work: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (work / "n.md").write_text("x\n")
    (work / "l.inc").write_text("x\n")
    plain(work, "add", ".")
    plain(work, "commit", "-qm", "more")
    arm(work, marker)
    for name in ("a.txt", "n.md", "l.inc"):
        (work / name).write_text("changed\n")
    given = every_tool(at(work))
    assert not marker.exists(), marker.read_text()
    assert "+changed" in given["diff"]["diff"] and given["status"]["count"] == 4 and given["log"]["count"] == 2  # type: ignore[index]
    assert isinstance(given["add"], BadRequest) and "filter 'evil'" in str(given["add"])
    (work / ".gitattributes").write_text("")
    assert tools.git_add(["."], at(work), NOBODY)["count"] == 4
    assert tools.git_commit("plain", at(work), NOBODY)["files"] == 4
    assert not marker.exists(), marker.read_text()
    plain(work, "status", check=False)
    assert marker.exists()  # the same repository, asked by a plain git


def test_a_plain_git_runs_what_the_test_above_plants(work: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    arm(work, marker)
    (work / "a.txt").write_text("changed\n")
    for command in (["status"], ["diff"], ["add", "."], ["commit", "-m", "x"]):
        marker.unlink(missing_ok=True)
        plain(work, *command, check=False)
        assert marker.exists(), command


def test_missing_objects_are_not_fetched_by_a_program(work: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    program = tmp_path / "upload.sh"
    program.write_text(f"#!/bin/sh\ntouch {marker.as_posix()!r}\n")
    program.chmod(0o755)
    for key, value in {"core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true", "remote.origin.url": str(work),
                       "remote.origin.uploadpack": str(program), "protocol.allow": "always", "protocol.ext.allow": "always"}.items():
        plain(work, "config", key, value)
    blob = plain(work, "rev-parse", "HEAD:a.txt").strip()
    (work / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    (work / "a.txt").write_text("changed\n")
    every_tool(at(work))
    assert not marker.exists()
    plain(work, "cat-file", "-p", blob, check=False)
    assert marker.exists()


def test_submodules_are_neither_entered_nor_added(work: Path, tmp_path: Path) -> None:
    source = repository(tmp_path / "source")
    plain(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(source), "sub")
    plain(work, "commit", "-qm", "sub")
    marker = tmp_path / "ran"
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\necho x >> {marker.as_posix()!r}\ncat\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.clean", "diff.external"):
        plain(work / "sub", "config", key, str(program))
    (work / "sub" / ".gitattributes").write_text("* filter=evil\n")
    (work / "sub" / "a.txt").write_text("changed\n")
    (work / "a.txt").write_text("changed\n")
    given = every_tool(at(work))
    assert not marker.exists() and [change["path"] for change in given["status"]["changes"]] == ["a.txt"]  # type: ignore[index]
    plain(work, "status", check=False)
    assert marker.exists()
    marker.unlink()
    repository(work / "nested")
    assert tools.git_add(["."], at(work), NOBODY)["withheld"] == ["nested/"]
    assert tools.git_status(at(work), NOBODY, "sub")["path"] == named(work, "sub")  # by its own path it is a repository of the workspace like any other
    assert not marker.exists()


# ---- bounds ----


def test_a_long_diff_is_cut_at_a_million_bytes_and_says_so(work: Path) -> None:
    (work / "big.txt").write_text("line of text\n" * 200_000)
    (work / "second.txt").write_text("x")
    tools.git_add(["."], at(work), NOBODY)
    diff = tools.git_diff(at(work), NOBODY, staged=True)
    assert diff["cut"] and diff["bytes"] == repositories.OUTPUT_LIMIT


def test_a_long_log_is_cut_between_commits(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        plain(work, "commit", "-q", "--allow-empty", "-m", f"{n}\n\n" + "x" * 1000)
    monkeypatch.setattr(tools, "OUTPUT_LIMIT", 3000)
    monkeypatch.setitem(repositories.Repository.git.__kwdefaults__, "limit", 3000)
    log = tools.git_log(at(work), NOBODY, oneline=False)
    assert log["cut"] and [commit["subject"] for commit in log["commits"]] == ["4", "3"] and len(log["commits"][1]["body"]) == 1000


def test_many_names_go_over_more_than_one_command_line(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_CHUNK", 20)
    for n in range(12):
        (work / f"file{n:02}.txt").write_text("x\n")
    assert tools.git_add([f"file{n:02}.txt" for n in range(12)], at(work), NOBODY)["count"] == 12
    diff = tools.git_diff(at(work), NOBODY, staged=True)
    assert diff["diff"].count("new file mode") == 12 == diff["files"]


def test_a_call_that_nobody_waits_for_is_ended(work: Path) -> None:
    with pytest.raises(ToolFailed, match="nobody waits"):
        tools.git_status(at(work), Watch(halted=lambda: True))


def test_a_call_past_its_time_is_ended(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "SECONDS", -1.0)
    with pytest.raises(TimedOut, match="git_log"):
        tools.git_log(at(work), NOBODY)


def test_a_program_is_ended_with_what_it_started(tmp_path: Path) -> None:
    script = ("import signal, subprocess, time\ndeaf = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
              "child = subprocess.Popen(['sleep', '600'], preexec_fn=deaf)\nopen('pid', 'w').write(str(child.pid))\ntime.sleep(600)\n")

    def started() -> bool:
        return (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text())

    (tmp_path / "run.py").write_text(script)
    with pytest.raises(ToolFailed, match="nobody waits"):
        run_program([sys.executable, "run.py"], name="x", cwd=tmp_path, env={"PATH": os.defpath}, stdin=b"", limit=10, deadline=time.monotonic() + 60,
                    watch=Watch(halted=started))
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 20
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, f"process {pid} is still there"


def test_an_index_that_another_git_holds_is_told(work: Path) -> None:
    (work / ".git" / "index.lock").touch()
    (work / "a.txt").write_text("2")
    with pytest.raises(ToolFailed, match="Another git holds the index"):
        tools.git_add(["a.txt"], at(work), NOBODY)


def test_without_git_the_next_step_is_told(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SuiteError, match="apt install git"):
        tools.git_status(at(work), NOBODY)


def test_no_descriptor_stays_open(work: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    every_tool(at(work))
    every_tool(at(work, work.parent))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_environment_of_the_process_does_not_reach_git(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "nobody")
    (work / "a.txt").write_text("two\n")
    assert "+two" in tools.git_diff(at(work), NOBODY)["diff"]
    assert tools.git_commit("x", at(work), NOBODY, add_all=True)["author"] == "Local AI Suite"
