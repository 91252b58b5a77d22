"""What CI runs fails closed: each stage is there, in its order, and the release stage takes a rehearsal and nothing else for good."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from suite.cli.main import main

CI = Path(__file__).resolve().parent.parent / ".ci"
RUN = (CI / "run").read_text(encoding="utf-8")
RELEASE = 'bash .ci/release "$artefacts"'


@pytest.mark.parametrize("script", ["run", "full", "notebooks", "release"])
def test_each_script_is_valid_and_stops_at_the_first_failure(script: str) -> None:
    assert subprocess.run(["bash", "-n", str(CI / script)], capture_output=True, text=True).stderr == ""
    text = (CI / script).read_text(encoding="utf-8")
    assert "set -euo pipefail" in text and not re.search(r"\|\| *(true|echo|:)", text)


def test_the_stages_come_in_their_order() -> None:
    stages = ["pytest.xml\"'", "ruff check", "bash .ci/notebooks", "suite ci record", RELEASE, "suite ci drills", 'suite drill "${chosen[@]}"']
    places = [RUN.index(stage) for stage in stages]
    assert places == sorted(places)


def test_the_release_stage_is_switched_on_as_soon_as_there_is_a_release(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    if "--release" in capsys.readouterr().out:
        assert f"\n{RELEASE}" in RUN


@pytest.mark.parametrize(("status", "good"), [(3, True), (0, False), (1, False), (2, False), (137, False)])
def test_only_a_rehearsal_is_good(status: int, good: bool, tmp_path: Path) -> None:
    done, asked = release(tmp_path, status)
    assert (done.returncode == 0) is good, done.stderr
    assert good or f"got exit status {status}" in done.stderr
    assert re.fullmatch(r"check --release ci-[0-9a-f]{12} --stage dev --reports \S+/artefacts/reports CI_RESULT=\S+/artefacts/ci-result.json\n", asked)


def test_no_release_is_tried_without_the_result_of_the_tests(tmp_path: Path) -> None:
    done, asked = release(tmp_path, 3, result="")
    assert done.returncode == 1 and "ci-result.json is not there" in done.stderr and asked == ""


def release(folder: Path, status: int, result: str = "{}") -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the script with a `suite` that notes what it was asked and ends with a status."""
    tools, artefacts, noted = folder / "bin", folder / "artefacts", folder / "asked"
    tools.mkdir()
    artefacts.mkdir()
    (artefacts / "ci-result.json").write_text(result, encoding="utf-8")
    (tools / "suite").write_text(f'#!/bin/sh\necho "$@" "CI_RESULT=$CI_RESULT" >> {noted}\nexit {status}\n', encoding="utf-8")
    (tools / "suite").chmod(0o755)
    noted.touch()
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(CI / "release"), str(artefacts)], env=environment, capture_output=True, text=True)
    return done, noted.read_text(encoding="utf-8")
