"""What a seal says: an in-toto statement with the predicate `test-result`, and one of ours for environment and timings.

https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from suite import __version__
from suite.runbooks.digest import of_json
from suite.runbooks.expected import IDS

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
RUN = "https://local-ai-suite.example/attestation/release-run/v1"  # a name, not an address: nothing is kept there
BY_RUNNER, AFTERWARDS = "by the runner", "afterwards"
PROVES = ("The seal proves that nobody without the signing key has changed a file of this report since it was sealed: notebooks, results, "
          "criteria and evidence are as they were then, and every state follows from the recorded values under the attested criteria.")
NOT_PROVEN = ("It does not prove that the recorded values are true: a kernel of the same user that writes false records before the seal is "
              "believed, and whoever can read the signing key can sign anything. Run the checks as a user of their own, and keep the key and the "
              "ledger's head elsewhere, where that matters.")
NOT_AT_ONCE = "It was sealed afterwards: what happened to the notebook between its execution and the seal is not shown."
PASSED, WARNED = ("pass",), ("degraded", "waived", "not-applicable")  # every other state, and a missing check, is failed
RESULTS = {"READY": "PASSED", "REHEARSAL": "WARNED"}  # any other verdict is FAILED
MISSING = "missing"
_SHA256, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def states(results: Mapping[str, Any]) -> dict[str, str]:
    """The state of each of the 33 checks, and of every further one in the results; `missing` for one that is not there."""
    found = {str(row.get("id")): str(row.get("state")) for row in rows(results)}
    return {name: found.pop(name, MISSING) for name in IDS} | dict(sorted(found.items()))


def rows(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of checks that are any."""
    found = results.get("checks")
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def test_result(files: Mapping[str, str], results: Mapping[str, Any], criteria: str) -> dict[str, Any]:
    """The statement over all files (sha256 by path): every check by its state, and the digests of the configuration; `criteria` is a sha256."""
    found = states(results)
    warned = [name for name, state in found.items() if state in WARNED]
    result = RESULTS.get(str(results.get("verdict")), "FAILED")
    return _statement(files, TEST_RESULT, {
        "result": "WARNED" if result == "PASSED" and warned else result,
        "configuration": configuration(results.get("facts") or {}, criteria),
        "passedTests": [name for name, state in found.items() if state in PASSED],
        "warnedTests": warned,
        "failedTests": [name for name, state in found.items() if state not in PASSED + WARNED],
    })


def configuration(facts: Mapping[str, Any], criteria: str) -> list[dict[str, Any]]:
    """in-toto ResourceDescriptors of what the run was made with; what is not known is left out."""
    commit = _COMMIT.match(str(facts.get("commit", "")))
    found = [{"name": "commit", "digest": {"gitCommit": commit.group()}}] if commit else []
    named = {"dirty diff": "dirty_diff_sha256", "package lock": "packages_sha256", "settings without secrets": "settings_sha256"}
    found += [_descriptor(name, facts.get(key)) for name, key in named.items()]
    found.append(_descriptor("criteria.toml", criteria))
    models = facts.get("models")
    found += [_descriptor(f"model {name}", digest) for name, digest in sorted(models.items())] if isinstance(models, Mapping) else []
    if facts.get("machine"):
        found.append(_descriptor("machine", of_json(facts["machine"])))
    return [row for row in found if row]


def release_run(results: Mapping[str, Any], results_sha256: str, notebooks: Mapping[str, Any], *, sealed: str, at: float, place: str,
                previous: Mapping[str, Any]) -> dict[str, Any]:
    """Our statement over results.json: environment, timings, the states, each notebook's digests, and where in the ledger the release stands."""
    proves = [PROVES, NOT_PROVEN, *([NOT_AT_ONCE] if sealed == AFTERWARDS else [])]
    return _statement({"results.json": results_sha256}, RUN, {
        "release": results.get("release"), "stage": results.get("stage"), "verdict": results.get("verdict"), "states": states(results),
        "sealed": sealed, "sealed_at": at, "place": place, "suite": __version__, "chain": dict(previous), "proves": proves,
        "facts": results.get("facts") or {}, "notebooks": dict(notebooks),
        "timings": [{key: run.get(key) for key in ("runbook", "state", "seconds", "started_at", "ended_at", "cells")} for run in _runs(results)],
    })


def names(statement: Mapping[str, Any]) -> dict[str, str]:
    """sha256 by path of a statement's subjects. Raises KeyError or TypeError for a statement of another shape."""
    return {str(row["name"]): str(row["digest"]["sha256"]) for row in statement["subject"]}


def _runs(results: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    runs = results.get("runs")
    return [run for run in runs if isinstance(run, Mapping)] if isinstance(runs, list) else []


def _statement(files: Mapping[str, str], kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())]
    return {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _descriptor(name: str, digest: Any) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}} if isinstance(digest, str) and _SHA256.fullmatch(digest) else {}
