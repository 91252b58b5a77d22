"""Every way of editing a sealed report that we could think of, each by its name: verify finds it, and says what it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from release_stage import Archive, edited_json

from suite.checks.result import MIME
from suite.runbooks import ledger
from suite.runbooks.archive import ATTESTATION, ENVIRONMENT, SIGNER
from suite.runbooks.envelope import sealed
from suite.runbooks.sign import load_key, make_key
from suite.runbooks.verify import verify

Edit = tuple[Callable[[Path], Any], str]
NOTEBOOK = "phase2_health.ipynb"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Three releases: the last but one is what is edited."""
    archive = Archive(tmp_path_factory.mktemp("kept"))
    archive.seal("R1")
    archive.seal("R2", broken=["P2.5"], skipped=["P5.6"])
    archive.seal("R3")
    return archive


@pytest.fixture
def archive(kept: Archive, tmp_path: Path) -> Iterator[Archive]:
    shutil.copytree(kept.folder, tmp_path / "copy", symlinks=True)
    yield Archive(tmp_path / "copy")


def release(archive: Archive) -> Path:
    return next(archive.reports.glob("*-R2"))


def in_notebook(change: Callable[[list[dict[str, Any]]], Any], name: str = NOTEBOOK) -> Callable[[Path], None]:
    return lambda place: edited_json(place / name, lambda body: change(body["cells"]))


def in_results(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda place: edited_json(place / "results.json", change)


def cell_of(cells: list[dict[str, Any]], check: str) -> dict[str, Any]:
    return next(cell for cell in cells if cell["source"] == f'run.check("{check}")')


def record(cells: list[dict[str, Any]], check: str) -> dict[str, Any]:
    return cell_of(cells, check)["outputs"][0]["data"][MIME]


def row(results: dict[str, Any], check: str) -> dict[str, Any]:
    return next(found for found in results["checks"] if found["id"] == check)


def passed(found: dict[str, Any]) -> None:
    found["state"] = "pass"


def in_both(place: Path) -> None:
    in_notebook(lambda cells: passed(record(cells, "P2.5")))(place)
    in_results(lambda body: passed(row(body, "P2.5")))(place)


def swapped(place: Path) -> None:
    shutil.copyfile(place.with_name(next(place.parent.glob("*-R1")).name) / NOTEBOOK, place / NOTEBOOK)


def exchanged(place: Path) -> None:
    first, second = place / NOTEBOOK, place / "phase3_monitoring.ipynb"
    aside = place / "aside"
    first.rename(aside), second.rename(first), aside.rename(second)


def truncated(name: str) -> Callable[[Path], None]:
    return lambda place: os.truncate(place / name, (place / name).stat().st_size // 2)


def linked(place: Path) -> None:
    (place / "report.html").rename(place.parent / "elsewhere.html")
    (place / "report.html").symlink_to(place.parent / "elsewhere.html")


def pipe(name: str) -> Callable[[Path], None]:
    return lambda place: ((place / name).unlink(), os.mkfifo(place / name))[1]


def resigned(place: Path) -> None:
    """Somebody with a key of their own edits the verdict, and seals everything anew, public key and all."""
    make_key(place.parent / "theirs.pem")
    theirs = load_key(place.parent / "theirs.pem")
    in_results(lambda body: body.update(verdict="READY"))(place)
    (place / SIGNER).write_bytes(theirs.public.pem())
    for name in (ENVIRONMENT, ATTESTATION):
        statement = json.loads(base64.b64decode(json.loads((place / name).read_bytes())["payload"]))
        for subject in statement["subject"]:
            from suite.runbooks.digest import of_file

            subject["digest"]["sha256"] = of_file(place / subject["name"])
        (place / name).write_bytes(sealed(statement, theirs))


def other_signature(place: Path) -> None:
    def change(body: dict[str, Any]) -> None:
        body["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()

    edited_json(place / ATTESTATION, change)


def signature_of_the_other_file(place: Path) -> None:
    other = json.loads((place / ENVIRONMENT).read_bytes())["signatures"]
    edited_json(place / ATTESTATION, lambda body: body.update(signatures=other))


def payload(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        def inner(body: dict[str, Any]) -> None:
            statement = json.loads(base64.b64decode(body["payload"]))
            change(statement)
            body["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

        edited_json(place / name, inner)

    return edit


def moved_test(statement: dict[str, Any]) -> None:
    predicate = statement["predicate"]
    predicate["failedTests"].remove("P2.5")
    predicate["passedTests"].append("P2.5")


def attestation_of(name: str) -> Callable[[Path], None]:
    return lambda place: shutil.copyfile(next(place.parent.glob(f"*-{name}")) / ATTESTATION, place / ATTESTATION)


def whole_folder(place: Path) -> None:
    other = next(place.parent.glob("*-R1"))
    shutil.rmtree(place)
    shutil.copytree(other, place)


def other_key(place: Path) -> None:
    make_key(place.parent / "theirs.pem")
    (place / SIGNER).write_bytes(load_key(place.parent / "theirs.pem").public.pem())


def criterion(place: Path) -> None:
    file = place / "criteria.toml"
    text = file.read_text(encoding="utf-8")
    assert "limit = 384" in text
    file.write_text(text.replace("limit = 384", "limit = 1", 1), encoding="utf-8")


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_text(text, encoding="utf-8")


EDITS: dict[str, Edit] = {
    "an edited output": (in_notebook(lambda cells: cell_of(cells, "P2.1")["outputs"][0]["data"].update({"text/plain": "P2.1 pass"})),
                         f"{NOTEBOOK} was changed after the seal"),
    "an edited observed value": (in_notebook(lambda cells: record(cells, "P2.1")["evidence"][0].update(observed=8)), "P2.1: the evidence in results.json"),
    "a removed cell": (in_notebook(lambda cells: cells.remove(cell_of(cells, "P2.5"))), "its execution counts are"),
    "a removed cell, counted anew": (in_notebook(lambda cells: cells.remove(cell_of(cells, "P2.9"))), "cells were removed or added"),
    "an added cell": (in_notebook(lambda cells: cells.append({"cell_type": "markdown", "metadata": {}, "source": "All is well.", "id": "x"})),
                      "cells were removed or added"),
    "cells in another order": (in_notebook(lambda cells: cells.reverse()), "its execution counts are"),
    "a swapped notebook": (swapped, f"{NOTEBOOK} was changed after the seal"),
    "two notebooks exchanged": (exchanged, "phase3_monitoring.ipynb was changed after the seal"),
    "a forged verdict": (in_results(lambda body: body.update(verdict="READY")), "The verdict in results.json is 'READY'"),
    "a forged score": (in_results(lambda body: body["score"].update(lowest=1.0)), "The score in results.json"),
    "a forged gate": (in_results(lambda body: body["gates"][0].update(state="not-run")), "The gates in results.json"),
    "a forged state": (in_results(lambda body: passed(row(body, "P2.5"))), "P2.5 is 'pass' in results.json, but"),
    "a forged state in notebook and results": (in_both, "the record says 'pass' but its evidence gives 'fail'"),
    "a check not run that passes": (in_results(lambda body: passed(row(body, "P5.6"))), "P5.6 is 'pass' in results.json, but"),
    "a check removed from the results": (in_results(lambda body: body["checks"].remove(row(body, "P2.5"))), "P2.5 is recorded in"),
    "another stage": (in_results(lambda body: body.update(stage="prod")), "stage is 'prod' in results.json but 'dev'"),
    "results that are no object": (lambda place: (place / "results.json").write_text("[]"), "holds no results of a release"),
    "a changed criterion": (criterion, "criteria.toml is not the criteria file whose digest was attested"),
    "a changed gate rule": (lambda place: (place / "gates.toml").write_text("[floor]\n"), "gates.toml was changed after the seal"),
    "a replaced signature": (other_signature, f"{ATTESTATION} is not signed by"),
    "the signature of the other statement": (signature_of_the_other_file, f"{ATTESTATION} is not signed by"),
    "no signature": (lambda place: edited_json(place / ATTESTATION, lambda body: body.update(signatures=[])), f"{ATTESTATION} is not signed by"),
    "another payload type": (lambda place: edited_json(place / ATTESTATION, lambda body: body.update(payloadType="text/plain")), "is not signed by"),
    "a payload that is none": (lambda place: edited_json(place / ATTESTATION, lambda body: body.update(payload="!")), f"{ATTESTATION} cannot be read"),
    "re-signed with another key": (resigned, "The ledger beside the report does not list it"),
    "a changed public key": (other_key, f"{SIGNER} was changed after the seal"),
    "a removed public key": (lambda place: (place / SIGNER).unlink(), "The public key in the report cannot be used"),
    "a test moved to the passed ones": (payload(ATTESTATION, moved_test), "P2.5 is 'fail' in results.json but stands among the passedTests"),
    "another result in the attestation": (payload(ATTESTATION, lambda body: body["predicate"].update(result="PASSED")), f"{ATTESTATION} is not signed by"),
    "another commit in the attestation": (payload(ENVIRONMENT, lambda body: body["predicate"]["facts"].update(commit="0" * 40)), f"{ENVIRONMENT} is not"),
    "the attestation of another release": (attestation_of("R1"), "results.json was changed after the seal"),
    "the folder of another release": (whole_folder, "its folder was renamed, or put in another's place"),
    "a removed environment": (lambda place: (place / ENVIRONMENT).unlink(), f"{ENVIRONMENT} is missing"),
    "an edited junit.xml": (write("junit.xml", "<testsuites/>"), "junit.xml was changed after the seal"),
    "an edited page": (write("report.html", "<p>READY</p>"), "report.html was changed after the seal"),
    "an edited page of a phase": (write("phase2_health.html", "<p>pass</p>"), "phase2_health.html was changed after the seal"),
    "an edited evidence file": (write("evidence/phase2_health.json", "{}"), "evidence/phase2_health.json was changed after the seal"),
    "a changed source of a cell": (in_notebook(lambda cells: cell_of(cells, "P2.5").update(source="run.check('P2.4')")), "is not the runbook's"),
    "changed prose": (in_notebook(lambda cells: cells[0].update(source="# Another")), "markdown cell 1 is not the runbook's"),
    "injected code": (in_notebook(lambda cells: cells[2].update(source="import os\nos.abort()")), "its injected parameters are no plain values"),
    "code in a cell of the runner": (in_notebook(lambda cells: cells.append({"cell_type": "code", "metadata": {"tags": ["not-run"]}, "source": "cheat()",
                                                                             "outputs": [], "execution_count": None, "id": "x"})), "holds code: 'cheat()'"),
    "a changed execution count": (in_notebook(lambda cells: cell_of(cells, "P2.5").update(execution_count=99)), "its execution counts are"),
    "a changed time": (in_notebook(lambda cells: cells[1]["metadata"]["papermill"].update(duration=9)), "only its metadata, times or counts differ"),
    "an added file": (write("evidence/more.json", "{}"), "evidence/more.json was added after the seal"),
    "an added folder": (lambda place: (place / "more").mkdir(), "more is an empty folder"),
    "a removed file": (lambda place: (place / "junit.xml").unlink(), "junit.xml is missing"),
    "a removed notebook": (lambda place: (place / NOTEBOOK).unlink(), f"{NOTEBOOK} is missing"),
    "a truncated notebook": (truncated(NOTEBOOK), "cannot be read as a notebook"),
    "truncated results": (truncated("results.json"), "cannot be read as results of a release"),
    "truncated criteria": (truncated("criteria.toml"), "criteria.toml was changed after the seal"),
    "a truncated attestation": (truncated(ATTESTATION), f"{ATTESTATION} cannot be read"),
    "a symlink for a file": (linked, "report.html is a symbolic link"),
    **{f"a pipe for {name}": (pipe(name), f"{name} is no plain file") for name in ("junit.xml", "results.json", "criteria.toml", "gates.toml", NOTEBOOK, SIGNER,
                                                                                    ENVIRONMENT)},
    "a device for the results": (lambda place: ((place / "results.json").unlink(), (place / "results.json").symlink_to("/dev/zero")),
                                 "results.json is a symbolic link"),
}


def test_what_was_not_edited_is_verified(archive: Archive) -> None:
    for place in archive.reports.glob("2*"):
        found = verify(place, archive.key.public, ledger.read(archive.reports).head)
        assert found.ok and found.doubts == (), found
    assert verify(archive.reports, archive.key.public, ledger.read(archive.reports).head).ok


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_report_is_found(name: str, archive: Archive) -> None:
    edit, sentence = EDITS[name]
    edit(release(archive))
    found = verify(release(archive))
    assert not found.ok and any(sentence in doubt for doubt in found.doubts), found


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("the folder of another release", "re-signed with another key")])
def test_it_is_found_on_another_machine_too_where_no_ledger_lies_beside(name: str, archive: Archive, tmp_path: Path) -> None:
    EDITS[name][0](release(archive))
    gone = name.removeprefix("a pipe for ")  # what cannot be copied is missing there
    alone = shutil.copytree(release(archive), tmp_path / "alone", symlinks=True, ignore=lambda _, names: {gone} & set(names))
    found = verify(alone)
    assert not found.ok and not any("No ledger" in doubt for doubt in found.doubts)


def test_a_report_that_was_signed_anew_is_found_by_the_signers_key_and_told_by_the_note_without(archive: Archive, tmp_path: Path) -> None:
    ours = archive.key.public
    resigned(release(archive))
    alone = shutil.copytree(release(archive), tmp_path / "alone")
    assert any("is not signed by the key given" in doubt for doubt in verify(alone, ours).doubts)
    theirs = load_key(archive.reports / "theirs.pem").public
    found = verify(alone)
    assert any(f"Signed by the key {theirs.id}, which came with the report itself" in note for note in found.notes), found
    assert any("The verdict in results.json is 'READY'" in doubt for doubt in found.doubts)  # what does not follow stays wrong under any signature


def lines(archive: Archive) -> list[str]:
    return (archive.reports / ledger.FILE).read_text(encoding="utf-8").splitlines(keepends=True)


def forged(archive: Archive, change: Callable[[list[dict[str, Any]]], Any], signer: Path | None = None) -> None:
    """A ledger with a chain computed anew, signed by nobody, or by somebody else."""
    rows = [json.loads(line) for line in lines(archive)]
    change(rows)
    (archive.reports / ledger.FILE).unlink()
    if signer is not None:
        make_key(signer)
        for one in rows:
            ledger.append(archive.reports, {key: value for key, value in one.items() if key not in ("n", "previous", *ledger.UNSIGNED)}, load_key(signer))
        return
    from suite.runbooks.digest import of_json

    previous = ledger.START
    for number, one in enumerate(rows, 1):
        one |= {"n": number, "previous": previous}
        previous = one["head"] = of_json({key: value for key, value in one.items() if key not in ledger.UNSIGNED})
    (archive.reports / ledger.FILE).write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def write_lines(archive: Archive, found: list[str]) -> None:
    (archive.reports / ledger.FILE).write_text("".join(found), encoding="utf-8")


def turned(line: str) -> str:
    return line.replace('"verdict":"NOT READY"', '"verdict":"READY"')


def put_there(archive: Archive) -> None:
    shutil.copytree(release(archive), archive.reports / "20261129T020000Z-R4")


LEDGER: dict[str, tuple[Callable[[Archive], Any], str]] = {
    "a removed release": (lambda a: write_lines(a, [lines(a)[0], lines(a)[2]]), "says that it is number 3: lines were removed"),
    "a removed first release": (lambda a: write_lines(a, lines(a)[1:]), "Line 1 of the ledger does not follow"),
    "reordered releases": (lambda a: write_lines(a, [lines(a)[0], lines(a)[2], lines(a)[1]]), "Line 2 of the ledger does not follow"),
    "a release added twice": (lambda a: write_lines(a, [*lines(a), lines(a)[1]]), "Line 4 of the ledger says that it is number 2"),
    "an edited verdict": (lambda a: write_lines(a, [lines(a)[0], turned(lines(a)[1]), lines(a)[2]]), "Line 2 of the ledger was changed"),
    "a damaged line": (lambda a: write_lines(a, [lines(a)[0], "{\n", lines(a)[2]]), "Line 2 of the ledger cannot be read"),
    "a removed release, the chain computed anew": (lambda a: forged(a, lambda rows: rows.pop(1)), "is not signed by the key that it names"),
    "reordered, the chain computed anew": (lambda a: forged(a, lambda rows: rows.reverse()), "is not signed by the key that it names"),
    "a removed last release": (lambda a: write_lines(a, lines(a)[:2]), "20261129T010003Z-R3 is sealed, but the ledger does not list it"),
    "half a last line": (lambda a: write_lines(a, [*lines(a)[:2], lines(a)[2][:40]]), "20261129T010003Z-R3 is sealed, but the ledger does not list it"),
    "a release that was put there": (put_there, "20261129T020000Z-R4 is sealed, but the ledger does not list it"),
    "a removed folder": (lambda a: shutil.rmtree(release(a)), "is in the ledger, but its folder or its attestation is gone"),
    "an emptied ledger": (lambda a: write_lines(a, []), "is sealed, but the ledger does not list it"),
    "a link for a folder": (lambda a: (release(a).rename(a.folder / "away"), (a.reports / "20261129T010002Z-R2").symlink_to(a.folder / "away")),
                            "is not a folder of this archive"),
    "another attestation": (lambda a: edited_json(release(a) / ATTESTATION, lambda body: body.update(signatures=[])), "has another attestation"),
}


@pytest.mark.parametrize("name", LEDGER)
def test_an_edited_ledger_is_found(name: str, archive: Archive) -> None:
    edit, sentence = LEDGER[name]
    edit(archive)
    found = verify(archive.reports)
    assert not found.ok and any(sentence in doubt for doubt in found.doubts), found


@pytest.mark.parametrize(("name", "sentence"), [
    ("an edited verdict", "Line 2 of the ledger was changed"), ("a damaged line", "Line 2 of the ledger cannot be read"),
    ("reordered releases", "Line 2 of the ledger does not follow"), ("a removed first release", "does not list it: its line was removed")])
def test_it_is_found_by_whoever_looks_at_one_release_beside_it_too(name: str, sentence: str, archive: Archive) -> None:
    LEDGER[name][0](archive)
    found = verify(next(archive.reports.glob("*-R1")))
    assert not found.ok and any(sentence in doubt for doubt in found.doubts), found


def test_a_ledger_that_was_signed_anew_is_found_by_the_key_or_the_head(archive: Archive, tmp_path: Path) -> None:
    ours, head = archive.key.public, ledger.read(archive.reports).head
    shutil.rmtree(release(archive))
    forged(archive, lambda rows: rows.pop(1), tmp_path / "theirs.pem")
    assert verify(archive.reports).ok  # whoever makes all of it anew is found only by what lies elsewhere
    assert any("signed by another key than the one given" in doubt for doubt in verify(archive.reports, ours).doubts)
    assert any("does not hold the head" in doubt for doubt in verify(archive.reports, head=head).doubts)
    last = verify(next(archive.reports.glob("*-R3")))
    assert any("sealed at another place in the ledger" in doubt for doubt in last.doubts), last


def test_a_ledger_signed_by_another_key_than_its_reports_is_found(archive: Archive, tmp_path: Path) -> None:
    forged(archive, lambda rows: None, tmp_path / "theirs.pem")
    assert verify(archive.reports).ok  # as a chain it is one
    found = verify(release(archive))
    assert any("The report and its line in the ledger are signed by different keys." in doubt for doubt in found.doubts), found


def test_a_removed_last_release_is_found_by_the_head_that_was_kept_and_else_it_is_said_that_nobody_looked(archive: Archive) -> None:
    head = ledger.read(archive.reports).head
    shutil.rmtree(next(archive.reports.glob("*-R3")))
    write_lines(archive, lines(archive)[:2])
    without = verify(archive.reports)
    assert without.ok and any(note.startswith("Tail not checked") for note in without.notes), without
    assert any(f"does not hold the head {head}" in doubt for doubt in verify(archive.reports, head=head).doubts)
    earlier = json.loads(lines(archive)[0])["head"]
    assert any("1 lines were added since" in note for note in verify(archive.reports, head=earlier).notes)
