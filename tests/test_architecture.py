"""The rules of the house hold, and each of them fails when it is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parent.parent


def tree(tmp_path: Path, **files: str) -> Path:
    """A small source tree: `serving__server="…"` is suite/serving/server.py."""
    for name, text in files.items():
        path = tmp_path / "suite" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def git_files() -> list[str]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: the top level cannot be listed as git tracks it")
    return listed.stdout.splitlines()


def test_files_and_functions_stay_small() -> None:
    assert rules.sizes(ROOT) == []


def test_a_long_file_and_a_long_function_are_found(tmp_path: Path) -> None:
    body = "def long():\n" + "    x = 1\n" * 60
    assert rules.sizes(tree(tmp_path, a=body + "y = 1\n" * 400)) == ["suite.a: 461 lines", "suite.a.long: 61 lines"]


def test_names_say_what_a_thing_is() -> None:
    assert rules.names(ROOT) == []


def test_a_vague_name_is_found(tmp_path: Path) -> None:
    assert rules.names(tree(tmp_path, serving__utils="class ModelManager: ...\n")) == ["file suite.serving.utils", "class suite.serving.utils.ModelManager"]


def test_imports_point_one_way() -> None:
    assert rules.arrows(ROOT) == []


def test_an_import_that_points_up_or_sideways_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, serving__a="from suite.gateway.gateway import Gateway\n", memory__b="def f():\n    import suite.knowledge.read\n",
                storage__c="from suite import bench\n", novel__d="")
    assert rules.arrows(root) == ["suite.memory.b imports suite.knowledge.read", "suite.novel.d: novel has no level",
                                  "suite.serving.a imports suite.gateway.gateway", "suite.storage.c imports suite.bench"]


def test_each_library_has_one_owner() -> None:
    assert rules.owners(ROOT) == []


def test_a_library_outside_its_owner_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, gateway__a="import llama_cpp\n", tools__call="from mcp.server import MCPServer\n", memory__b="import os\nos.environ['X']\n")
    assert rules.owners(root) == ["suite.gateway.a imports llama_cpp", "suite.memory.b:2 reads the environment", "suite.tools.call imports mcp.server"]


def test_the_top_level_holds_what_the_design_lists() -> None:
    assert rules.top_level(git_files()) == []


def test_an_extra_top_level_entry_is_found() -> None:
    assert rules.top_level(["suite/a.py", "docs/x.md", ".ci/run", "STATUS.md"]) == ["STATUS.md", "docs"]


def test_importing_suite_loads_no_heavy_library() -> None:
    assert rules.loaded_by("import suite; dir(suite)") == []


def test_a_heavy_import_is_found() -> None:
    assert rules.loaded_by("import suite; import numpy") == ["numpy"]


def test_the_public_names_are_the_list() -> None:
    assert rules.public("suite") == []
    assert rules.public("suite.testing") == []


def test_a_leaking_or_missing_public_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaky.py").write_text("__all__ = ['gone']\ndef extra(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert rules.public("leaky") == ["gone is listed but missing", "extra is offered but not listed"]
    del sys.modules["leaky"]


def test_every_error_has_one_ancestor_and_no_built_in_name() -> None:
    import builtins

    from suite import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
    assert len(classes) > 10
    assert [cls.__name__ for cls in classes if not issubclass(cls, errors.SuiteError) or hasattr(builtins, cls.__name__)] == []
    assert [cls.__name__ for cls in classes if cls.__name__ not in (errors.__doc__ or "")] == []


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Two of one name cannot be collected together, which shows only when all are."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
