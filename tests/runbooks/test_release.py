"""A release by its public face, on a stand-in for a stack: 33 states whatever happens, judged by the runner alone, sealed and verifiable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from disks import fill, free, mounted
from fake_stack import TOKEN, FakeStack, change

from suite.checks.result import MIME
from suite.errors import BadRequest, NotFound, StartError, StorageError
from suite.runbooks import aggregate, archive, journal, lanes
from suite.runbooks.expected import IDS, PHASES
from suite.runbooks.release import Release, check_release
from suite.runbooks.sign import load_key
from suite.runbooks.verify import verify, verify_chain
from suite.settings import Settings, load

HEALTH = "phase2_health"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return load()


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    with FakeStack().served() as served:
        yield served


def check(settings: Settings, urls: dict[str, str], release: str = "R1", **more: Any) -> Release:
    """Phase 2 of a release, by URL; the other phases are not asked for."""
    given = {"base_urls": urls, "token_env": "THE_TOKEN"} | more.pop("parameters", {})
    return check_release(release, "dev", settings, **{"phases": [HEALTH], "progress": False} | more, parameters=given)


def states(done: Release) -> dict[str, str]:
    return {row["id"]: row["state"] for row in done.results["checks"]}


def test_a_release_is_33_states_a_verdict_and_a_sealed_folder(settings: Settings, urls: dict[str, str]) -> None:
    done = check(settings, urls)
    found = states(done)
    assert list(found) == list(IDS) and {name for name, state in found.items() if state == "pass"} == {name for name in IDS if name.startswith("P2.")}
    assert {state for name, state in found.items() if not name.startswith("P2.")} == {"not-run"}
    assert (done.verdict, done.exit) == ("NOT READY", 1) and "P1.1 is not-run" in done.line
    assert done.path.parent == settings.reports_dir and done.path.name.endswith("Z-R1") and archive.unfinished(settings.reports_dir) == []
    assert json.loads((done.path / "results.json").read_bytes()) == json.loads(json.dumps(dict(done.results)))
    names = {path.name for path in done.path.iterdir()}
    assert names >= {f"{HEALTH}.ipynb", f"{HEALTH}.html", "release.ipynb", "release.html", "report.html", "results.json", "junit.xml", "evidence", "criteria.toml",
                     "gates.toml", "attestation.dsse.json"}
    assert not names & {"journal.json"}
    assert {path.name for path in (done.path / "evidence").iterdir()} >= {"packages.txt", "settings.json", "stack.json", "P2.1.json"}
    runs = {run["runbook"]: run for run in done.results["runs"]}
    assert list(runs) == [*PHASES, "release"] and runs[HEALTH]["state"] == "finished" and runs["phase1_environment"]["state"] == "not-run"
    titles = [row["title"].partition(" ")[0] for row in runs[HEALTH]["cells"]]
    assert [title for title in titles if title.startswith("P2.")] == [name for name in IDS if name.startswith("P2.")]
    assert [path.name for path in settings.reports_dir.glob(".*R1*")] == [], "neither the folder nor its lock is left"
    verified = verify(done.path, load_key(settings).public, done.head)
    assert verified.ok, verified


def test_no_token_no_folder_of_this_machine_and_no_name_is_in_what_is_handed_on(settings: Settings, urls: dict[str, str], tmp_path: Path) -> None:
    done = check(settings, urls)
    for path in (path for path in done.path.rglob("*") if path.is_file()):
        assert TOKEN.encode() not in path.read_bytes(), path
    for path in done.path.glob("*.ipynb"):
        notebook = nbformat.read(path, 4)
        kept = json.dumps([notebook.metadata, *(cell.metadata for cell in notebook.cells)])
        assert str(tmp_path) not in kept and str(Path.home()) not in kept, path
    assert str(tmp_path) not in (done.path / "evidence" / "settings.json").read_text(encoding="utf-8")


def test_the_releases_own_notebook_shows_what_the_runner_computed(settings: Settings, urls: dict[str, str]) -> None:
    done = check(settings, urls)
    shown = "\n".join(str(output.data["text/plain"]) for cell in nbformat.read(done.path / "release.ipynb", 4).cells for output in cell.get("outputs", [])
                      if "data" in output)
    for words in (done.line, "Backups of memory and vectors", "P5.8", "phase2_health", "recoverability", done.results["not_verified"][0], "Accepted risks"):
        assert words in shown, words
    read = aggregate.read_results(str(done.path))
    assert repr(read.verdict()) == f"R1: {done.line}" and "P2.9" in repr(read.checks())
    assert aggregate.read_results().results["release"] == "R1", "without a name it is the release that was sealed last"


def test_results_that_are_none_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="suite check --release"):
        aggregate.read_results()
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(BadRequest, match="lacks release"):
        aggregate.read_results(str(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text("no json")
    with pytest.raises(BadRequest, match="cannot be read"):
        aggregate.read_results(str(tmp_path / "x.json"))


def test_junit_shows_no_pass_that_is_none(settings: Settings) -> None:
    with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls:
        done = check(settings, urls)
    tree = ElementTree.parse(done.path / "junit.xml").getroot()
    cases = {case.get("name", "").split()[0]: [child.tag for child in case] for case in tree.iter("testcase")}
    assert cases == {name: {"pass": [], "fail": ["failure"], "not-run": ["error"]}[state] for name, state in states(done).items()}
    assert (tree.get("tests"), tree.get("failures"), tree.get("errors")) == ("33", "1", "24")


def test_a_record_that_was_edited_before_the_seal_is_judged_again_and_is_a_fail(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run_phases = lanes.run_phases

    def lie(plan: lanes.Plan, *more: Any) -> None:
        run_phases(plan, *more)
        path = plan.directory / f"{HEALTH}.ipynb"
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if output.get("data", {}).get(MIME, {}).get("id") == "P2.5":
                    output.data[MIME]["state"] = "pass"
        nbformat.write(notebook, path)

    monkeypatch.setattr(lanes, "run_phases", lie)
    with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls:
        done = check(settings, urls)
    assert states(done)["P2.5"] == "fail"
    assert "the record says 'pass' but its evidence gives 'fail'" in json.dumps(done.results["checks"])


def test_what_rests_on_a_check_that_failed_is_marked(settings: Settings) -> None:
    with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls:
        done = check(settings, urls)
    assert done.results["rests_on"]["P5.3"] == ["P5.3 rests on P2.5, which is fail"]
    assert "P5.3 rests on P2.5, which is fail" in done.results["not_verified"]


def test_a_stack_that_cannot_be_started_is_33_checks_that_were_not_run(settings: Settings) -> None:
    def start(*_: Any, **__: Any) -> Any:
        raise StartError("port 8000 belongs to somebody else")

    done = check_release("R1", "dev", settings, progress=False, start=start)
    assert (done.verdict, done.exit) == ("COULD NOT RUN", 2) and set(states(done).values()) == {"not-run"} and len(states(done)) == 33
    assert "port 8000 belongs to somebody else" in done.line and all("port 8000" in json.dumps(row) for row in done.results["checks"])
    assert verify(done.path).ok


def test_when_the_time_of_the_run_is_over_the_rest_is_not_run(settings: Settings, urls: dict[str, str]) -> None:
    done = check(settings, urls, time_limit=0.2)
    run = next(run for run in done.results["runs"] if run["runbook"] == HEALTH)
    assert run["state"] in ("timed-out", "not-run") and "time limit" in run["trouble"] and set(states(done).values()) == {"not-run"}
    assert done.exit == 2 and verify(done.path).ok, verify(done.path)


@pytest.mark.parametrize(("more", "words"), [
    ({"parameters": {"buget_s": 3}}, "Did you mean budget_s"), ({"release": "../up"}, "1 to 64 letters"), ({"release": ""}, "1 to 64 letters"),
    ({"phases": ["phase9"]}, "has no phase 'phase9'"), ({"language": "de"}, "en or ko"), ({"parameters": {"settings": {"notion_token": "x"}}}, "NOTION_TOKEN"),
])
def test_what_cannot_be_begun_is_one_sentence_and_leaves_nothing(more: dict[str, Any], words: str, settings: Settings, urls: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match=words):
        check(settings, urls, **more)
    assert not settings.reports_dir.exists() or list(settings.reports_dir.iterdir()) == []


def test_two_at_once_on_one_archive_are_two_releases_in_one_chain(settings: Settings, urls: dict[str, str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: check(settings, urls), range(2)))
    assert len({release.path for release in done}) == 2 and all(verify(release.path).ok for release in done)
    chain = verify_chain(settings.reports_dir)
    assert chain.ok and chain.facts["releases"] == 2 and archive.unfinished(settings.reports_dir) == []


def begun(**more: str) -> dict[str, Any]:
    return {"release": "R1", "stage": "dev", "parameters": {}, "phases": list(PHASES), "commit": "c", "dirty_diff_sha256": "d", "packages_sha256": "p",
            "criteria_sha256": "k", "settings_sha256": "s"} | more


FINISHED = {"runbook": HEALTH, "state": "finished", "path": f"{HEALTH}.ipynb"}


def test_a_run_that_was_broken_off_goes_on_after_its_last_finished_phase(tmp_path: Path) -> None:
    book = journal.begin(tmp_path, begun())
    for name, state in ((HEALTH, "finished"), ("phase3_monitoring", "crashed")):
        (book.directory / f"{name}.ipynb").write_text("{}")
        book.note({"runbook": name, "state": state, "path": f"{name}.ipynb"})
    (book.directory / "evidence").mkdir()
    book.close()
    again = journal.resume(tmp_path, "last", begun(), book.began + 60)
    assert again.runs == {HEALTH: FINISHED} and again.began == book.began
    assert sorted(path.name for path in again.directory.iterdir()) == [journal.FILE, f"{HEALTH}.ipynb"]
    with pytest.raises(BadRequest, match="Another process is at"):
        journal.resume(tmp_path, again.directory.name, begun(), book.began + 60)
    again.close()
    with pytest.raises(NotFound, match="begin a new one"):
        journal.resume(tmp_path, "last", begun(release="R2"), book.began)


@pytest.mark.parametrize(("what", "later", "words"), [
    ({"commit": "other"}, 60, "another commit"), ({"criteria_sha256": "x", "stage": "prod"}, 60, "another stage, criteria"), ({"parameters": {"a": "b"}}, 60, "another parameters"),
    ({}, -60, "the clock was set back"), ({}, 90_000, "more than a day ago"),
])
def test_a_run_is_not_resumed_under_other_conditions(what: dict[str, Any], later: float, words: str, tmp_path: Path) -> None:
    book = journal.begin(tmp_path, begun())
    book.close()
    with pytest.raises(BadRequest, match=words):
        journal.resume(tmp_path, "last", begun(**what), book.began + later)
    assert book.directory.is_dir()
    with pytest.raises(BadRequest, match=words):  # the first refusal has let go of the folder
        journal.resume(tmp_path, "last", begun(**what), book.began + later)


def test_a_journal_that_is_damaged_is_not_resumed(tmp_path: Path) -> None:
    book = journal.begin(tmp_path, begun())
    book.close()
    (book.directory / journal.FILE).write_text('{"began": 1')
    with pytest.raises(BadRequest, match="cannot be read"):
        journal.resume(tmp_path, "last", begun(), book.began)


def test_names_of_one_second_do_not_meet(tmp_path: Path) -> None:
    books = [journal.begin(tmp_path, begun()) for _ in range(5)]
    assert len({book.directory for book in books}) == 5
    for book in books:
        book.close()


def test_a_disk_that_fills_up_leaves_a_run_that_can_be_resumed(settings: Settings, urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = lanes.Plan.tell

    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs") as disk:
        def filled(plan: lanes.Plan, runbook: str, title: str, done: int, total: int) -> None:
            if title.startswith("P2.5"):
                fill(disk)
            tell(plan, runbook, title, done, total)

        monkeypatch.setattr(lanes.Plan, "tell", filled)
        with pytest.raises(StorageError, match="free some space"):
            check(settings, urls, reports=disk / "reports")
        monkeypatch.setattr(lanes.Plan, "tell", tell)
        free(disk)
        assert [path.name for path in (disk / "reports").iterdir() if not path.name.startswith(".")] == []
        done = check(settings, urls, reports=disk / "reports", resume="last")
        assert sum(state == "pass" for state in states(done).values()) == 9 and verify(done.path).ok
