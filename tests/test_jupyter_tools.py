"""Jupyter AI finds every tool by the entry point, as a function with a signature, and a call of one is a call on the stack."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest

from suite import jupyter_tools
from suite.access.policy import load_policy
from suite.bench import throwaway
from suite.errors import ApprovalNeeded, BadArguments, StartError

ROOT = Path(__file__).resolve().parents[1]


def found() -> dict[str, Any]:
    """Every tool as jupyter-server-mcp loads it: the entry point, then `module:function` of each."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["jupyter_server_mcp.tools"]
    module, _, name = points["local-ai-suite"].partition(":")
    specs = getattr(importlib.import_module(module), name)()
    assert isinstance(specs, list) and all(isinstance(spec, str) for spec in specs)
    return {spec.partition(":")[2]: getattr(importlib.import_module(spec.partition(":")[0]), spec.partition(":")[2]) for spec in specs}


def test_every_tool_is_a_function_with_a_name_a_sentence_and_a_signature() -> None:
    tools = found()
    assert set(tools) <= set(load_policy().tools) and {"read_file", "execute_python", "git_commit", "memory_search"} <= set(tools)
    for name, function in tools.items():
        assert function.__name__ == name and function.__doc__ and callable(function)
        assert not {"place", "watch"} & inspect.signature(function).parameters.keys()
    read, switch = inspect.signature(tools["read_file"]), inspect.signature(tools["switch_model"])
    assert read.parameters["path"].annotation is str and read.parameters["path"].default is inspect.Parameter.empty
    assert switch.parameters["model_type"].annotation == Literal["chat", "code"] and switch.parameters["model"].default == ""


def test_what_is_no_tool_is_no_function() -> None:
    with pytest.raises(AttributeError, match="no_such_tool"):
        jupyter_tools.no_such_tool  # noqa: B018


def test_a_call_is_decided_and_recorded_on_the_stack(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "note.md").write_text("세 시에 만나요.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with throwaway(profile="smoke", models_dir=str(models_dir), workspace_dir=str(tmp_path)) as (stack, _):
        monkeypatch.setenv("DATA_DIR", str(stack.settings.data_dir))
        tools = found()
        assert tools["read_file"](path="note.md")["content"] == "세 시에 만나요.\n"
        assert [event.outcome for event in stage_trail(stack, 2)] == ["allowed", "done"]
        with pytest.raises(ApprovalNeeded):
            tools["write_file"](path="a", content="b")
        with pytest.raises(BadArguments):
            tools["read_file"]()


def stage_trail(stack: Any, n: int) -> Any:
    return stack.audit.tail(n)


def test_without_a_stack_the_next_step_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(StartError, match="`suite up` starts"):
        found()["list_files"]()
