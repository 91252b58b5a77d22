"""What a sealed release holds: statements as in-toto has them, in envelopes as DSSE has them, that anybody can check without us."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from release_stage import Archive

from suite.runbooks import statement
from suite.runbooks.archive import ATTESTATION, ENVIRONMENT, SIGNER
from suite.runbooks.digest import of_file, of_json
from suite.runbooks.envelope import IN_TOTO, pae, read_envelope
from suite.runbooks.expected import IDS
from suite.runbooks.seal import Sealed
from suite.runbooks.sign import PublicKey
from suite.runbooks.verify import verify


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def sealed(archive: Archive) -> Sealed:
    return archive.seal("R1", broken=["P2.5"], skipped=["P5.6"])


def body(sealed: Sealed, name: str) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads((sealed.path / name).read_bytes())["payload"]))


def test_the_encoding_that_is_signed_is_the_one_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


@pytest.mark.parametrize("name", [ATTESTATION, ENVIRONMENT])
def test_the_signature_holds_for_whoever_knows_only_the_specification(name: str, sealed: Sealed) -> None:
    envelope = json.loads((sealed.path / name).read_bytes())
    assert set(envelope) == {"payload", "payloadType", "signatures"} and envelope["payloadType"] == "application/vnd.in-toto+json"
    payload, (signature,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
    key: Any = load_pem_public_key((sealed.path / SIGNER).read_bytes())
    message = b" ".join([b"DSSEv1", b"28", b"application/vnd.in-toto+json", str(len(payload)).encode(), payload])
    key.verify(base64.b64decode(signature["sig"]), message)  # raises when it does not hold
    assert signature["keyid"] == PublicKey(key.public_bytes_raw()).id


def test_signatures_in_the_other_alphabet_are_read_and_the_id_is_only_a_claim(archive: Archive, sealed: Sealed) -> None:
    data = json.loads((sealed.path / ATTESTATION).read_bytes())
    data["payload"] = base64.urlsafe_b64encode(base64.b64decode(data["payload"])).decode()
    data["signatures"][0] |= {"sig": base64.urlsafe_b64encode(base64.b64decode(data["signatures"][0]["sig"])).decode(), "keyid": "somebody"}
    envelope = read_envelope(json.dumps(data).encode(), "x")
    assert envelope.type == IN_TOTO and envelope.signer([archive.key.public]) == archive.key.public
    assert envelope.signer([PublicKey(bytes(32))]) is None and envelope.signer([]) is None


def test_the_statement_names_all_33_by_their_state_and_every_file_by_its_digest(sealed: Sealed) -> None:
    found = body(sealed, ATTESTATION)
    assert found["_type"] == "https://in-toto.io/Statement/v1" and found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = found["predicate"]
    assert predicate["result"] == "FAILED" and predicate["failedTests"] == ["P2.5", "P5.6"] and predicate["warnedTests"] == []
    assert sorted(predicate["passedTests"] + predicate["failedTests"]) == sorted(IDS) and len(IDS) == 33
    named = {row["name"]: row["digest"]["sha256"] for row in found["subject"]}
    there = {path.relative_to(sealed.path).as_posix(): of_file(path) for path in sealed.path.rglob("*") if path.is_file()}
    assert there.pop(ATTESTATION) == sealed.attestation_sha256 and named == there


def test_the_configuration_is_named_by_digests(sealed: Sealed) -> None:
    rows = {row["name"]: row["digest"] for row in body(sealed, ATTESTATION)["predicate"]["configuration"]}
    facts = json.loads((sealed.path / "results.json").read_bytes())["facts"]
    assert rows == {"commit": {"gitCommit": facts["commit"]}, "package lock": {"sha256": facts["packages_sha256"]},
                    "settings without secrets": {"sha256": facts["settings_sha256"]}, "criteria.toml": {"sha256": of_file(sealed.path / "criteria.toml")},
                    "model smoke": {"sha256": facts["models"]["smoke"]}, "machine": {"sha256": of_json(facts["machine"])}}
    dirty = statement.configuration({"commit": "a" * 40 + "-dirty", "dirty_diff_sha256": "b" * 64, "models": "none", "machine": {}}, "c" * 64)
    assert dirty == [{"name": "commit", "digest": {"gitCommit": "a" * 40}}, {"name": "dirty diff", "digest": {"sha256": "b" * 64}},
                     {"name": "criteria.toml", "digest": {"sha256": "c" * 64}}]


def test_our_own_predicate_tells_environment_timings_and_what_the_seal_proves(sealed: Sealed) -> None:
    found = body(sealed, ENVIRONMENT)
    predicate = found["predicate"]
    assert found["subject"] == [{"name": "results.json", "digest": {"sha256": of_file(sealed.path / "results.json")}}]
    assert predicate["proves"] == [statement.PROVES, statement.NOT_PROVEN] and predicate["sealed"] == "by the runner"
    assert predicate["facts"]["machine"] == {"cpu": "made", "cores": 2} and predicate["chain"] == {"n": 1, "previous": "0" * 64}
    assert [row["runbook"] for row in predicate["timings"]][:2] == ["phase1_environment", "phase2_health"]
    assert predicate["timings"][0]["cells"][0] == {"index": 3, "title": "The programs that the stack is made of", "seconds": 0.1}
    assert predicate["states"]["P2.5"] == "fail" and list(predicate["states"]) == list(IDS)
    digests = predicate["notebooks"]["phase2_health.ipynb"]
    assert digests["sources"] == digests["packaged"] and len(digests["packaged"]) == 3 + 2 * 9


@pytest.mark.parametrize(("verdict", "states", "result"), [
    ("READY", ("pass", "pass"), "PASSED"), ("READY", ("pass", "waived"), "WARNED"), ("REHEARSAL", ("pass", "pass"), "WARNED"),
    ("NOT READY", ("pass", "degraded"), "FAILED"), ("COULD NOT RUN", ("not-run", "not-run"), "FAILED"), ("anything", ("pass", "pass"), "FAILED")])
def test_the_result_follows_from_the_verdict_and_never_flatters_it(verdict: str, states: tuple[str, ...], result: str) -> None:
    rows = [{"id": name, "state": states[number % 2]} for number, name in enumerate(IDS)]
    found = statement.test_result({}, {"verdict": verdict, "checks": rows}, "c" * 64)["predicate"]
    assert found["result"] == result
    group = {"pass": "passedTests", "waived": "warnedTests", "degraded": "warnedTests", "not-run": "failedTests"}
    assert all(IDS[number] in found[group[state]] for number, state in enumerate(states))


def test_a_missing_check_and_an_unknown_state_stand_among_the_failed() -> None:
    found = statement.test_result({}, {"verdict": "READY", "checks": [{"id": "P1.1", "state": "splendid"}, {"id": "P2.10", "state": "pass"}]}, "")
    predicate = found["predicate"]
    assert predicate["failedTests"] == list(IDS) and predicate["passedTests"] == ["P2.10"]
    assert statement.states({"checks": []}) == dict.fromkeys(IDS, "missing")


def test_a_report_is_verified_on_another_machine_from_its_folder_alone(archive: Archive, sealed: Sealed, tmp_path: Path) -> None:
    alone = shutil.copytree(sealed.path, tmp_path / "elsewhere")
    found = verify(alone, archive.key.public)
    assert found.ok and found.facts["verdict"] == "NOT READY", found
    assert f"Signed by the key given, {archive.key.public.id}." in found.notes
    assert any("No ledger lies beside" in note for note in found.notes)
    assert f"The folder was called {sealed.path.name} when it was sealed." in found.notes
    assert "a ledger's head was given" in " ".join(verify(alone, head="a" * 64).doubts).lower()
    assert json.loads(json.dumps(found.to_dict()))["ok"] is True and "nothing speaks against it" in repr(found) and "pass" in found._repr_html_()


def test_files_in_the_archive_are_for_its_owner_alone(sealed: Sealed) -> None:
    ours = [sealed.path / name for name in (ATTESTATION, ENVIRONMENT, SIGNER)] + [sealed.path.parent / "ledger.jsonl", sealed.path.parent / ".ledger.lock"]
    assert [path.stat().st_mode & 0o777 for path in ours] == [0o600] * 5
