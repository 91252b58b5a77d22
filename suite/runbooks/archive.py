"""The archive of sealed releases: one folder each, listed by the ledger, which is read in one piece however many there are."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotFound
from suite.runbooks import disk, ledger
from suite.runbooks.digest import of_file

ATTESTATION, ENVIRONMENT, SIGNER = "attestation.dsse.json", "environment.dsse.json", "signer.pub"
RESULTS, CRITERIA, GATES = "results.json", "criteria.toml", "gates.toml"
PARTIAL, EMPTY = ".partial", "is an empty folder."
_WORDS = ("release", "stage", "verdict", "attestation_sha256", "results_sha256", "head", "audit_head", "sealed")  # of a line, as they are
KEPT = (ATTESTATION, ENVIRONMENT, SIGNER, RESULTS, CRITERIA, GATES)  # what pruning leaves of a release


@dataclass(frozen=True)
class ReleaseRow:
    """One sealed release as the ledger has it: `at` in UTC seconds since 1970, `path` its folder, `states` by check, `lowest` the score (0..1)."""

    n: int
    at: float
    release: str
    stage: str
    verdict: str
    path: Path
    attestation_sha256: str
    results_sha256: str
    head: str
    audit_head: str = ""
    sealed: str = ""
    pruned: bool = False
    lowest: float | None = None
    states: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "path": str(self.path), "states": dict(self.states)}


def releases(reports: Path) -> list[ReleaseRow]:
    """Every sealed release, the first one first; what the chain is worth is told by `verify`. Raises StorageError when it cannot be read."""
    found = ledger.read(reports)
    gone = found.pruned()
    return [_row(line, reports, str(line.get("path")) in gone) for line in found.lines if line.get("kind") == ledger.SEALED]


def unfinished(reports: Path) -> list[Path]:
    """The folders of releases that are being made, or that were broken off."""
    return sorted(path for path in reports.glob(f".*{PARTIAL}") if path.is_dir()) if reports.is_dir() else []


def find(reports: Path, name: str) -> Path:
    """The folder of a release: by its path, its folder's name, or the release's name (the newest of that name). Raises NotFound."""
    path = Path(name).expanduser()
    if (path / ATTESTATION).is_file() or (path / ledger.FILE).is_file():
        return path.absolute()
    rows = [row for row in releases(reports) if name in (row.release, row.path.name)]
    if not rows:
        raise NotFound(f"No sealed release is called {name!r} in {reports}; `suite report list` names them.")
    return rows[-1].path


def results(path: Path) -> dict[str, Any]:
    """results.json of a release's folder. Raises NotFound when there is none, BadRequest when it cannot be read."""
    file = path / RESULTS
    try:
        body = json.loads(disk.read_plain(file))
    except FileNotFoundError:
        raise NotFound(f"{path} holds no {RESULTS}, so it is no release's folder; `suite report list` names them.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{file} cannot be read as results of a release ({type(error).__name__}: {str(error)[:100]}).") from error
    if not isinstance(body, dict):
        raise BadRequest(f"{file} holds no results of a release but a {type(body).__name__}.")
    return body


def files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Every file below a folder by its relative path, and a sentence for each thing that is neither a file nor a folder, or is an empty one."""
    found, strange = {}, []
    for place, folders, names in os.walk(folder, onerror=_raise):
        here = Path(place)
        if here != folder and not folders and not names:
            strange.append(f"{here.relative_to(folder).as_posix()} {EMPTY}")
        for name in (*names, *folders):
            path = here / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path
            elif not stat.S_ISDIR(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
                strange.append(f"{path.relative_to(folder).as_posix()} is {kind}.")
    return dict(sorted(found.items())), sorted(strange)


def recover(reports: Path) -> list[str]:
    """Finish what a killed process began: drop half a line of the ledger, give a release that is in the ledger its name.

    For whoever holds the archive; gives one sentence per deed. Raises OSError.
    """
    done = ["Half a line at the end of the ledger was dropped."] if ledger.mend(reports) else []
    lines = ledger.read(reports).lines
    waiting = interrupted(reports, lines[-1]) if lines else None
    if waiting is not None:
        os.rename(waiting, reports / str(lines[-1]["path"]))
        disk.sync(reports)
        done.append(f"{lines[-1]['path']} had been sealed and got its name.")
    return done


def interrupted(reports: Path, line: Mapping[str, Any]) -> Path | None:
    """The folder of a release that is sealed and in the ledger but was not given its name yet, because its process was killed just then."""
    name = str(line.get("path"))
    waiting = reports / f".{name}{PARTIAL}"
    if line.get("kind") != ledger.SEALED or "/" in name or (reports / name).exists() or not (waiting / ATTESTATION).is_file():
        return None
    return waiting if of_file(waiting / ATTESTATION) == line.get("attestation_sha256") else None


def _row(line: Mapping[str, Any], reports: Path, pruned: bool) -> ReleaseRow:
    words = {key: str(line.get(key) or "") for key in _WORDS}
    states, lowest, at, n = (line.get(key) for key in ("states", "lowest", "at", "n"))
    return ReleaseRow(n=n if isinstance(n, int) else 0, at=float(at) if isinstance(at, (int, float)) else 0.0,
                      path=reports / Path(str(line.get("path"))).name, pruned=pruned, lowest=lowest if isinstance(lowest, (int, float)) else None,
                      states={str(key): str(value) for key, value in states.items()} if isinstance(states, Mapping) else {}, **words)


def _raise(error: OSError) -> None:
    raise error
