"""The README and the changelog say what is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from suite import __version__
from suite.settings import describe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The settings as the README shows them."""
    rows = [f"| `{row['env']}` | {row['type']} | {'`' + row['default'] + '`' if row['default'] else ''} | {row['sentence']} |" for row in describe()]
    return "\n".join(["| environment (in Python and suite.toml: lower case, without `SUITE_`) | type | default | meaning |", "|---|---|---|---|", *rows])


def test_the_settings_table_is_the_settings() -> None:
    shown = re.search(r"<!-- settings: .*? -->\n(.*?)\n?<!-- end of settings -->", README, re.DOTALL)
    assert shown is not None
    if os.environ.get("UPDATE_README"):  # how the table is made anew after a change
        changed = README[: shown.start(1)] + settings_table() + "\n" + README[README.index("<!-- end of settings -->"):]
        (ROOT / "README.md").write_text(changed, encoding="utf-8")
        return
    assert shown.group(1) == settings_table()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = 'python -m pip install -e ".[test]" && pytest'
    assert f"```bash\n{command}\n```" in README
    found = subprocess.run(["grep", "-m1", "-x", r'python -m pip install -e "\.\[test\]" && pytest', str(ROOT / "README.md")], capture_output=True, text=True)
    assert found.stdout.strip() == command
    assert "grep -m1 -x 'python -m pip install -e \"\\.\\[test\\]\" && pytest' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version() -> None:
    top = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert top is not None and top.group(1) == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
