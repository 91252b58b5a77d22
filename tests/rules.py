"""The rules of the house as functions from a source tree to a list of violations, so that each can be shown to fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 400, 60
BANNED = ("util", "helper", "manager", "common", "misc", "base", "core", "handler", "wrapper")
TOP_LEVEL = {"notebooks", "suite", "kernels", "runbooks", "models", "tests", "environment.yml", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}

# higher numbers may import lower ones; packages that share a number do not import each other
LEVELS = {
    "errors": 0, "render": 0, "text": 0,
    "settings": 1, "checkout": 1,
    "storage": 2,
    "access": 3, "monitoring": 3, "usage": 3,
    "serving": 4,
    "gateway": 5,
    "vectors": 6, "embedding": 6,
    "knowledge": 7, "memory": 7,
    "tools": 8,
    "backup": 9,
    "maintainer": 10,
    "checks": 11,
    "runbooks": 12,
    "http": 13,
    "host": 14,
    "guest": 15, "series": 15,
    "stack": 16,
    "bench": 17,
    "benchmark": 18,
    "cli": 19, "kernel": 19, "panels": 19, "magics": 19, "jupyter_tools": 19, "jupyter_tiles": 19, "__main__": 20,
    "testing": 17,
}
OWNERS = {
    "llama_cpp": {"suite/serving"}, "gguf": {"suite/serving"}, "qdrant_client": {"suite/vectors"}, "qdrant_edge": {"suite/vectors"},
    "llguidance": {"suite/serving"}, "huggingface_hub": {"suite/serving"}, "pynvml": {"suite/monitoring"}, "amdsmi": {"suite/monitoring"},
    "fastembed": {"suite/embedding"}, "onnx": {"suite/embedding"}, "safetensors": {"suite/embedding"}, "kiwipiepy": {"suite/text"}, "py_rust_stemmers": {"suite/text"},
    "fastparquet": {"suite/checks/load_rows.py"},
    "dask": {"suite/knowledge/scale.py"}, "distributed": {"suite/knowledge/scale.py"},
    "playwright": {"suite/tools/builtin"}, "limits": {"suite/access"}, "structlog": {"suite/monitoring"}, "opentelemetry": {"suite/monitoring"},
    "mcp": {"suite/tools/server.py", "suite/benchmark/tools_mcp.py"}, "papermill": {"suite/runbooks"}, "nbformat": {"suite/runbooks"}, "markdown_it": {"suite/runbooks"}, "ipywidgets": {"suite/panels"},
    "fastapi": {"suite/http"}, "uvicorn": {"suite/http"}, "starlette": {"suite/http"}, "alembic": {"suite/storage"},
    "sqlalchemy": {"suite/storage", "suite/access", "suite/memory", "suite/knowledge", "suite/maintainer", "suite/usage"},
}
HEAVY = ("llama_cpp", "fastembed", "onnx", "onnxruntime", "qdrant_edge", "qdrant_client", "sqlalchemy", "alembic", "fastapi", "uvicorn", "mcp",
         "papermill", "nbformat", "pandas", "numpy", "IPython", "ipywidgets", "httpx", "pydantic", "huggingface_hub",
         "llguidance", "pynvml", "amdsmi", "dask", "distributed", "playwright", "limits", "structlog", "opentelemetry", "fastparquet")


def sources(root: Path) -> Iterator[tuple[str, Path, ast.Module]]:
    """Every Python file of the package: dotted name, path, tree."""
    for path in sorted((root / "suite").rglob("*.py")):
        yield ".".join(path.relative_to(root).with_suffix("").parts), path, ast.parse(path.read_text(encoding="utf-8"))


def sizes(root: Path) -> list[str]:
    """Files over 400 lines and functions over 60."""
    found = []
    for name, path, tree in sources(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES:
                found.append(f"{name}.{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines")
    return found


def names(root: Path) -> list[str]:
    """File and class names that say nothing."""
    found = [f"file {name}" for name, path, _ in sources(root) if _vague(path.stem)]
    for name, _, tree in sources(root):
        found += [f"class {name}.{node.name}" for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _vague(node.name)]
    return found


def _vague(name: str) -> bool:
    words = {word.lower().removesuffix("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return bool(words & set(BANNED))


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules a file imports anywhere, except under TYPE_CHECKING."""
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module if node.module != "suite" else "suite." + node.names[0].name


def arrows(root: Path) -> list[str]:
    """Imports that point up, or sideways between packages of one level, and packages without a level."""
    found = []
    for name, _, tree in sources(root):
        here = name.split(".")[1]
        if here == "__init__":
            continue
        if here not in LEVELS:
            found.append(f"{name}: {here} has no level")
            continue
        for module in imports(tree):
            parts = module.split(".")
            there = parts[1] if parts[0] == "suite" and len(parts) > 1 else ""
            if there in LEVELS and there != here and LEVELS[there] >= LEVELS[here]:
                found.append(f"{name} imports {module}")
    return found


def owners(root: Path) -> list[str]:
    """Libraries imported outside the one place that owns them, and readers of the environment besides settings."""
    found = []
    for name, path, tree in sources(root):
        relative = str(path.relative_to(root))
        for module in imports(tree):
            places = OWNERS.get(module.split(".")[0])
            if places and not any(relative == place or relative.startswith(place + "/") for place in places):
                found.append(f"{name} imports {module}")
        if relative not in ("suite/settings.py", "suite/tools/sandbox/launch.py"):  # the second runs in a child whose environment we made
            found += [f"{name}:{node.lineno} reads the environment" for node in ast.walk(tree)
                      if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.dump(node.value).startswith("Name(id='os'")]
    return found


def top_level(files: list[str]) -> list[str]:
    """Entries of the top level that DESIGN.md §3 does not name; `files` are paths as git lists them."""
    return sorted({file.split("/")[0] for file in files} - TOP_LEVEL - {file.split("/")[0] for file in files if file.startswith(".")})


def loaded_by(code: str) -> list[str]:
    """The heavy libraries that `code` loads, run in a fresh interpreter."""
    import subprocess
    import sys

    script = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def public(module_name: str) -> list[str]:
    """Where a module's `__all__` and what it really offers differ."""
    import importlib
    import types

    module = importlib.import_module(module_name)
    listed = set(module.__all__)
    missing = [f"{name} is listed but missing" for name in sorted(listed) if not hasattr(module, name)]
    offered = {name for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, types.ModuleType)}
    leaked = [f"{name} is offered but not listed" for name in sorted(offered - listed - {"annotations", "TYPE_CHECKING", "Any"})]
    return missing + leaked
