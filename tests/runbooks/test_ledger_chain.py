"""The ledger as a chain: whatever is done to its lines but adding the next one is found, and it carries what it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from release_stage import Archive

from suite.errors import StorageError
from suite.runbooks import archive as shelf
from suite.runbooks import ledger
from suite.runbooks.digest import of_json
from suite.runbooks.sign import load_key, make_key

LENGTH = 6


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    make_key(folder / "key.pem")
    for number in range(LENGTH):
        ledger.append(folder, {"kind": ledger.SEALED, "at": 1000.0 + number, "release": f"R{number}", "path": f"p{number}"}, load_key(folder / "key.pem"))
    return folder


def test_a_chain_as_it_was_written_holds(reports: Path) -> None:
    found = ledger.read(reports)
    assert ledger.chain(found.lines, [load_key(reports / "key.pem").public]) == [] and len(found.lines) == LENGTH and not found.torn
    assert [line["previous"] for line in found.lines] == [ledger.START, *[line["head"] for line in found.lines[:-1]]]
    assert [line["n"] for line in found.lines] == [*range(1, LENGTH + 1)] and found.head == found.lines[-1]["head"]
    bare = {key: value for key, value in found.lines[2].items() if key not in ("head", "key", "signature")}
    assert found.lines[2]["head"] == of_json(bare)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(LENGTH)), st.integers(0, LENGTH))
def test_any_other_order_or_choice_of_lines_is_found_but_a_beginning(reports: Path, order: list[int], length: int) -> None:
    lines = [ledger.read(reports).lines[place] for place in order[:length]]
    beginning = order[:length] == [*range(length)]
    assert (ledger.chain(lines) == []) is beginning


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, LENGTH - 1), st.sampled_from(["n", "kind", "at", "release", "path", "previous", "head", "key", "signature", "more"]),
       st.text(max_size=5) | st.integers() | st.none())
def test_any_changed_field_of_any_line_is_found(reports: Path, place: int, field: str, value: Any) -> None:
    lines = [dict(line) for line in ledger.read(reports).lines]
    lines[place][field] = value
    assert ledger.chain(lines) != []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.integers(0, 20_000), st.integers(0, 255))
def test_any_changed_byte_of_the_file_is_found(reports: Path, tmp_path: Path, place: int, byte: int) -> None:
    data = bytearray((reports / ledger.FILE).read_bytes())
    place %= len(data)
    if data[place] == byte:
        return
    data[place] = byte
    (tmp_path / ledger.FILE).write_bytes(data)
    found = ledger.read(tmp_path)
    same = not found.damaged and not found.torn and list(found.lines) == list(ledger.read(reports).lines)  # as a space for a space
    assert same or found.damaged or found.torn or ledger.chain(found.lines)


def test_nothing_is_added_to_a_chain_that_does_not_hold(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.seal("R1")
    archive.seal("R2")
    file = archive.reports / ledger.FILE
    first, second = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for text in (second, second + first, first.replace("R1", "R9") + second, "{}\n" + first):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(StorageError, match=r"is not as it was written .* call `suite report verify` on the archive, and restore the ledger"):
            archive.seal("R3")
        assert file.read_text(encoding="utf-8") == text


def test_a_line_carries_the_audit_head_the_states_and_the_digests(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    sealed = archive.seal("R1", broken=["P2.5"], skipped=["P5.6"], audit_head="c" * 64)
    line = json.loads((archive.reports / ledger.FILE).read_text(encoding="utf-8"))
    assert line["audit_head"] == "c" * 64 and line["attestation_sha256"] == sealed.attestation_sha256 and line["head"] == sealed.head
    assert line["path"] == sealed.path.name and line["verdict"] == "NOT READY" and line["stage"] == "dev"
    assert (line["states"]["P2.5"], line["states"]["P5.6"], line["states"]["P2.1"], len(line["states"])) == ("fail", "not-run", "pass", 33)
    (row,) = shelf.releases(archive.reports)
    assert row.to_dict()["states"] == line["states"] and row.path == sealed.path and (row.release, row.n, row.pruned) == ("R1", 1, False)
    assert shelf.results(row.path)["release"] == "R1"


def test_two_keys_one_after_the_other_are_told_and_both_can_be_demanded(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.seal("R1")
    first = archive.key.public
    archive.key_file.unlink()
    archive.seal("R2")
    found = ledger.read(archive.reports)
    assert ledger.chain(found.lines, [first, archive.key.public]) == []
    assert ledger.chain(found.lines, [first]) == ["Line 2 of the ledger is signed by another key than the one given."]
    assert any("signed by 2 keys" in note for note in ledger.remarks(found)[1])
