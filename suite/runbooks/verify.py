"""Verify a sealed release, or a whole archive, from its files alone: no network, no stack, no key but a public one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import BadRequest, NotFound
from suite.runbooks import archive, disk, ledger, statement
from suite.runbooks.archive import ATTESTATION, CRITERIA, ENVIRONMENT, RESULTS, SIGNER
from suite.runbooks.digest import of_file
from suite.runbooks.envelope import IN_TOTO, read_envelope
from suite.runbooks.reassess import reassessed
from suite.runbooks.recompute import recomputed
from suite.runbooks.sign import PublicKey, parse_public

Keys = PublicKey | Sequence[PublicKey] | None


@dataclass(frozen=True)
class Verified:
    """What a look at a release or an archive found: `doubts` speak against it, `notes` say what was and was not looked at; one sentence each."""

    path: Path
    doubts: tuple[str, ...]
    notes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.doubts

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"path": str(self.path), "ok": self.ok, "doubts": list(self.doubts), "notes": list(self.notes), **self.facts}

    def __repr__(self) -> str:
        verdict = "verified: nothing speaks against it" if self.ok else f"NOT VERIFIED, {len(self.doubts)} doubts"
        return "\n".join([f"{self.path}: {verdict}", *(f"  doubt: {line}" for line in self.doubts), *(f"  note: {line}" for line in self.notes)])

    def _repr_html_(self) -> str:
        rows = [("doubt", line) for line in self.doubts] + [("note", line) for line in self.notes]
        return render.card(str(self.path), rows, badge_text="pass" if self.ok else "fail")


def verify(path: Path | str, key: Keys = None, head: str = "") -> Verified:
    """Everything that can be seen to be wrong with a sealed release's folder, or with an archive (its chain, and that every release is there).

    `key` is one whose signature is demanded, or several; without it the one in the archive is used, and the notes say so. `head` is the ledger's
    head as it was kept elsewhere. Raises NotFound where nothing lies, BadRequest for what is neither a release nor an archive.
    """
    place = Path(path).expanduser().absolute()
    keys = (key,) if isinstance(key, PublicKey) else tuple(key or ())
    if not place.exists():
        raise NotFound(f"{place} is not there; `suite report list` names the sealed releases.")
    if (place / ledger.FILE).exists():
        return verify_chain(place, keys, head)
    if not place.is_dir():
        raise BadRequest(f"{place} is a file; name the folder of a sealed release. A plain papermill output is sealed by `suite report seal`.")
    return verify_release(place, keys, head)


def verify_release(place: Path, keys: Sequence[PublicKey] = (), head: str = "") -> Verified:
    """The same of one release's folder, and of its place in the ledger where that lies beside it."""
    found = _Look(place, keys)
    try:
        found.release()
        _in_ledger(found, head)
    except (OSError, RecursionError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # what is there has another shape
        found.doubts.append(f"The report could not be read to its end ({type(error).__name__}: {error}).")
    return Verified(place, tuple(dict.fromkeys(found.doubts)), tuple(dict.fromkeys(found.notes)), found.facts)


def verify_chain(reports: Path, keys: Sequence[PublicKey] = (), head: str = "") -> Verified:
    """The ledger of an archive, and that each release in it is there with its attestation, and none is there that it does not list."""
    found = ledger.read(reports)
    doubts = [*found.damaged, *ledger.chain(found.lines, keys)]
    more, notes = ledger.remarks(found, head)
    doubts += more
    pruned, listed = found.pruned(), {}
    for line in found.lines:
        if line.get("kind") == ledger.SEALED:
            listed[str(line.get("path"))] = line
    for name, line in listed.items():
        doubts += _present(reports, name, line, notes)
    for folder in sorted(path for path in reports.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if folder.name not in listed and (folder / ATTESTATION).exists():
            doubts.append(f"{folder.name} is sealed, but the ledger does not list it: its line was removed, or it was put there.")
    notes.append(f"{len(listed)} releases are in the ledger{f', {len(pruned)} of them pruned' if pruned else ''}; their chain and attestations were "
                 "looked at, what is in each of them is verified by naming it.")
    facts = {"releases": len(listed), "pruned": len(pruned), "head": found.head}
    return Verified(reports, tuple(dict.fromkeys(doubts)), tuple(dict.fromkeys(notes)), facts)


def _present(reports: Path, name: str, line: Mapping[str, Any], notes: list[str]) -> list[str]:
    folder = reports / Path(name).name
    file = folder / ATTESTATION
    if folder.name != name or folder.is_symlink() or file.is_symlink():
        return [f"{name} is not a folder of this archive."]
    if not file.is_file():
        if archive.interrupted(reports, line) is None:
            return [f"{name} is in the ledger, but its folder or its attestation is gone."]
        notes.append(f"{name} is sealed but was not given its name yet, because its process was killed; the next seal does it.")
        return []
    return [] if of_file(file) == line.get("attestation_sha256") else [f"{name} has another attestation than the one in the ledger: it was replaced."]


class _Look:
    """One look at one release's folder: what it found so far."""

    def __init__(self, place: Path, keys: Sequence[PublicKey]) -> None:
        self.place, self.keys = place, tuple(keys)
        self.doubts: list[str] = []
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.attestation = ""
        self.pruned: Mapping[str, Any] | None = None
        self.run: Mapping[str, Any] = {}

    def release(self) -> None:
        """All of it: signatures, files, and what follows from them."""
        attestation = self.place / ATTESTATION
        if attestation.is_symlink() or not attestation.is_file():
            raise BadRequest(f"{self.place} holds no {ATTESTATION}, so it was never sealed, or that was removed; see `suite report list`.")
        self.attestation = of_file(attestation)
        beside = ledger.read(self.place.parent)
        self.pruned = beside.pruned().get(self.place.name)
        signed = self._statement(ATTESTATION, statement.TEST_RESULT)
        self.run = self._statement(ENVIRONMENT, statement.RUN).get("predicate") or {}
        if not signed:
            return
        files = self._files(signed)
        self._criteria(signed, files)
        self._results(signed)

    def _statement(self, name: str, kind: str) -> Mapping[str, Any]:
        """The statement in an envelope; empty, with the doubt, when it is not signed or of another kind."""
        file = self.place / name
        try:
            envelope = read_envelope(disk.read_plain(file), name)
            body = json.loads(envelope.payload)
        except (BadRequest, OSError, ValueError, RecursionError) as error:
            self.doubts.append(f"{name} cannot be read: {str(error)[:200]}")
            return {}
        signer = envelope.signer(self._trusted())
        if signer is None:
            whose = "the key given" if self.keys else f"the key in {SIGNER}"
            self.doubts.append(f"{name} is not signed by {whose}: it was changed, or another key signed it.")
        elif self.keys:
            self.notes.append(f"Signed by the key given, {signer.id}.")
        else:
            self.notes.append(f"Signed by the key {signer.id}, which came with the report itself: compare it with the signer's, or name theirs with "
                              "--key.")
        self.facts.setdefault("key", signer.id if signer else "")
        if envelope.type != IN_TOTO or not isinstance(body, dict) or body.get("_type") != statement.STATEMENT or body.get("predicateType") != kind:
            self.doubts.append(f"{name} holds no statement of the kind {kind}.")
            return {}
        return body

    def _trusted(self) -> tuple[PublicKey, ...]:
        if self.keys:
            return self.keys
        try:
            return parse_public(disk.read_plain(self.place / SIGNER), SIGNER)
        except (BadRequest, OSError) as error:
            self.doubts.append(f"The public key in the report cannot be used: {error}")
            return ()

    def _files(self, signed: Mapping[str, Any]) -> Mapping[str, Path]:
        """Every file against its attested digest."""
        there, strange = archive.files(self.place)
        self.doubts += [sentence for sentence in strange if self.pruned is None or not sentence.endswith(archive.EMPTY)]
        there.pop(ATTESTATION, None)
        try:
            wanted = statement.names(signed)
        except (KeyError, TypeError):
            self.doubts.append(f"{ATTESTATION} names its files in a form that nobody can read.")
            return there
        missing = [name for name in wanted if name not in there and (self.pruned is None or name in archive.KEPT)]
        self.doubts += [f"{name} is missing." for name in missing]
        self.doubts += [f"{name} was added after the seal." for name in there if name not in wanted]
        self.doubts += [f"{name} was changed after the seal." for name, file in there.items() if name in wanted and of_file(file) != wanted[name]]
        if self.pruned is not None:
            self.notes.append("This release was pruned: its notebooks are gone, so its results cannot be computed from them again.")
        return there

    def _criteria(self, signed: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        configured = (signed.get("predicate") or {}).get("configuration") or []
        wanted = [row["digest"].get("sha256") for row in configured if isinstance(row, dict) and row.get("name") == CRITERIA]
        if len(wanted) != 1 or CRITERIA not in files or of_file(files[CRITERIA]) != wanted[0]:
            self.doubts.append(f"{CRITERIA} is not the criteria file whose digest was attested.")

    def _results(self, signed: Mapping[str, Any]) -> None:
        try:
            results = archive.results(self.place)
        except (NotFound, BadRequest) as error:
            self.doubts.append(str(error))
            return
        self.doubts += attested(results, signed.get("predicate") or {}, self.run)
        doubts, notes = recomputed(self.place, results, self.run, pruned=self.pruned is not None)
        again, said = reassessed(self.place, results)
        self.doubts += doubts + again
        self.notes += notes + said
        self.facts |= {"release": results.get("release"), "stage": results.get("stage"), "verdict": results.get("verdict"),
                       "sealed": self.run.get("sealed"), "attestation_sha256": self.attestation}
        if self.run.get("sealed") != statement.BY_RUNNER:
            self.notes.append(statement.NOT_AT_ONCE)
        self.notes.append(statement.NOT_PROVEN)


def attested(results: Mapping[str, Any], predicate: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Where results.json and the two signed predicates say different things."""
    told, doubts = statement.states(results), []
    lists = {name: group for group in ("passedTests", "warnedTests", "failedTests") for name in predicate.get(group) or []}
    for name, state in told.items():
        group = "passedTests" if state in statement.PASSED else "warnedTests" if state in statement.WARNED else "failedTests"
        if lists.get(name) != group:
            doubts.append(f"{name} is {state!r} in {RESULTS} but stands among the {lists.get(name, 'unnamed tests')} of the attestation.")
    doubts += [f"{name} is attested but not in {RESULTS}." for name in lists if name not in told]
    if run.get("states") != told:
        doubts.append(f"The states of the checks in {RESULTS} are not the attested ones.")
    doubts += [f"{key} is {results.get(key)!r} in {RESULTS} but {run.get(key)!r} in the attestation." for key in ("release", "stage", "verdict")
               if results.get(key) != run.get(key)]
    return doubts


def _in_ledger(found: _Look, head: str) -> None:
    """The release against the ledger beside it."""
    beside = ledger.read(found.place.parent)
    if not beside.lines and not beside.damaged:
        found.notes.append("No ledger lies beside the report, so its place among the releases was not looked at." + (
            " The head that was given could not be looked for." if head else ""))
        if head:
            found.doubts.append("A ledger's head was given, but no ledger lies beside the report.")
        if found.run.get("place") not in (None, found.place.name):
            found.notes.append(f"The folder was called {found.run['place']} when it was sealed.")
        return
    found.doubts += [*beside.damaged, *ledger.chain(beside.lines, found.keys)]
    more, notes = ledger.remarks(beside, head)
    found.doubts += more
    found.notes += notes
    line = beside.line_of(found.attestation)
    if line is None:
        found.doubts.append("The ledger beside the report does not list it: its line was removed, or the report was replaced.")
        return
    if line.get("path") != found.place.name:
        found.doubts.append(f"The ledger lists this report as {line.get('path')!r}: its folder was renamed, or put in another's place.")
    chain = found.run.get("chain") or {}
    if (chain.get("n"), chain.get("previous")) != (line.get("n"), line.get("previous")):
        found.doubts.append("The report was sealed at another place in the ledger than where it stands now.")
    if line.get("key") is not None and found.facts.get("key") not in ("", PublicKey(bytes.fromhex(str(line["key"]))).id):
        found.doubts.append("The report and its line in the ledger are signed by different keys.")
    found.facts |= {"n": line.get("n"), "head": line.get("head")}
