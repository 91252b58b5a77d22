"""Models from a model hub into the models directory: each file resumed where it broke off, and none used before the model was tried."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite.embedding.model import MANIFEST, EncoderModel
from suite.embedding.verify import verify
from suite.errors import WeightsError


def pull_model(model: EncoderModel, models_dir: Path, endpoint: str, token: str = "", progress: Callable[..., Any] | None = None, *,
               probe: Callable[[Path], None], time_limit: float = 900) -> Path:
    """Return the folder `models_dir/<model.id>` with all files of the model; what is missing or damaged comes from the hub at `endpoint`.

    `progress` makes a tqdm bar for each file, `probe` tries the model in its folder and raises WeightsError when it is of no use, `time_limit`
    is how many seconds another process's pull is waited for. Raises WeightsError for a model that names no repository, and whatever
    `suite.serving.pull` raises for a file; what came so far stays, and the next call goes on from there.
    """
    folder = models_dir / model.id
    try:
        models_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(models_dir / f".{model.id}.lock", timeout=time_limit):
            if model.source:
                _files(model, folder, endpoint, token, progress)
            elif not model.here(models_dir):
                raise WeightsError(f"{model.id} names no repository of a model hub (source), so there is nothing to pull; copy "
                                   f"{', '.join(model.place(file) for file in model.files)} into {folder} yourself.")
            hashes = verify(model, folder)
            probe(folder)
            _write(model, folder, hashes)
    except Timeout:
        raise WeightsError(f"Another process has been fetching {model.id} into {models_dir} for over {time_limit:g} s; "
                           "wait for it, or end it and try again.") from None
    except OSError as error:
        raise WeightsError.of_folder(error, model.id, models_dir, model.disk_bytes) from error
    return folder


def _files(model: EncoderModel, folder: Path, endpoint: str, token: str, progress: Callable[..., Any] | None) -> None:
    from suite.serving import pull
    from suite.serving.catalog import CatalogModel

    _drop_damaged(model, folder)
    for file, digest in model.files.items():
        place = folder / model.place(file)
        entry = CatalogModel(model.id, place.name, 0, digest, model.licence, model.max_tokens, "embedding", model.source, remote=file)
        try:
            pull.pull(entry, place.parent, endpoint, token, progress, reading=pull.plain, revision=model.revision)
        finally:
            (place.parent / f".{place.name}.lock").unlink(missing_ok=True)  # ours is around it
            for empty in (place.parent, folder):  # of a model of which nothing came nothing stays
                with suppress(OSError):
                    empty.rmdir()


def _drop_damaged(model: EncoderModel, folder: Path) -> None:
    """A file that nobody has pinned is known to be damaged only by what was recorded when it came."""
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for file in model.files:
        place = folder / model.place(file)
        if place.is_file() and record.get(model.place(file)):
            with place.open("rb") as stream:
                whole = hashlib.file_digest(stream, "sha256").hexdigest() == record[model.place(file)]
            if not whole:
                place.unlink()


def _write(model: EncoderModel, folder: Path, hashes: dict[str, str]) -> None:
    """The record of what came, by a temporary name, so that no half of one is ever read."""
    manifest = {"id": model.id, "name": model.name, "source": model.source, "revision": model.revision,
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "files": hashes}
    waiting = folder / f".{MANIFEST}.{os.getpid()}"
    waiting.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(waiting, folder / MANIFEST)
