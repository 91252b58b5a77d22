"""The digest of a check's code, so that a proof of it is one of this code and of no earlier one."""

from __future__ import annotations

import ast
import hashlib
import importlib
from functools import cache, partial
from pathlib import Path
from typing import Any

from suite.checks.check import Check
from suite.checks.criteria import Criterion

PACKAGE = "suite.checks"


def digest(check: Check, criterion: Criterion) -> str:
    """sha256, 64 hex digits, of the modules that hold the check's function, preparation and faults, of all of `suite.checks` that these load, and of
    its limits as the criteria file has them, those of profiles too. A waiver is none of its limits."""
    found: set[str] = set()
    acts = [check.function, check.prepare, *(act for fault in (check.fault, *check.others) for act in (fault.inject, fault.bend))]
    waiting = [_home(act) for act in acts if act is not None]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _read(name)[1]
    whole = hashlib.sha256(repr((criterion.id, criterion.conditions, criterion.may_not_apply, criterion.profiles)).encode())
    for name in sorted(found):
        whole.update(f"\n{name} {_read(name)[0]}".encode())
    return whole.hexdigest()


def _home(act: Any) -> str:
    """The module of a function, or of the one that a partial calls."""
    return act.func.__module__ if isinstance(act, partial) else act.__module__


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """The sha256 of a module's source, and the modules of `suite.checks` that it loads, in its functions too."""
    text = Path(str(importlib.import_module(name).__file__)).read_bytes()
    loaded: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            loaded += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            loaded += [f"{node.module}.{alias.name}" if node.module == PACKAGE else node.module for alias in node.names]
    return hashlib.sha256(text).hexdigest(), tuple(one for one in dict.fromkeys(loaded) if one.startswith(f"{PACKAGE}."))
