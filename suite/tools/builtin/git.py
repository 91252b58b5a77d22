"""Tools over the git repositories of the workspace: what changed, what was, and new commits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, TypedDict

from suite.errors import BadRequest, Denied, NotFound
from suite.tools.builtin.paths import PATH, Spot, in_git_folder, settle
from suite.tools.builtin.repository import OUTPUT_LIMIT, Repository, open_repository
from suite.tools.tool import Place, Tool, Watch, tool_of

CHANGES_LIMIT = 1000  # changed files that are told
PATHS_LIMIT = 1000  # paths of one git_add
_CHUNK = 100_000  # characters of names on one command line
_AUTHOR = ("Local AI Suite", "suite@localhost")
_OF = {**PATH, "description": "A path in the repository that is meant, absolute in a further root of the workspace."}
_FILE = {"description": "A file or folder of the repository; empty for all of it.", "maxLength": 4096}
_MESSAGE = {"description": "The message of the commit, its first line a summary.", "minLength": 1, "maxLength": 100_000}


class Change(TypedDict):
    """A changed file: git's letters for the index and the working tree (`M`, `A`, `D`, `R`, `?` …), `previous` its name before a renaming."""

    path: str
    index: str
    worktree: str
    previous: str


class Status(TypedDict):
    """What differs from the last commit; `branch` is empty on a detached head, `withheld` counts files under names of secrets."""

    path: str
    branch: str
    clean: bool
    changes: list[Change]
    count: int
    left_out: int
    withheld: int


class Diff(TypedDict):
    """Changes as a unified diff of `bytes` bytes; `cut` when there were more than 1 MB, `withheld` counts files under names of secrets."""

    path: str
    staged: bool
    diff: str
    files: int
    bytes: int
    cut: bool
    withheld: int


class Commit(TypedDict):
    """One commit; `date` is ISO 8601, `body` what follows the first line of the message (empty with `oneline`)."""

    id: str
    author: str
    email: str
    date: str
    subject: str
    body: str


class Log(TypedDict):
    """The newest commits first; `cut` when their text is longer than 1 MB."""

    commits: list[Commit]
    count: int
    cut: bool


class Added(TypedDict):
    """Files whose state is in the index now; `withheld` lists those that tools do not add (secrets, nested repositories)."""

    added: list[str]
    count: int
    withheld: list[str]


class Committed(TypedDict):
    """The new commit, and how many files it changed."""

    id: str
    branch: str
    subject: str
    author: str
    email: str
    files: int


def git_status(place: Place, watch: Watch, path: Annotated[str, PATH] = ".") -> Status:
    """Tell which files of a repository changed since its last commit (at most 1000)."""
    spot = _settled(path, place)
    with open_repository("git_status", place, watch, spot, path) as repository:
        entries = iter(repository.names("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=dirty",
                                        "--no-ahead-behind", "--", repository.below(spot)))
        changes = [_change(entry, entries) for entry in entries]
        shown = [change for change, names in changes if all(map(repository.may_show, names))]
        branch = _text(repository.git("symbolic-ref", "--quiet", "--short", "HEAD", accept=(0, 1)).out)
        return {"path": repository.shown, "branch": branch, "clean": not changes, "changes": shown[:CHANGES_LIMIT], "count": len(changes),
                "left_out": max(0, len(shown) - CHANGES_LIMIT), "withheld": len(changes) - len(shown)}


def git_diff(place: Place, watch: Watch, file_path: Annotated[str, _FILE] = "", staged: bool = False) -> Diff:
    """Show the changes of a repository or of one file as a diff (at most 1 MB)."""
    spot = _settled(file_path or ".", place)
    with open_repository("git_diff", place, watch, spot, file_path or ".") as repository:
        kind = ["--cached"] if staged else []
        names = repository.names("diff", *kind, "--name-only", "-z", "--no-renames", "--no-ext-diff", "--ignore-submodules=dirty", "--",
                                 repository.below(spot))
        names = list(dict.fromkeys(names))  # a file in conflict comes twice
        if not names and not _exists(repository, repository.below(spot)):
            raise NotFound(f"There is no {file_path[:200]!r} in the repository; git_status shows what changed.", param="file_path")
        shown = [name for name in names if repository.may_show(name)]
        text, cut = bytearray(), False
        for chunk in _chunks(shown):
            # only names that were looked at are given, so a secret cannot come in by a folder or a renaming
            outcome = repository.git("diff", *kind, "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty",
                                     "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "--", *chunk, limit=OUTPUT_LIMIT - len(text))
            text += outcome.out
            if cut := outcome.cut:
                break
        return {"path": repository.shown, "staged": staged, "diff": text.decode("utf-8", "replace"), "files": len(shown), "bytes": len(text),
                "cut": cut, "withheld": len(names) - len(shown)}


def git_log(place: Place, watch: Watch, max_count: Annotated[int, {"minimum": 1, "maximum": 1000}] = 10, oneline: bool = True,
            path: Annotated[str, _OF] = ".") -> Log:
    """List the newest commits of the repository, with `oneline` without the rest of their messages."""
    with open_repository("git_log", place, watch, _settled(path, place), path) as repository:
        if not _has_commits(repository):
            return {"commits": [], "count": 0, "cut": False}
        fields = ("%H", "%an", "%ae", "%aI", "%s", "" if oneline else "%b")
        outcome = repository.git("log", f"--max-count={int(max_count)}", "-z", "--no-show-signature", "--no-color", "--no-mailmap", "--no-decorate",
                                 "--no-patch", "--format=tformat:" + "%x00".join(fields), "HEAD", "--")
        words = outcome.out.decode("utf-8", "replace").split("\0")
        rows = [words[start:start + len(fields)] for start in range(0, len(words) - len(fields) + 1, len(fields))]
        if outcome.cut and words[-1:] != [""]:
            rows = rows[:(len(words) - 1) // len(fields)]  # the last commit is not whole
        return {"commits": [_commit(*row) for row in rows], "count": len(rows), "cut": outcome.cut}


def git_add(file_paths: Annotated[list[str], {"description": "Files and folders whose changes the next commit takes; at most 1000."}], place: Place,
            watch: Watch) -> Added:
    """Put the changes of files into the index, for the next commit; secrets are left out."""
    if not 1 <= len(file_paths) <= PATHS_LIMIT:
        raise BadRequest(f"git_add takes 1 to {PATHS_LIMIT} paths, not {len(file_paths)}; name a folder to add what is in it.", param="file_paths")
    settled = [(path, _settled(path, place)) for path in file_paths]
    with open_repository("git_add", place, watch, settled[0][1], file_paths[0]) as repository:
        for path, spot in settled:
            if not repository.spot.holds(spot):
                raise BadRequest(f"{path[:200]!r} is not in the repository of {file_paths[0][:200]!r}; add them by two calls.", param="file_paths")
        changed = _changed(repository, [repository.below(spot) for _, spot in settled])
        _refuse_missing(repository, [(path, repository.below(spot)) for path, spot in settled], changed)
        added, withheld = _stage(repository, changed)
        return {"added": list(map(_told, added[:CHANGES_LIMIT])), "count": len(added), "withheld": list(map(_told, withheld[:CHANGES_LIMIT]))}


def git_commit(message: Annotated[str, _MESSAGE], place: Place, watch: Watch, add_all: bool = False,
               path: Annotated[str, _OF] = ".") -> Committed:
    """Commit what is in the index, with `add_all` every change of the repository but secrets; no hook runs and nothing is signed."""
    if not message.strip() or "\0" in message:
        raise BadRequest("The message of a commit is blank or holds a NUL character; say what changes and why.", param="message")
    try:
        text = message.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(f"Character {error.start} of the message is half of a pair; remove it.", param="message") from None
    with open_repository("git_commit", place, watch, _settled(path, place), path) as repository:
        if add_all:
            _stage(repository, _changed(repository, ["."]))
        staged = _staged(repository)
        if secret := next((name for name in staged if not repository.may_show(name)), None):
            raise Denied(f"The index holds {_told(secret)!r}, a name under which secrets are kept; take it out with `git restore --staged`.")
        if not staged and not repository.git("rev-parse", "--quiet", "--verify", "MERGE_HEAD", accept=(0, 1, 128)).out:
            raise BadRequest("Nothing is staged, so there is nothing to commit; call git_add first, or pass add_all=true.", param="add_all")
        name, email = repository.user if all(repository.user) else _AUTHOR
        identity = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}
        repository.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--no-status", "--cleanup=whitespace", "--file=-", stdin=text,
                       extra=identity)
        made = _text(repository.git("rev-parse", "HEAD").out)
        branch = _text(repository.git("symbolic-ref", "--quiet", "--short", "HEAD", accept=(0, 1)).out)
        return {"id": made, "branch": branch, "subject": message.strip().splitlines()[0], "author": name, "email": email, "files": len(staged)}


def _settled(path: str, place: Place) -> Spot:
    """A link in the working tree is itself a thing of the repository, so the last name is not followed."""
    spot = settle(path, place, verb="show", last_link=path != ".")
    if in_git_folder(spot.parts):
        raise Denied(f"Path {path[:200]!r} lies in a .git folder, which git tools do not touch; name a file of the working tree.", param="path")
    return spot


def _change(entry: str, rest: Iterator[str]) -> tuple[Change, list[str]]:
    """A change, and the names it is about as git has them."""
    letters, names = entry[:2], [entry[3:]]
    if "R" in letters or "C" in letters:
        names.append(next(rest))
    previous = _told(names[1]) if len(names) == 2 else ""
    return {"path": _told(names[0]), "index": letters[0], "worktree": letters[1], "previous": previous}, names


def _commit(id: str, author: str, email: str, date: str, subject: str, body: str) -> Commit:
    return {"id": id, "author": author, "email": email, "date": date, "subject": subject, "body": body.strip()}


def _changed(repository: Repository, names: list[str]) -> list[str]:
    """The new, changed and deleted files below some names; ignored ones are not among them."""
    found: dict[str, None] = {}
    for chunk in _chunks(names):
        found |= dict.fromkeys(repository.names("ls-files", "-z", "--modified", "--others", "--exclude-standard", "--", *chunk))
    return list(found)


def _refuse_missing(repository: Repository, asked: list[tuple[str, str]], changed: list[str]) -> None:
    """Raise for a name that is neither there nor known to git, or that git ignores."""
    for path, name in asked:
        if name == "." or any(other == name or other.startswith(name + "/") for other in changed):
            continue
        if not _exists(repository, name):
            raise NotFound(f"There is no {path[:200]!r} in the repository; git_status shows what changed.", param="file_paths")
        if repository.names("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory", "--", name):
            raise BadRequest(f"{path[:200]!r} is ignored by the repository (.gitignore); change that, or leave it out.", param="file_paths")


def _exists(repository: Repository, name: str) -> bool:
    return os.path.lexists(repository.top / name) or _known(repository, name)


def _known(repository: Repository, name: str) -> bool:
    return bool(repository.names("ls-files", "-z", "--", name))


def _stage(repository: Repository, changed: list[str]) -> tuple[list[str], list[str]]:
    """Put files into the index one by one, by their exact names; gives those that were, and those that were withheld."""
    known = {entry.partition("\t")[2] for entry in repository.names("ls-files", "-z", "--stage") if entry.startswith("160000 ")}
    withheld = [name for name in changed if not repository.may_show(name) or name.endswith("/") or name in known]
    added = sorted(set(changed) - set(withheld))
    listed = b"".join(os.fsencode(name) + b"\0" for name in added)
    if repository.drivers and added:
        answers = iter(repository.names("check-attr", "-z", "--stdin", "filter", stdin=listed))
        for name, _, driver in zip(answers, answers, answers, strict=True):
            if driver in repository.drivers:
                raise BadRequest(f"{_told(name)!r} goes through the filter {driver!r} of the repository, a program that tools do not run; "
                                 "add it yourself.", param="file_paths")
    if added:
        repository.git("update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin=listed)
    return added, sorted(withheld)


def _staged(repository: Repository) -> list[str]:
    against = "HEAD" if _has_commits(repository) else _text(repository.git("hash-object", "-t", "tree", "--stdin").out)  # the empty tree
    return repository.names("diff-index", "--cached", "--name-only", "-z", "--no-renames", "--ignore-submodules=dirty", against, "--")


def _has_commits(repository: Repository) -> bool:
    return repository.git("rev-parse", "--quiet", "--verify", "HEAD^{commit}", accept=(0, 1, 128)).code == 0


def _chunks(names: list[str]) -> Iterable[list[str]]:
    """Names in pieces that fit on a command line."""
    chunk: list[str] = []
    for name in names:
        if chunk and sum(map(len, chunk)) + len(name) > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(name)
    if chunk:
        yield chunk


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _told(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")  # a name in another encoding is shown, not a crash


def git_tools() -> tuple[Tool, ...]:
    """The git tools."""
    return tuple(tool_of(function) for function in (git_status, git_diff, git_log, git_add, git_commit))
