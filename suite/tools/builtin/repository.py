"""A git repository of the workspace, and `git` run in it so that nothing of the repository is executed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from suite.errors import BadRequest, Denied, NotReady, ToolFailed
from suite.tools.builtin.paths import Spot, is_private, open_folder, root_of, secret_part
from suite.tools.builtin.program import Outcome, run_program
from suite.tools.tool import Place, Watch

SECONDS = 30.0  # for all that one call asks of git
OUTPUT_LIMIT = 1_000_000  # bytes that are read of one answer
# what a repository may name in its own settings and git would run, read or fetch; these come after them, so they win
_SETTINGS = {
    "core.hooksPath": os.devnull, "core.fsmonitor": "false", "core.pager": "cat", "core.editor": "false", "core.sshCommand": "false",
    "core.askPass": "", "credential.helper": "", "core.excludesFile": os.devnull, "core.attributesFile": os.devnull, "core.quotePath": "false",
    "diff.external": "", "diff.submodule": "short", "submodule.recurse": "false", "status.submoduleSummary": "false", "protocol.allow": "never",
    "log.showSignature": "false", "commit.gpgSign": "false", "gpg.program": "false", "gpg.ssh.program": "false", "gpg.x509.program": "false",
    "gc.auto": "0", "maintenance.auto": "false", "i18n.commitEncoding": "UTF-8", "i18n.logOutputEncoding": "UTF-8", "color.ui": "false",
}
_ENVIRONMENT = {
    "PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "GIT_EDITOR": "false", "GIT_ASKPASS": "false",
    "GIT_SSH_COMMAND": "false", "GIT_ALLOW_PROTOCOL": "none", "GIT_PROTOCOL_FROM_USER": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_LITERAL_PATHSPECS": "1",
}
_NOTHING: dict[str, str] = {}
_FILTER = re.compile(r"filter\.(?P<driver>.+)\.(clean|smudge|process)", re.DOTALL)


@dataclass
class Repository:
    """A repository whose working tree is `top`, which lies at `spot`."""

    tool: str
    place: Place
    watch: Watch
    top: Path
    spot: Spot
    worktree: int  # descriptors: both folders stay the ones that were checked, whatever takes their names
    git_dir: int
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    settings: dict[str, str] = field(default_factory=lambda: dict(_SETTINGS))
    drivers: frozenset[str] = frozenset()
    user: tuple[str, str] = ("", "")

    def git(self, *arguments: str, stdin: bytes = b"", accept: Sequence[int] = (0,), limit: int = OUTPUT_LIMIT,
            extra: Mapping[str, str] = _NOTHING) -> Outcome:
        """Run git; raises what it complains of in one sentence unless its exit status is one of `accept`."""
        program = shutil.which("git")
        if program is None:
            raise NotReady("There is no git on this machine; install it (`apt install git`).", part="mcp-server", retry_after=60)
        env = _ENVIRONMENT | {"GIT_DIR": _pinned(self.git_dir), "GIT_WORK_TREE": ".", "GIT_CONFIG_COUNT": str(len(self.settings))} | extra
        for n, (key, value) in enumerate(self.settings.items()):
            env |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
        outcome = run_program([program, "--no-pager", *arguments], name=self.tool, cwd=_pinned(self.worktree), env=env, stdin=stdin, limit=limit,
                              deadline=self.deadline, watch=self.watch, pass_fds=(self.git_dir,))
        if outcome.code not in accept:
            raise self._complaint(arguments[0], outcome)
        return outcome

    def names(self, *arguments: str, stdin: bytes = b"") -> list[str]:
        """The NUL-separated names that git gives."""
        outcome = self.git(*arguments, stdin=stdin, limit=20 * OUTPUT_LIMIT)
        if outcome.cut:
            raise BadRequest(f"{self.tool} found more than {20 * OUTPUT_LIMIT} bytes of names; name a smaller folder.")
        return [os.fsdecode(name) for name in outcome.out.split(b"\0") if name]

    def may_show(self, name: str) -> bool:
        """Whether a file of the repository is neither a secret nor of the suite's own data."""
        parts = (*self.spot.parts, *name.rstrip("/").split("/"))
        return secret_part(parts) is None and not is_private(self.top / name, self.place)

    def below(self, spot: Spot) -> str:
        """A settled path of the repository as git names it, "." for the whole of it."""
        return "/".join(spot.parts[len(self.spot.parts):]) or "."

    def _complaint(self, command: str, outcome: Outcome) -> BadRequest | ToolFailed:
        said = outcome.sentence()
        if "not a git repository" in said:
            return BadRequest(f"The .git of {self.shown!r} is not a whole repository; run `git init` or `git fsck` there.", param="path")
        if "index.lock" in said:
            return ToolFailed(f"Another git holds the index of {self.shown!r}; try again, or remove .git/index.lock when none runs.", tool=self.tool)
        return ToolFailed(f"git {command} failed with status {outcome.code} ({said}); mend that and call {self.tool} again.", tool=self.tool)

    @property
    def shown(self) -> str:
        """The working tree as a caller may name it."""
        return self.spot.shown(self.place)


@contextmanager
def open_repository(tool: str, place: Place, watch: Watch, spot: Spot, path: str) -> Iterator[Repository]:
    """The repository that holds a settled path: the nearest folder with a `.git`, not above its root.

    Raises BadRequest where there is none, Denied where its data lies outside of every root or belongs to somebody else.
    """
    root, parts = spot.root, spot.parts
    depth = next((depth for depth in range(len(parts), -1, -1) if os.path.lexists(root.joinpath(*parts[:depth], ".git"))), None)
    if depth is None:
        raise BadRequest(f"{path[:200]!r} is in no git repository of the workspace; run `git init` there, or name a path in one.", param="path")
    inside = Spot(root, parts[:depth])
    top = root.joinpath(*inside.parts)
    with ExitStack() as stack:
        worktree = stack.enter_context(open_folder(root, inside.parts, path))
        data = _data_folder(top, place)
        kept = _inside(data, place)
        git_dir = stack.enter_context(open_folder(kept.root, kept.parts, path))
        for fd in (worktree, git_dir):
            if os.fstat(fd).st_uid != os.geteuid():
                raise Denied(f"The repository of {path[:200]!r} belongs to another user; git tools use only those of this user.", param="path")
        _refuse_outside(Path(_pinned(git_dir)), data, place)
        repository = Repository(tool, place, watch, top, inside, worktree, git_dir)
        repository.git("rev-parse", "--git-dir")  # where this fails, `git diff` would compare any two files of the machine
        _silence(repository)
        yield repository


def _pinned(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _data_folder(top: Path, place: Place) -> Path:
    """The real folder that a working tree's `.git` is or points to."""
    dot_git = top / ".git"
    real = Path(os.path.realpath(dot_git))
    if root_of(real, place) is not None and real.is_file():
        first = _line(real)
        if not first.startswith("gitdir: "):
            raise BadRequest("The .git file of the repository does not name its folder; run `git init` there.", param="path")
        real = Path(os.path.realpath(top / first.removeprefix("gitdir: ")))
    _inside(real, place)
    if not real.is_dir():
        raise BadRequest("The .git of the repository leads nowhere; run `git init` or `git worktree repair` there.", param="path")
    return real


def _refuse_outside(pinned: Path, data: Path, place: Place) -> None:
    """Raise Denied when a part of the repository's data is in none of the roots: a link, a shared folder, borrowed objects."""
    shared = data
    if (pinned / "commondir").is_file():
        shared = Path(os.path.realpath(data / _line(pinned / "commondir")))
        _inside(shared, place)
    for folder in {data, shared, shared / "objects", shared / "objects" / "info", shared / "info"}:
        if folder.is_dir():
            for entry in folder.iterdir():
                if entry.is_symlink():
                    _inside(Path(os.path.realpath(entry)), place)
    borrowed = shared / "objects" / "info" / "alternates"
    if borrowed.is_file():
        for line in borrowed.read_bytes()[:100_000].splitlines():
            _inside(Path(os.path.realpath(shared / "objects" / os.fsdecode(line))), place)


def _inside(real: Path, place: Place) -> Spot:
    root = root_of(real, place)
    if root is None or real == root or is_private(real, place):
        raise Denied("The repository keeps data outside of the workspace; git tools use only repositories that lie in it whole.", param="path")
    return Spot(root, real.relative_to(root).parts)


def _line(file: Path) -> str:
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.fsdecode(stream.read(5000)).rstrip("\n")


def _silence(repository: Repository) -> None:
    """Switch off the filters that the repository's settings name; reading settings runs nothing."""
    entries = [entry.partition("\n") for entry in repository.names("config", "--list", "-z", "--includes")]
    drivers = {match["driver"] for key, _, _ in entries if (match := _FILTER.fullmatch(key))}
    for driver in sorted(drivers):
        repository.settings |= {f"filter.{driver}.{word}": "" for word in ("clean", "smudge", "process")} | {f"filter.{driver}.required": "false"}
    values = {key: value for key, _, value in entries}
    repository.drivers = frozenset(drivers)
    repository.user = (values.get("user.name", "").strip(), values.get("user.email", "").strip())
