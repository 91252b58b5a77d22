"""The wheel carries all that the package reads: phase 2 passes from it, outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    built = subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-1500:] + built.stderr[-1500:]
    return next(out.glob("local_ai_suite-*.whl"))


def test_the_wheel_holds_the_package_data_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("runbooks/phase2_health.ipynb", "runbooks/criteria.toml", "runbooks/golden/questions.json", "models/catalog.toml", "models/profiles.toml", "models/embedding.toml",
                   "models/smoke.gguf", "kernels/suite/kernel.json"):
        assert f"suite/_data/{wanted}" in names
    assert {name.split("/")[0] for name in names} == {"suite", f"local_ai_suite-{wheel.name.split('-')[1]}.dist-info"}
    assert [name for name in names if "__pycache__" in name or "/tests/" in name] == []


def test_phase_2_passes_from_the_wheel_outside_the_checkout(wheel: Path, models_dir: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", str(site), str(wheel)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    env = {**os.environ, "PYTHONPATH": str(site), "DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}
    where = subprocess.run([sys.executable, "-c", "import suite; print(suite.__file__)"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert where.stdout.startswith(str(site))
    done = subprocess.run([sys.executable, "-m", "suite", "check", "phase2"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "PASS, 9 pass of 9" in done.stdout
