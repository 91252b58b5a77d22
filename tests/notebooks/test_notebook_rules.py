"""Every notebook and runbook keeps the rules, and each rule fails when it is broken."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import unasserted, violations

from suite.runbooks.catalog import RUNBOOKS
from suite.settings import package_file

ROOT = Path(__file__).resolve().parent.parent.parent
ALL = sorted([*ROOT.glob("runbooks/*.ipynb"), *ROOT.glob("notebooks/*.ipynb")])
ALL = [path for path in ALL if not path.name.endswith(".report.ipynb")]


@pytest.mark.parametrize("path", ALL, ids=[path.name for path in ALL])
def test_the_notebook_keeps_the_rules(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert violations(notebook, runbook=path.parent.name == "runbooks") == []
    assert unasserted(notebook) == []


@pytest.mark.parametrize("name", list(RUNBOOKS))
def test_a_runbook_performs_each_of_its_checks_once_under_a_heading_that_says_what_counts(name: str) -> None:
    cells = nbformat.read(package_file(f"runbooks/{name}.ipynb"), 4).cells
    asked = [(cell.source.split('"')[1], cells[index - 1].source) for index, cell in enumerate(cells) if cell.source.startswith("run.check(")]
    assert [identity for identity, _ in asked] == [check.id for check in RUNBOOKS[name]]
    assert all(prose.startswith(f"## {identity} · ") and "**OK if**" in prose for identity, prose in asked)
    assert cells[-1].source == ("release.finish()" if name == "release" else "run.finish()")  # that one reads what the phases have found


def test_the_parameters_of_phase_2_are_the_agreed_ones_each_with_help() -> None:
    import papermill

    declared = papermill.inspect_notebook(str(package_file("runbooks/phase2_health.ipynb")))
    assert {"profile", "base_urls", "token_env", "budget_s", "criteria", "expect_profile", "expect_commit"} <= declared.keys()
    assert [name for name, entry in declared.items() if not entry["help"] or entry["inferred_type_name"] == "None"] == []


def test_the_default_budget_is_the_limit_of_the_criteria() -> None:
    import papermill

    limits = tomllib.loads(package_file("runbooks/criteria.toml").read_text(encoding="utf-8"))
    slowest = next(row for row in limits["P2.1"]["conditions"] if row["name"] == "slowest_part")
    declared = papermill.inspect_notebook(str(package_file("runbooks/phase2_health.ipynb")))
    assert float(declared["budget_s"]["default"]) == slowest["limit"]


def good() -> Any:
    parameters = new_code_cell('limit: int = 1  # help', metadata={"tags": ["parameters"]})
    return new_notebook(cells=[new_markdown_cell("# One\n\n> A promise."), parameters, new_markdown_cell("## Prose"), new_code_cell("1 + 1")],
                        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def test_a_good_notebook_has_no_violation() -> None:
    assert violations(good(), runbook=True) == []


@pytest.mark.parametrize(("cell", "phrase"), [
    (new_code_cell("\n".join("abcdef")), "6 lines"), (new_code_cell(""), "0 lines"), (new_code_cell("def f(): ..."), "def or class"),
    (new_code_cell("class A: ..."), "def or class"), (new_code_cell("!pip install x"), "a shell or magic line"),
    (new_code_cell('open("/home/kim/x")'), "an absolute path"), (new_code_cell('token = "abcdefgh"'), "a secret"),
    (new_code_cell("1", execution_count=3), "outputs in a runbook"),
    (new_code_cell("1", outputs=[new_output("stream", text="x")]), "outputs in a runbook"),
])
def test_a_code_cell_that_breaks_a_rule_is_found(cell: Any, phrase: str) -> None:
    notebook = good()
    notebook.cells[3] = cell
    assert violations(notebook, runbook=True) == [f"cell 3: {phrase}"]


@pytest.mark.parametrize(("source", "allowed"), [
    ("%load_ext suite.magics", True), ("%%chat --temperature 0\nHello", True), ("%%code\nHello", True), ("%remember a | b", True), ("%recall a", True), ("%rememberer", False), ("%%bash\nls", False),
    ("%load_ext autoreload", False), ("1 + 1\n%%chat\nHello", False),
])
def test_a_notebook_may_use_our_own_magics_and_no_others_a_runbook_none(source: str, allowed: bool) -> None:
    notebook = good()
    notebook.cells[3] = new_code_cell(source)
    assert violations(notebook, runbook=True) == ["cell 3: a shell or magic line"]
    assert violations(notebook, runbook=False) == ([] if allowed else ["cell 3: a shell or magic line"])


def test_a_second_heading_missing_prose_missing_parameters_or_another_kernel_is_found() -> None:
    notebook = good()
    notebook.cells[2] = new_markdown_cell("# Two")
    assert violations(notebook, runbook=True) == ["there must be one H1, and it comes first"]
    notebook = good()
    notebook.cells += [new_code_cell(str(number)) for number in range(3)]
    assert violations(notebook, runbook=True) == ["cell 6: no prose before it"]
    notebook = copy.deepcopy(good())
    notebook.cells[1].metadata.tags = []
    assert violations(notebook, runbook=True) == ["there must be one cell tagged parameters"]
    notebook = good()
    notebook.metadata.kernelspec.name = "suite"
    assert violations(notebook, runbook=True) == ["the kernelspec must be python3"]
    notebook = good()
    notebook.cells[0].source = "# One"
    assert violations(notebook, runbook=True) == ["the first cell has no quoted promise"]


def test_an_ignored_output_without_an_assertion_after_it_is_found() -> None:
    notebook = good()
    notebook.cells[3].metadata["tags"] = ["nbval-ignore-output"]
    assert unasserted(notebook) == [3]
    notebook.cells.append(new_code_cell("1 + 1"))
    assert unasserted(notebook) == [3]
    notebook.cells[4] = new_code_cell("1 + 1", outputs=[new_output("execute_result", {"text/plain": "2"})])
    assert unasserted(notebook) == []
    notebook.cells[4] = new_code_cell("assert 1 + 1 == 2")
    assert unasserted(notebook) == [] and violations(notebook, runbook=True) == []
