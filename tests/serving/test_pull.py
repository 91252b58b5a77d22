from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hub_stage import Hub, hub

from suite.errors import BadRequest, WeightsError
from suite.serving import pull as pulling
from suite.serving.catalog import CatalogModel, catalog
from suite.serving.pull import pull, recorded
from suite.serving.weights import check

FILE, REPOSITORY = "tiny-q4_k_m.gguf", "someone/tiny-GGUF"


@pytest.fixture(scope="module")
def content(make_smoke: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("hub") / FILE
    make_smoke.write(path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models directory"
    made.mkdir()
    return made


@pytest.fixture
def stage(content: bytes) -> Iterator[Hub]:
    with hub({f"{REPOSITORY}/{FILE}": content}) as running:
        yield running


def entry(**more: Any) -> CatalogModel:
    given = {"name": "tiny", "file": FILE, "bytes": 1, "sha256": "", "licence": "Apache-2.0", "context": 128, "role": "chat", "source": REPOSITORY}
    return CatalogModel(**{**given, **more})


def left(folder: Path) -> list[str]:
    """What lies in a models directory besides the lock and the record."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock") and path.name != pulling.RECORD)


def test_a_file_is_fetched_once_and_is_whole(stage, content, folder):
    got = pull(entry(), folder, stage.url)
    assert (got.path, got.fetched, got.proof) == (folder / FILE, len(content), "hub")
    assert got.path.read_bytes() == content and got.sha256 == hashlib.sha256(content).hexdigest()
    assert left(folder) == [FILE]
    assert recorded(folder)[FILE]["source"] == REPOSITORY
    asked = len(stage.asked)
    again = pull(entry(), folder, stage.url)
    assert (again.fetched, again.proof, len(stage.asked)) == (0, "hub", asked)
    assert stat.S_IMODE(got.path.stat().st_mode) == 0o600


def test_the_pinned_hash_is_a_proof_and_the_file_may_have_another_name_there(content, folder):
    with hub({f"{REPOSITORY}/Other.gguf": content}) as stage:
        got = pull(entry(sha256=hashlib.sha256(content).hexdigest(), remote="Other.gguf"), folder, stage.url)
    assert got.proof == "catalogue" and left(folder) == [FILE]


def test_a_cut_connection_is_taken_up_where_it_broke(stage, content, folder):
    stage.cut_after = [400_000, 300_000]
    assert pull(entry(), folder, stage.url).path.read_bytes() == content
    assert stage.sent == len(content)  # no byte came twice
    assert [headers["range"] for method, _, headers in stage.asked if method == "GET"] == ["bytes=0-", "bytes=400000-", "bytes=700000-"]


def test_a_pull_that_broke_off_for_good_is_resumed_by_the_next_one(stage, content, folder):
    stage.cut_after = [500_000, *[0] * pulling.TRIES]
    with pytest.raises(WeightsError, match=r"broke 4 times .* after 500,000 of [\d,]+ bytes.*goes on from there"):
        pull(entry(), folder, stage.url)
    assert [name.endswith(".part") for name in left(folder)] == [True]
    got = pull(entry(), folder, stage.url)
    assert got.path.read_bytes() == content and got.fetched == len(content) - 500_000 and stage.sent == len(content)
    assert left(folder) == [FILE]


def test_a_hub_that_cannot_resume_begins_anew(stage, content, folder):
    stage.cut_after, stage.ranges = [500_000], False
    assert pull(entry(), folder, stage.url).path.read_bytes() == content


def test_the_rest_of_a_file_that_was_replaced_on_the_hub_is_not_glued_to_the_old_beginning(stage, content, folder, make_smoke):
    stage.cut_after = [500_000, *[0] * pulling.TRIES]
    with pytest.raises(WeightsError):
        pull(entry(), folder, stage.url)
    make_smoke.write(folder / "newer", ends=True)
    stage.files[f"{REPOSITORY}/{FILE}"] = newer = (folder / "newer").read_bytes()
    assert pull(entry(), folder, stage.url).path.read_bytes() == newer
    assert left(folder) == ["newer", FILE]


@pytest.mark.parametrize("pinned", [True, False])
def test_wrong_content_is_not_kept_and_both_hashes_are_said(stage, content, folder, pinned):
    wrong = bytes(reversed(content))
    stage.served = wrong
    pinned_hash = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError) as caught:
        pull(entry(sha256=pinned_hash if pinned else ""), folder, stage.url)
    assert hashlib.sha256(wrong).hexdigest() in caught.value.message and pinned_hash in caught.value.message
    assert ("the catalogue says" if pinned else "the hub says") in caught.value.message
    assert left(folder) == []


def test_what_is_no_model_is_not_put_in_place(folder):
    with hub({f"{REPOSITORY}/{FILE}": b"<html>Sign in</html>" * 1000}) as stage, pytest.raises(WeightsError, match="not a GGUF file"):
        pull(entry(), folder, stage.url)
    assert FILE not in left(folder)


def test_more_bytes_than_announced_are_refused(stage, folder):
    stage.more = b"x" * 100
    with pytest.raises(WeightsError, match="sends more than"):
        pull(entry(), folder, stage.url)
    assert FILE not in left(folder)


def test_a_hub_without_hashes_gives_a_file_that_nobody_vouches_for(stage, folder):
    stage.etag = "abc-123"
    got = pull(entry(), folder, stage.url)
    assert got.proof == "" and recorded(folder)[FILE]["sha256"] == ""


def test_a_damaged_file_in_place_is_fetched_again(stage, content, folder):
    (folder / FILE).write_bytes(content[:1000])
    assert pull(entry(), folder, stage.url).path.read_bytes() == content


@pytest.mark.parametrize(("change", "said"), [
    ({"source": "someone/else-GGUF"}, "has no file tiny-q4_k_m.gguf in someone/else-GGUF"),
    ({"remote": "absent.gguf"}, "has no file absent.gguf"),
])
def test_what_the_hub_does_not_have_is_said(stage, folder, change, said):
    with pytest.raises(WeightsError, match=said):
        pull(entry(**change), folder, stage.url)


def test_a_token_opens_what_is_not_for_everybody_and_stands_nowhere(stage, content, folder, caplog, capfd):
    stage.token = "hf_verysecret"
    with pytest.raises(WeightsError, match=r"status 401.*HF_TOKEN"):
        pull(entry(), folder, stage.url)
    assert pull(entry(), folder, stage.url, token="hf_verysecret").path.read_bytes() == content
    assert "hf_verysecret" not in caplog.text + "".join(capfd.readouterr()) + (folder / pulling.RECORD).read_text()


def test_a_token_is_not_shown_to_everybody_on_the_way_to_another_machine(stage, folder, monkeypatch):
    monkeypatch.setattr(pulling, "LOOPBACK", ())  # as if the hub, which speaks plain http, were not on this machine
    pull(entry(), folder, stage.url, token="hf_verysecret")
    assert stage.asked and all("authorization" not in headers for _, _, headers in stage.asked)


def test_a_token_does_not_follow_a_redirect_to_another_host(stage, content, folder):
    with hub({f"cdn/{REPOSITORY}/{FILE}": content}) as elsewhere:
        stage.cdn = elsewhere.url.replace("127.0.0.1", "localhost")
        pull(entry(), folder, stage.url, token="hf_verysecret")
        assert elsewhere.count("GET") == 1
        assert [(m, "authorization" in h) for m, _, h in elsewhere.asked] == [("GET", False)]
    assert any("authorization" in headers for _, _, headers in stage.asked)


def test_a_hub_that_is_not_there_is_one_sentence(folder):
    with pytest.raises(WeightsError, match=r"The model hub http://127\.0\.0\.1:9 cannot be reached") as caught:
        pull(entry(), folder, "http://127.0.0.1:9")
    assert "\n" not in caught.value.message and left(folder) == []


def test_a_web_server_that_is_no_hub_is_recognised(stage, folder):
    stage.bare = True
    with pytest.raises(WeightsError, match="does not answer as a model hub does"):
        pull(entry(), folder, stage.url)


def test_two_pulls_of_one_file_do_not_meet(stage, folder):
    with FileLock(folder / f".{FILE}.lock"), pytest.raises(WeightsError, match="Another process is fetching"):
        pull(entry(), folder, stage.url)
    assert stage.asked == []


def test_too_small_a_disk_is_said_before_anything_is_fetched(stage, folder, monkeypatch):
    monkeypatch.setattr(pulling, "SPARE", 1 << 60)
    with pytest.raises(WeightsError, match="GB free but tiny"):
        pull(entry(), folder, stage.url)
    assert stage.count("GET") == 0


def test_a_folder_that_cannot_be_written_is_said(stage, folder):
    (folder / "file").write_text("")
    with pytest.raises(WeightsError, match="mend that, then run `suite models pull tiny`"):
        pull(entry(), folder / "file" / "models", stage.url)


def test_bundled_and_packaged_models_are_on_no_hub(folder):
    for name in ("smoke", "minilm"):
        with pytest.raises(BadRequest, match="on no model hub"):
            pull(catalog()[name], folder, "http://127.0.0.1:9")


def test_the_progress_bar_ends_at_the_size(stage, content, folder):
    bars: list[Any] = []

    class Bar:
        def __init__(self, total: int, initial: int, **_: Any) -> None:
            self.total, self.at, self.closed = total, initial, False
            bars.append(self)

        def update(self, size: int) -> None:
            self.at += size

        def close(self) -> None:
            self.closed = True

    stage.cut_after, stage.ranges = [500_000], False
    pull(entry(), folder, stage.url, progress=Bar)
    assert (bars[0].total, bars[0].at, bars[0].closed) == (len(content), len(content), True)


def test_nothing_is_written_outside_the_models_directory_and_nothing_but_the_file_is_asked_for(stage, folder):
    home, models = folder / "home", folder / "models"
    home.mkdir()
    code = ("import sys, pathlib; from suite.serving.catalog import CatalogModel; from suite.serving.pull import pull;"
            f"pull(CatalogModel('tiny', {FILE!r}, 1, '', 'x', 1, 'chat', {REPOSITORY!r}), pathlib.Path({str(models)!r}), {stage.url!r})")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))} | {"HOME": str(home), "TMPDIR": str(home)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert list(home.rglob("*")) == []
    assert left(models) == [FILE] and check(models / FILE).tensors
    assert {path for _, path, _ in stage.asked} == {f"/{REPOSITORY}/resolve/{revision}/{FILE}" for revision in ("main", "c" * 40)}
    assert all("torch" not in headers["user-agent"] for _, _, headers in stage.asked)
