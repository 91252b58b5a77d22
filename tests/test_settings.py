"""Settings come from four places in a fixed order, and a bad one is refused with its value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import SettingsError
from suite.settings import TABLE, load, package_file


def test_arguments_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text('rag_topk = 5\nllama_ctx = 512\nprofile = "cpu"\n', encoding="utf-8")
    settings = load({"rag_topk": 7}, {"RAG_TOPK": "6", "LLAMA_CTX": "1024"}, tmp_path)
    assert (settings.rag_topk, settings.llama_ctx, settings.profile, settings.code_model) == (7, 1024, "cpu", "")
    assert (settings.source["rag_topk"], settings.source["llama_ctx"], settings.source["code_model"]) == ("argument", "environment", "default")


def test_the_users_own_file_counts_below_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "config" / "local-ai-suite"
    own.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (own / "suite.toml").write_text("rag_topk = 9\nllama_ctx = 256\n", encoding="utf-8")
    (tmp_path / "suite.toml").write_text("rag_topk = 5\n", encoding="utf-8")
    settings = load({}, {}, tmp_path)
    assert (settings.rag_topk, settings.llama_ctx) == (5, 256)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("rag_topk", "four", "RAG_TOPK is 'four'"), ("rag_topk", 0, "a whole number from 1 to 50"), ("rag_topk", True, "RAG_TOPK is True"),
    ("llama_temp", "nan", "LLAMA_TEMP is nan"), ("stage", "production", "one of dev, staging, prod"), ("rbac_enabled", "maybe", "true or false"),
    ("rag_top", 3, "Unknown setting 'rag_top'"),
])
def test_a_bad_value_is_refused_with_the_value_and_what_is_expected(name: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load({name: value}, {})


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text("rag_topk = \n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"suite\.toml is not valid TOML"):
        load({}, {}, tmp_path)
    (tmp_path / "suite.toml").write_text("chunk = 3\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"Unknown setting 'chunk' in .*suite\.toml"):
        load({}, {}, tmp_path)


def test_a_setting_cannot_be_changed_after_it_was_read() -> None:
    settings = load({}, {})
    with pytest.raises(SettingsError, match="already read"):
        settings.rag_topk = 9
    assert settings.rag_topk == 4


def test_paths_are_absolute_and_follow_the_data_directory(tmp_path: Path) -> None:
    settings = load({"data_dir": "here/../data"}, {}, tmp_path)
    assert settings.data_dir == tmp_path / "data"
    assert (settings.models_dir, settings.reports_dir, settings.workspace_dir) == (tmp_path / "data/models", tmp_path / "data/reports", tmp_path)


def test_a_password_in_the_database_url_is_never_shown() -> None:
    settings = load({"database_url": "postgresql+psycopg://me:hunter2@localhost/x"}, {})
    assert settings.database_url.endswith("hunter2@localhost/x")
    assert "hunter2" not in str(settings.values()) + str(settings.identity())


def test_every_setting_has_a_sentence_and_a_name_of_its_own() -> None:
    assert [row.name for row in TABLE if not (row.sentence.endswith(".") and len(row.sentence) > 20)] == []
    assert len({row.name for row in TABLE}) == len({row.env for row in TABLE}) == len(TABLE)


@given(st.sampled_from(TABLE), st.one_of(st.text(max_size=20).filter(lambda text: "\0" not in text), st.integers(), st.floats(), st.booleans()))
def test_any_value_is_either_taken_with_its_type_or_refused_in_one_sentence(row: object, value: object) -> None:
    try:
        taken = getattr(load({row.name: value}, {}), row.name)
    except SettingsError as error:
        assert row.env in str(error) and "\n" not in str(error).replace(repr(value), "")
    else:
        assert isinstance(taken, row.type) or (row.type is Path and taken is None and value == ""), "an empty path is none"
        assert row.low is None or taken >= row.low
        assert row.high is None or taken <= row.high


def test_a_missing_package_file_means_a_broken_installation() -> None:
    assert package_file("runbooks/criteria.toml").is_file()
    with pytest.raises(SettingsError, match="install local-ai-suite again"):
        package_file("runbooks/none.toml")
