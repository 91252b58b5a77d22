"""Fetches a model file of the catalogue from the model hub into the models directory: resumed where it broke off, hashed, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from suite import __version__
from suite.errors import BadRequest, WeightsError
from suite.serving.catalog import CatalogModel
from suite.serving.weights import Place, check

RECORD = "pulled.json"  # in the models directory: what the hub said about each file when it was fetched
TRIES = 4  # times that a connection may break without a new byte
SECONDS = 30.0  # that the hub may be silent
SPARE = 64 << 20  # bytes of disk that stay free
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Reading = Callable[[Place, str], str]  # a file and, where it was just computed, its sha256 → its sha256; WeightsError for a file of no use


def gguf(place: Place, digest: str = "") -> str:
    """The sha256 of a whole GGUF model of the hash that the catalogue pins; WeightsError for anything else."""
    return check(place, digest).sha256


def plain(place: Place, digest: str = "") -> str:
    """The sha256 of any file, if it is the one that the catalogue pins; WeightsError where it is another."""
    with place.path.open("rb") as file:
        found = digest or hashlib.file_digest(file, "sha256").hexdigest()
    if place.entry and place.entry.sha256 not in ("", found):
        raise WeightsError(f"{place.path} has the sha256 {found}, but the catalogue says {place.entry.sha256}; copy the file again.")
    return found


@dataclass(frozen=True)
class Pulled:
    """A file in place: `proof` is `catalogue` (the pinned hash), `hub` (the hub's own hash, which nobody here has pinned) or empty."""

    path: Path
    sha256: str
    proof: str
    fetched: int  # bytes that came over the network this time


@dataclass(frozen=True)
class _Remote:
    """What the hub says about a file."""

    url: str
    etag: str
    size: int
    commit: str

    @property
    def sha256(self) -> str:
        """The hub's hash; empty where its tag is of another kind."""
        return self.etag if len(self.etag) == 64 and set(self.etag) <= set("0123456789abcdef") else ""


def pull(entry: CatalogModel, models_dir: Path, endpoint: str, token: str = "", progress: Callable[..., Any] | None = None, *,
         reading: Reading = gguf, revision: str = "") -> Pulled:
    """Fetch `entry` unless a good file of it is there. `progress` makes a tqdm bar; none is shown without it.

    `reading` says whether a file is a good one, `revision` which commit or branch of the repository is meant; the main branch when empty.
    Raises BadRequest for a model that no hub carries; WeightsError: hub not reachable, file not there or not to be had without a token, disk
    full, connection broken for good, wrong size or hash, no model. What was fetched so far stays, and the next call goes on from there.
    """
    if entry.bundled or entry.package or "/" not in entry.source:
        raise BadRequest(f"The model {entry.name} is on no model hub, so there is nothing to pull.", param="name")
    target = models_dir / entry.file
    try:
        models_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(models_dir / f".{entry.file}.lock", timeout=0):
            there = _present(entry, target, reading)
            return there or _Pull(entry, target, endpoint.rstrip("/"), token, reading, revision).run(progress)
    except Timeout:
        raise WeightsError(f"Another process is fetching {entry.file} into {models_dir}; wait for it, or end it and pull again.") from None
    except OSError as error:
        raise WeightsError.of_folder(error, entry.name, models_dir, entry.bytes) from error


def recorded(models_dir: Path) -> dict[str, Any]:
    """What was pulled into a models directory, by file name: sha256, source, commit, time; empty when the record is absent or damaged."""
    try:
        found = json.loads((models_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(file): row for file, row in found.items() if isinstance(row, dict)} if isinstance(found, dict) else {}


def proof(entry: CatalogModel | None, file: str, sha256: str, models_dir: Path) -> str:
    """What speaks for a file of this hash: `catalogue`, `hub`, or empty."""
    if entry is not None and sha256 and entry.sha256 == sha256:
        return "catalogue"
    return "hub" if sha256 and recorded(models_dir).get(file, {}).get("sha256") == sha256 else ""


def _present(entry: CatalogModel, target: Path, reading: Reading) -> Pulled | None:
    """A whole file of the right hash that is there already; a damaged one is as good as none."""
    if not target.exists():
        return None
    try:
        sha256 = reading(Place(target, entry, "suite models pull"), "")
    except WeightsError:
        return None
    return Pulled(target, sha256, proof(entry, entry.file, sha256, target.parent), 0)


class _Pull:
    """One fetch, under the lock."""

    def __init__(self, entry: CatalogModel, target: Path, endpoint: str, token: str, reading: Reading, revision: str) -> None:
        self.entry, self.target, self.endpoint = entry, target, endpoint
        self.reading, self.revision = reading, revision
        parts = urlsplit(endpoint)
        # a token is not shown to everybody on the way
        self.token = token if parts.scheme == "https" or parts.hostname in LOOPBACK else ""
        self.again = f"`suite models pull {entry.name}`"

    def run(self, progress: Callable[..., Any] | None) -> Pulled:
        remote = self._ask()
        part = self.target.with_name(f".{self.entry.file}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:16]}.part")
        for stale in self.target.parent.glob(f".{self.entry.file}.*.part"):  # of a file that the hub has replaced since
            if stale != part:
                stale.unlink()
        before = part.stat().st_size if part.exists() else 0
        if before > remote.size:
            part.unlink()
            before = 0
        self._room(remote.size - before)
        if before < remote.size:
            self._fetch(remote, part, progress)
        sha256 = self._hashed(remote, part)
        self.reading(Place(part, None, "suite models pull"), sha256)
        os.replace(part, self.target)
        self._record(remote, sha256)
        return Pulled(self.target, sha256, proof(self.entry, self.entry.file, sha256, self.target.parent), remote.size - before)

    def _ask(self) -> _Remote:
        """The hub's HEAD answer."""
        import httpx
        import huggingface_hub
        from huggingface_hub import constants, errors

        constants.HF_HUB_DISABLE_TELEMETRY = True
        name, source = self.entry.remote or self.entry.file, self.entry.source
        url = huggingface_hub.hf_hub_url(source, name, revision=self.revision or None, endpoint=self.endpoint)
        try:
            found = huggingface_hub.get_hf_file_metadata(url, token=self.token or False, timeout=SECONDS, endpoint=self.endpoint,
                                                         library_name="local-ai-suite", library_version=__version__)
        except errors.OfflineModeIsEnabled:
            raise WeightsError(f"HF_HUB_OFFLINE is set, so {self.entry.name} cannot be fetched; unset it, or copy {self.entry.file} into "
                               f"{self.target.parent} yourself.") from None
        except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
            raise WeightsError(f"{self.endpoint} does not give {source} to everybody ({_status(error)}); check the name, accept its licence on "
                               "the hub, and export a token as HF_TOKEN.") from None
        except (errors.EntryNotFoundError, errors.RevisionNotFoundError):
            raise WeightsError(f"{self.endpoint} has no file {name} in {source}; look for it there and copy it to {self.target}.") from None
        except errors.HfHubHTTPError as error:
            raise self._refused(_status(error)) from None
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if not found.commit_hash or not found.etag or not found.size:
            raise WeightsError(f"{self.endpoint} does not answer as a model hub does (no commit, tag or size for {name}); check HF_ENDPOINT and "
                               "your proxy.")
        pinned = huggingface_hub.hf_hub_url(source, name, revision=found.commit_hash, endpoint=self.endpoint)
        return _Remote(pinned, found.etag, found.size, found.commit_hash)

    def _fetch(self, remote: _Remote, part: Path, progress: Callable[..., Any] | None) -> None:
        """Append to `part` until it has the size that the hub said; a broken connection is taken up where it broke."""
        import httpx

        failures = 0
        part.touch(mode=0o600)
        with part.open("r+b") as file:
            have = file.seek(0, os.SEEK_END)
            bar = progress(total=remote.size, initial=have, unit="B", unit_scale=True, desc=self.entry.file) if progress else None
            count = bar.update if bar is not None else lambda _size: None
            try:
                while have < remote.size:
                    try:
                        self._append(remote, file, count)
                    except httpx.HTTPError as error:
                        failures = failures + 1 if file.tell() <= have else 0
                        if failures >= TRIES:
                            raise self._broken(file.tell(), remote.size, error) from None
                    have = file.tell()
            finally:
                if bar is not None:
                    bar.close()
            os.fsync(file.fileno())

    def _append(self, remote: _Remote, file: BinaryIO, count: Callable[[int], Any]) -> None:
        """One request for what is missing."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers

        headers = build_hf_headers(token=self.token or False, library_name="local-ai-suite", library_version=__version__)
        headers |= {"Range": f"bytes={file.tell()}-", "Accept-Encoding": "identity"}
        with get_session().stream("GET", remote.url, headers=headers, timeout=SECONDS, follow_redirects=True) as reply:
            if reply.status_code not in (200, 206):
                raise self._refused(f"status {reply.status_code}")
            if reply.status_code == 200 and file.tell():  # a hub that cannot resume begins anew
                count(-file.tell())
                file.seek(0)
                file.truncate()
            for chunk in reply.iter_raw():  # as it comes: what is gathered first would be lost with the connection
                count(file.write(chunk))
                if file.tell() > remote.size:
                    file.truncate(0)
                    raise WeightsError(f"{self.endpoint} sends more than the {remote.size:,} bytes that it said {self.entry.file} has; nothing of "
                                       f"it is kept. Run {self.again} again.")

    def _hashed(self, remote: _Remote, part: Path) -> str:
        """The sha256 of what came; a wrong one is not kept."""
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        for wanted, whose in ((self.entry.sha256, "the catalogue"), (remote.sha256, "the hub")):
            if wanted and wanted != found:
                part.unlink()
                raise WeightsError(f"{self.entry.file} from {self.endpoint} has the sha256 {found}, but {whose} says {wanted}; it is not kept. "
                                   f"Run {self.again} again, and report it if it happens twice.")
        return found

    def _room(self, needed: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if free < needed + SPARE:
            raise WeightsError(f"{self.target.parent} has {free / 1e9:.1f} GB free but {self.entry.file} needs {(needed + SPARE) / 1e9:.1f} GB; free "
                               "some space or set MODELS_DIR to a larger disk.")

    def _record(self, remote: _Remote, sha256: str) -> None:
        """By a temporary name, so that no half-written record is ever read; hashes that the hub does not state are not its word."""
        folder = self.target.parent
        rows = {**recorded(folder), self.entry.file: {
            "sha256": sha256 if remote.sha256 else "", "source": self.entry.source, "commit": remote.commit, "licence": self.entry.licence,
            "at": time.time()}}
        waiting = folder / f".{RECORD}.{os.getpid()}"
        waiting.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        os.replace(waiting, folder / RECORD)

    def _refused(self, status: str) -> WeightsError:
        return WeightsError(f"{self.endpoint} refuses {self.entry.file} of {self.entry.source} ({status}); try again later: what has come so far is "
                            "kept.")

    def _unreachable(self, error: Exception) -> WeightsError:
        return WeightsError(f"The model hub {self.endpoint} cannot be reached ({type(error).__name__}); connect to it, set HF_ENDPOINT to a mirror, "
                            f"or copy {self.entry.file} into {self.target.parent} yourself.")

    def _broken(self, have: int, size: int, error: Exception) -> WeightsError:
        return WeightsError(f"The connection to {self.endpoint} broke {TRIES} times ({type(error).__name__}) after {have:,} of {size:,} bytes of "
                            f"{self.entry.file}; run {self.again} again, it goes on from there.")


def _status(error: Any) -> str:
    response = getattr(error, "response", None)
    return f"status {response.status_code}" if response is not None else type(error).__name__
