"""Whatever stands in a report's files in place of what should: verify says no in sentences, and never breaks off."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from release_stage import ODD, Archive, places, put

from suite.runbooks import ledger
from suite.runbooks.archive import ATTESTATION, ENVIRONMENT
from suite.runbooks.digest import of_file
from suite.runbooks.envelope import pae, sealed
from suite.runbooks.statement import RUN, TEST_RESULT
from suite.runbooks.verify import verify


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = Archive(tmp_path_factory.mktemp("shapes"))
    made.seal("R1", broken=["P2.5"], skipped=["P5.6"])
    return made


def altered(archive: Archive, place: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Somebody with the key alters one file, and signs everything anew: nothing but what the files say can be seen to be wrong."""
    if name in (ATTESTATION, ENVIRONMENT):
        statement = json.loads(base64.b64decode(json.loads((place / name).read_bytes())["payload"]))
        (place / name).write_bytes(sealed(change(statement), archive.key))
    else:
        (place / name).write_bytes(json.dumps(change(json.loads((place / name).read_bytes()))).encode())
    if name != ATTESTATION:
        statement = json.loads(base64.b64decode(json.loads((place / ATTESTATION).read_bytes())["payload"]))
        for subject in statement["subject"]:
            subject["digest"]["sha256"] = of_file(place / subject["name"])
        (place / ATTESTATION).write_bytes(sealed(statement, archive.key))


@pytest.mark.parametrize("name", [ATTESTATION, ENVIRONMENT, "results.json", "phase2_health.ipynb"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_an_odd_value_anywhere_is_never_more_than_a_doubt(name: str, archive: Archive, tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    place = shutil.copytree(next(archive.reports.glob("2*-R1")), tmp_path / "copy")

    def change(body: Any) -> Any:
        return put(body, data.draw(st.sampled_from(places(body))), data.draw(ODD))

    altered(archive, place, name, change)
    found = verify(place)
    assert all(isinstance(doubt, str) and doubt for doubt in found.doubts) and isinstance(repr(found), str)
    json.dumps(found.to_dict())


@pytest.mark.parametrize("name", [ATTESTATION, ENVIRONMENT])
@pytest.mark.parametrize("change", [{"predicateType": TEST_RESULT}, {"predicateType": RUN}, {"predicateType": "https://slsa.dev/provenance/v1"},
                                    {"_type": "https://in-toto.io/Statement/v0.1"}])
def test_a_signed_statement_of_another_kind_is_none(name: str, change: dict[str, str], archive: Archive, tmp_path: Path) -> None:
    if change.get("predicateType") == (TEST_RESULT if name == ATTESTATION else RUN):
        change = {"_type": "https://in-toto.io/Statement/v2"}
    place = shutil.copytree(next(archive.reports.glob("2*-R1")), tmp_path / "copy")
    altered(archive, place, name, lambda body: {**body, **change})
    assert any(f"{name} holds no statement of the kind" in doubt for doubt in verify(place).doubts)


def test_a_signed_payload_of_another_type_is_none(archive: Archive, tmp_path: Path) -> None:
    place = shutil.copytree(next(archive.reports.glob("2*-R1")), tmp_path / "copy")
    envelope = json.loads((place / ATTESTATION).read_bytes())
    signature = archive.key.sign(pae("application/json", base64.b64decode(envelope["payload"])))
    envelope |= {"payloadType": "application/json", "signatures": [{"sig": base64.b64encode(signature).decode()}]}
    (place / ATTESTATION).write_text(json.dumps(envelope), encoding="utf-8")
    found = verify(place)
    assert any(f"{ATTESTATION} holds no statement of the kind" in doubt for doubt in found.doubts)
    assert not any("is not signed" in doubt for doubt in found.doubts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_an_odd_value_anywhere_in_the_ledger_is_found(archive: Archive, tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    reports = shutil.copytree(archive.reports, tmp_path / "copy")
    line = json.loads((reports / ledger.FILE).read_bytes())
    path, odd = data.draw(st.sampled_from(places(line))), data.draw(ODD)
    other = put(line, path, odd)
    (reports / ledger.FILE).write_bytes(json.dumps(other).encode() + b"\n")
    same = json.dumps(other, sort_keys=True) == json.dumps(line, sort_keys=True)
    assert verify(reports).ok is same and verify(next(reports.glob("2*-R1"))).ok is same


@pytest.mark.parametrize("name", ["a b", "ü.txt", b"\xff\xfe".decode("utf-8", "surrogateescape"), "new\nline", "-rf", "a\\b"])
def test_a_file_of_any_name_is_sealed_and_watched(name: str, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    directory = archive.make("R1")
    (directory / "evidence" / name).write_bytes(b"x")
    from suite.runbooks.seal import seal

    place = seal(directory, archive.reports, archive.key, runbooks=archive.runbooks).path
    assert verify(place).ok, verify(place)
    (place / "evidence" / name).write_bytes(b"y")
    assert not verify(place).ok
