"""The papermill engine in real kernels: what is on the disk after each cell, what limits of time do, and what a kernel that dies leaves behind."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from papermill.engines import papermill_engines

from suite.runbooks import engine, engine_cells
from suite.runbooks.ending import Ending, titles, told

ROOT = Path(__file__).resolve().parent.parent.parent


def notebook(tmp_path: Path, *cells: str, name: str = "in.ipynb") -> Path:
    """A runbook in a few lines: `# …` is a heading, everything else code."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    made.cells = [nbformat.v4.new_markdown_cell(cell) if cell.startswith("#") else nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(made, tmp_path / name)
    return tmp_path / name


def executed(source: Path, **options: Any) -> tuple[Any, Ending]:
    """The notebook as it lies on the disk afterwards, and how it ended."""
    engine.register()
    prepared, ending = papermill.execute_notebook(str(source), None, prepare_only=True, kernel_name="python3"), Ending()
    out = source.with_name("out.ipynb")
    papermill_engines.execute_notebook_with_engine("suite", prepared, "python3", keep=out, ending=ending, progress_bar=False, **options)
    return nbformat.read(out, 4), ending


def test_the_entry_point_leads_to_the_engine() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["papermill.engine"]
    module, _, name = points[engine.NAME].partition(":")
    assert getattr(importlib.import_module(module), name) is engine.SuiteEngine


@pytest.mark.parametrize("first", ["suite.runbooks.engine", "suite.runbooks.engine_cells", "papermill", "suite.runbooks.execute"])
def test_it_and_papermill_may_be_imported_in_any_order_and_papermill_alone_loads_nothing_of_ours(first: str, tmp_path: Path) -> None:
    # an installed entry point is loaded while papermill is imported; this one is what our pyproject would install
    (tmp_path / "made-1.dist-info").mkdir()
    (tmp_path / "made-1.dist-info" / "entry_points.txt").write_text("[papermill.engine]\nsuite = suite.runbooks.engine:SuiteEngine\n")
    (tmp_path / "made-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: made\nVersion: 1\n")
    code = (f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {first}, papermill; heavy = 'suite.runbooks.engine_cells' in sys.modules\n"
            "import suite.runbooks.engine; from papermill.engines import papermill_engines as known\n"
            "assert known.get_engine('suite') is suite.runbooks.engine.SuiteEngine; print(heavy)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(first == "suite.runbooks.engine_cells")), done.stderr


def test_it_gives_what_papermills_own_engine_gives(tmp_path: Path) -> None:
    source = notebook(tmp_path, "# One", "x = 20", "# Two", "print(x)\nx + 1")
    ours, ending = executed(source)
    papermill.execute_notebook(str(source), str(tmp_path / "plain.ipynb"), kernel_name="python3", progress_bar=False)
    plain = nbformat.read(tmp_path / "plain.ipynb", 4)
    shown = [[(cell.source, cell.get("execution_count"), cell.get("outputs")) for cell in each.cells] for each in (ours, plain)]
    assert shown[0] == shown[1]
    assert [row["title"] for row in ending.cells] == ["One", "Two"] and ending.state == "finished" and ending.crash is None
    assert ours.metadata.language_info.name == "python" and {cell.metadata.papermill.status for cell in ours.cells} == {"completed"}
    assert (tmp_path / "out.ipynb").stat().st_mode & 0o777 == 0o600 and not list(tmp_path.glob(".*partial"))


def test_after_each_cell_the_notebook_on_the_disk_is_whole(tmp_path: Path) -> None:
    look = "import json, pathlib\nseen = json.loads(pathlib.Path('out.ipynb').read_text())\n[c['execution_count'] for c in seen['cells']]"
    out, _ = executed(notebook(tmp_path, "1", "2", look), folder=tmp_path)
    assert out.cells[2].outputs[0].data["text/plain"] == "[1, 2, None]"


def test_no_folder_and_no_name_is_in_the_metadata(tmp_path: Path) -> None:
    out, _ = executed(notebook(tmp_path, "1"))
    assert str(tmp_path) not in json.dumps(out.metadata) and out.metadata.papermill.input_path == "…/in.ipynb"


def test_the_bar_is_told_which_check_is_at_work(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    executed(notebook(tmp_path, "# Phase\n\n## P1.1 · First", "1", "## P1.2 · Second", "2"), announce=lambda *what: heard.append(what))
    assert heard == [("P1.1 · First", 0, 2), ("P1.2 · Second", 1, 2), ("", 2, 2)]


def test_a_title_is_the_last_heading_above() -> None:
    cells = [{"cell_type": "code", "source": ""}, {"cell_type": "markdown", "source": "# A\ntext\n## B"}, {"cell_type": "code", "source": "# no heading"}]
    assert titles(cells) == ["cell 0", "B", "B"]


def test_a_cell_over_its_limit_ends_the_run_and_says_which(tmp_path: Path) -> None:
    out, ending = executed(notebook(tmp_path, "# Quick", "1", "# Slow", "import time\nprint('began', flush=True)\ntime.sleep(600)", "3"), cell_limit=3.0)
    assert ending.state == "timed-out" and "(Slow)" in ending.trouble and "its limit of 3 s" in ending.trouble
    assert [cell.execution_count for cell in out.cells if cell.cell_type == "code"] == [1, 2, None]
    assert out.metadata.papermill.exception is True and ending.crash is None


def test_the_limit_of_the_whole_run_is_another(tmp_path: Path) -> None:
    _, ending = executed(notebook(tmp_path, "# Slow", "import time\ntime.sleep(600)"), cell_limit=500.0, time_limit=3.0)
    assert ending.state == "timed-out" and "the time limit of the whole run" in ending.trouble


def test_a_cell_that_raises_ends_the_run_without_a_crash(tmp_path: Path) -> None:
    out, ending = executed(notebook(tmp_path, "1", "1 / 0", "3"))
    assert [cell.execution_count for cell in out.cells] == [1, 2, None] and ending.crash is None
    assert out.cells[1].outputs[0].ename == "ZeroDivisionError" and out.cells[1].metadata.papermill.exception is True


DIE = "import os, signal, sys\nblock = bytearray(64 << 20)\nprint('the last words', flush=True)\nos.write(2, b'GGML_ASSERT failed')\nos.kill(os.getpid(), signal.SIGKILL)"


def test_a_kernel_that_is_killed_leaves_a_capsule(tmp_path: Path) -> None:
    out, ending = executed(notebook(tmp_path, "# First", "'before'", "# Deadly", DIE, "3"))
    crash = ending.crash
    assert ending.state == "crashed" and crash is not None and "SIGKILL" in crash["how"] and (crash["cell"], crash["title"], crash["exit"]) == (3, "Deadly", -9)
    assert "the last words" in crash["last_output"] or "before" in crash["last_output"]
    assert crash["memory"]["kernel_peak"] > 10 << 20 and crash["memory"]["machine_total"] > crash["memory"]["machine_available"] > 0 and crash["gpu"] == []
    assert out.cells[-1].cell_type == "markdown" and out.cells[-1].source == told(crash) and "SIGKILL" in out.cells[-1].source
    assert out.cells[-1].metadata.tags == ["not-run"], "so that a seal knows that the runner has put it in"


def test_a_kernel_that_ends_by_a_crash_of_a_library_says_where(tmp_path: Path) -> None:
    _, ending = executed(notebook(tmp_path, "import os\nos.abort()"))
    assert ending.crash is not None and "SIGABRT" in ending.crash["how"] and "Fatal Python error" in ending.crash["stderr"]


def test_a_kernel_that_leaves_by_itself_is_dead_too(tmp_path: Path) -> None:
    _, ending = executed(notebook(tmp_path, "import os\nos._exit(3)", "2"))
    assert ending.state == "crashed" and ending.crash is not None and "status 3" in ending.crash["how"]


def test_a_secret_in_the_last_output_is_not_in_the_capsule(tmp_path: Path) -> None:
    _, ending = executed(notebook(tmp_path, "print('Authorization: Bearer abcdefghijklmnop', flush=True)", "import os\nos._exit(1)"))
    assert ending.crash is not None and "abcdefghijklmnop" not in json.dumps(ending.crash) and "Bearer ***" in ending.crash["last_output"]


def test_papermills_own_command_finds_it_and_exits_with_an_error_when_the_kernel_dies(tmp_path: Path) -> None:
    source = notebook(tmp_path, "'fine'", "import os\nos._exit(3)")
    command = f"from suite.runbooks import engine; engine.register(); from papermill.cli import papermill as p; p([{str(source)!r}, 'out.ipynb', '--engine', 'suite', '-k', 'python3', '--no-progress-bar'])"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    out = nbformat.read(tmp_path / "out.ipynb", 4)
    assert done.returncode == 1, done.stderr
    assert any("The kernel died" in cell.source for cell in out.cells) and "'fine'" in [cell.outputs[0].data["text/plain"] for cell in out.cells if cell.get("outputs")]


def test_a_disk_that_is_full_leaves_the_notebook_that_was_whole_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.ipynb"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    engine_cells.write_whole(made, out)
    before = out.read_bytes()

    def full(self: Path, text: str, encoding: str = "") -> int:
        self.write_bytes(text.encode()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        engine_cells.write_whole(made, out)
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.ipynb"]
