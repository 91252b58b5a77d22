"""The random model: made once, loadable, one token a word, and never at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from models_stage import smoke_server

from suite.errors import WeightsError
from suite.serving import random_model
from suite.serving.random_model import Shape, cached, words
from suite.serving.request import Request

TINY = Shape(width=256, layers=1, heads=4, kv_heads=2, feed_forward=256, words=2200, context=512)


def test_it_is_made_once_and_writes_words_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cached(tmp_path / "cache", TINY)
    made = path.stat()
    with monkeypatch.context() as broken:
        broken.setattr(random_model.subprocess, "run", None)  # a second making would fail
        assert cached(tmp_path / "cache", TINY).stat().st_mtime_ns == made.st_mtime_ns and list(path.parent.iterdir()) == [path]
    server = smoke_server(tmp_path, chat_model=str(path), llama_threads=1)
    server.load()
    try:
        spoken = words(TINY)[200:230]
        reply = server.complete(Request.of("".join(f" {word}" for word in spoken), max_tokens=20, temperature=0.0))
        assert (reply.prompt_tokens, reply.tokens, reply.finish) == (len(spoken) + 5, 20, "length")
        assert set(reply.text.split()) <= set(words(TINY)) and len(reply.text.split()) == 20
    finally:
        server.close()


def test_a_full_disk_and_a_failing_llama_cpp_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="free some space"):
        cached(tmp_path, Shape(width=1 << 24, words=1 << 30))
    with pytest.raises(WeightsError, match="could not be made"):
        cached(tmp_path, Shape(width=-8, layers=1, words=10))
    assert list(tmp_path.glob("*.gguf")) == []
