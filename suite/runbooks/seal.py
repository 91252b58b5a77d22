"""Seal a release: sign what is in its folder, put it into the ledger, and give the folder its name, each in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, StorageError
from suite.runbooks import archive, disk, ledger, statement
from suite.runbooks.archive import ATTESTATION, CRITERIA, ENVIRONMENT, PARTIAL, RESULTS, SIGNER
from suite.runbooks.digest import of_file, of_notebook, sources
from suite.runbooks.envelope import sealed
from suite.runbooks.sign import SigningKey
from suite.settings import package_file

OURS = (ATTESTATION, ENVIRONMENT, SIGNER)  # what the seal itself writes


@dataclass(frozen=True)
class Sealed:
    """Where the release lies now, the digest of its attestation, and the ledger's head, which is worth keeping elsewhere."""

    path: Path
    attestation_sha256: str
    head: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"path": str(self.path), "attestation_sha256": self.attestation_sha256, "head": self.head}


def seal(directory: Path, reports: Path, key: SigningKey, *, sealed_as: str = statement.BY_RUNNER, runbooks: Path | None = None) -> Sealed:
    """Seal the folder `reports/.<name>.partial` as `reports/<name>`: attestation, ledger line, name, in this order; whole whenever it is killed.

    `runbooks` is the folder of the runbooks that were executed, by default the packaged ones. Raises BadRequest for a folder that cannot be sealed,
    StorageError when the archive cannot be written or its ledger is not whole.
    """
    directory, reports = directory.absolute(), reports.absolute()
    name = directory.name.removeprefix(".").removesuffix(PARTIAL)
    if directory.parent != reports or directory.name != f".{name}{PARTIAL}" or not name:
        raise BadRequest(f"{directory} cannot be sealed into {reports}; what is sealed is a folder .<name>{PARTIAL} in it.")
    with disk.held(reports):
        try:
            archive.recover(reports)
            return _seal(directory, reports, name, key, sealed_as, runbooks or package_file("runbooks"))
        except OSError as error:
            raise disk.unwritable(reports, error) from error


def _seal(directory: Path, reports: Path, name: str, key: SigningKey, sealed_as: str, runbooks: Path) -> Sealed:
    if not directory.is_dir():
        raise BadRequest(f"{directory} is not there; it was sealed already, or never made: `suite report list` names what is sealed.")
    files = _plain_files(directory)
    results, criteria = archive.results(directory), files.get(CRITERIA)
    if criteria is None:
        raise BadRequest(f"{directory} holds no {CRITERIA}, by which its results could be judged again; copy the criteria that were used into it.")
    found = ledger.read(reports)
    place, at = _free(reports, name, {str(line.get("path")) for line in found.lines}), disk.now()
    digests = {path: of_file(file) for path, file in files.items()}
    previous = {"n": len(found.lines) + 1, "previous": found.head}
    run = statement.release_run(results, digests[RESULTS], _notebooks(files, results, runbooks), sealed=sealed_as, at=at, place=place.name,
                                previous=previous)
    disk.write_whole(directory / SIGNER, key.public.pem())
    disk.write_whole(directory / ENVIRONMENT, sealed(run, key))
    digests |= {part: of_file(directory / part) for part in (SIGNER, ENVIRONMENT)}
    disk.write_whole(directory / ATTESTATION, sealed(statement.test_result(digests, results, digests[CRITERIA]), key))
    for path in {*files.values(), *(file.parent for file in files.values()), directory}:
        disk.sync(path)
    attestation = of_file(directory / ATTESTATION)
    line = ledger.append(reports, _line(results, place.name, at, attestation, digests[RESULTS], sealed_as), key)
    directory.rename(place)
    disk.sync(reports)
    return Sealed(place, attestation, str(line["head"]))


def _plain_files(directory: Path) -> dict[str, Path]:
    """The files to be sealed, without what an earlier attempt that was broken off had written. Raises BadRequest for a link."""
    for part in OURS:
        (directory / part).unlink(missing_ok=True)
        (directory / f".{part}{disk.FRESH}").unlink(missing_ok=True)
    files, strange = archive.files(directory)
    strange = [sentence for sentence in strange if not sentence.endswith(archive.EMPTY)]
    if strange:
        raise BadRequest(f"{directory} cannot be sealed: {strange[0].rstrip('.')}, and only plain files can be; put the file itself there.")
    return files


def _free(reports: Path, name: str, taken: set[str]) -> Path:
    """A folder's name that nothing has: another release of the same second may have it, or of a clock that was set back."""
    for number in range(1, 1000):
        path = reports / (name if number == 1 else f"{name}-{number}")
        if not path.exists() and path.name not in taken:
            return path
    raise StorageError(f"{reports} holds a thousand releases called {name}; seal it under another name.")


def _line(results: Mapping[str, Any], place: str, at: float, attestation: str, digest: str, sealed_as: str) -> dict[str, Any]:
    score, facts = results.get("score"), results.get("facts")
    return {"kind": ledger.SEALED, "at": at, "release": str(results.get("release") or ""), "stage": str(results.get("stage") or ""),
            "verdict": str(results.get("verdict") or ""), "path": place, "attestation_sha256": attestation, "results_sha256": digest,
            "audit_head": str((facts if isinstance(facts, Mapping) else {}).get("audit_head") or ""), "sealed": sealed_as,
            "lowest": score.get("lowest") if isinstance(score, Mapping) else None, "states": statement.states(results)}


def _notebooks(files: Mapping[str, Path], results: Mapping[str, Any], runbooks: Path) -> dict[str, Any]:
    """Of each executed notebook its digests, and the digests of the runbook's cells that it should have been made from."""
    runs = results.get("runs")
    named = {str(run.get("path")): str(run.get("runbook")) for run in runs if isinstance(run, Mapping)} if isinstance(runs, list) else {}
    found = {}
    for path, file in files.items():
        if not path.endswith(".ipynb"):
            continue
        notebook = _notebook(file)
        name = named.get(path) or Path(path).stem
        packaged = runbooks / f"{name}.ipynb"
        wanted = sources(_notebook(packaged)) if packaged.is_file() else None
        found[path] = {**of_notebook(notebook).to_dict(), "runbook": name, "packaged": wanted}
    return found


def _notebook(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{file} is no notebook ({type(error).__name__}: {str(error)[:100]}); seal what papermill wrote.") from error
    if not isinstance(body, dict) or not isinstance(body.get("cells"), list):
        raise BadRequest(f"{file} is no notebook: it has no list of cells; seal what papermill wrote.")
    return body
