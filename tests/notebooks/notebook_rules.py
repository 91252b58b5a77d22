"""The rules of DESIGN.md §7 for notebooks, as a function from a notebook to a list of violations, so that each can be shown to fail."""

from __future__ import annotations

import re
from typing import Any

CODE_LINES = 5
PARAMETER_LINES = 10  # a declaration per line: what papermill lists with its help
CODE_CELLS = 3  # in a row, at most, under one piece of prose
VOLATILE = "nbval-ignore-output"
_OUR_MAGICS = re.compile(r"\A(%load_ext suite\.magics|%%(chat|code|ask)( .*)?|%(remember|recall)( .*)?)$", re.MULTILINE)  # in a notebook; a runbook has none
_ABSOLUTE = re.compile(r"""["'](/(home|root|work|tmp|usr|opt|mnt|Users|etc|var)\b|~/|[A-Za-z]:\\)""")
_SECRET = re.compile(r"""(token|password|secret|api_key)\s*[:=]\s*(str\s*=\s*)?["'][^"'\s]{6,}["']|sk-[A-Za-z0-9]{16,}|BEGIN [A-Z ]*PRIVATE KEY""",
                     re.IGNORECASE)


def violations(notebook: Any, *, runbook: bool) -> list[str]:
    """What is wrong with it, one phrase each."""
    cells = notebook["cells"]
    text = "\n".join(re.sub(r"```.*?```", "", cell["source"], flags=re.DOTALL) for cell in cells if cell["cell_type"] == "markdown")
    found = []
    if len(re.findall(r"^# ", text, re.MULTILINE)) != 1 or not cells or not cells[0]["source"].startswith("# "):
        found.append("there must be one H1, and it comes first")
    if not re.search(r"^> ", cells[0]["source"] if cells else "", re.MULTILINE):
        found.append("the first cell has no quoted promise")
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            found += [f"cell {index}: {what}" for what in _code(cell, runbook)]
            if all(before["cell_type"] == "code" for before in cells[max(0, index - CODE_CELLS):index]):
                found.append(f"cell {index}: no prose before it")
    if runbook and sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) != 1:
        found.append("there must be one cell tagged parameters")
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernelspec must be python3")
    return found


def _code(cell: Any, runbook: bool) -> list[str]:
    source, tags, found = cell["source"], cell["metadata"].get("tags", []), []
    lines = len([line for line in source.splitlines() if line.strip()])
    if not 1 <= lines <= (PARAMETER_LINES if "parameters" in tags else CODE_LINES):
        found.append(f"{lines} lines")
    if re.search(r"^\s*(async def|def|class) ", source, re.MULTILINE) and "lesson" not in tags:
        found.append("def or class")
    if re.search(r"^\s*[!%]", source if runbook else _OUR_MAGICS.sub("", source), re.MULTILINE):
        found.append("a shell or magic line")
    if _ABSOLUTE.search(source):
        found.append("an absolute path")
    if _SECRET.search(source):
        found.append("a secret")
    if runbook and (cell.get("outputs") or cell.get("execution_count")):
        found.append("outputs in a runbook")
    return found


def unasserted(notebook: Any) -> list[int]:
    """Cells with ignored output that are not followed by one that holds a stable property: by `assert`, or by an output that nbval compares."""
    code = [(index, cell) for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    after = {index: code[place + 1][1] if place + 1 < len(code) else None for place, (index, _) in enumerate(code)}
    return [index for index, cell in code if VOLATILE in cell["metadata"].get("tags", []) and not _holds(after[index])]


def _holds(cell: Any) -> bool:
    if cell is None or VOLATILE in cell["metadata"].get("tags", []):
        return False
    return "assert" in cell["source"] or bool(cell.get("outputs"))
