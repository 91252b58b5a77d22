"""The catalogue of embedding models and rerankers, and entries of one's own."""

import pytest

from suite.embedding.model import EmbeddingModel, chosen, embedding_model, embedding_models, rerank_model, rerank_models
from suite.errors import BadRequest, SettingsError

ENTRY = {"name": '"mine"', "dim": "8", "languages": '["ko"]', "licence": '"MIT"', "max_tokens": "64"}


def write(folder, key="mine", **changes):
    """A catalogue of one entry; a change to None leaves a key out."""
    rows = {name: value for name, value in {**ENTRY, **changes}.items() if value is not None}
    (folder / "embedding.toml").write_text(f"[{key}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items()), encoding="utf-8")
    return folder


def test_the_models_that_the_suite_ships():
    default, original = embedding_model("multilingual-e5-small"), embedding_model("bge-small-en-v1.5")
    assert (default.dim, default.pooling, default.prefix("query"), default.prefix("passage"), default.max_tokens) == (384, "mean", "query: ", "passage: ", 512)
    assert (original.dim, original.pooling, original.prefix("passage")) == (384, "cls", "")
    assert original.prefix("query") == "Represent this sentence for searching relevant passages: "
    assert default.reads("백업은 몇 시에 도나요?") and default.reads("When?") and default.reads("Wann läuft die Sicherung?")
    assert original.reads("When does the backup run?") and not original.reads("백업은 몇 시에 도나요?")
    assert [model.id for model in rerank_models().values() if model.reads("백업은 몇 시에 도나요?")] == ["bge-reranker-v2-m3"]
    assert not any("NC" in model.licence or "non-commercial" in model.licence for model in (*embedding_models().values(), *rerank_models().values()))


def test_an_entry_of_ones_own_joins_them(tmp_path):
    model = embedding_models(write(tmp_path, pooling='"cls"', weights='"model_O2.onnx"'))["mine"]
    assert (model.id, model.dim, model.pooling, model.languages, model.max_tokens) == ("mine", 8, "cls", ("ko",), 64)
    assert set(model.files) == {"model_O2.onnx", "tokenizer.json", "tokenizer_config.json", "config.json"} and not any(model.files.values())
    assert model.onnx == "onnx/model_O2.onnx" and EmbeddingModel.from_dict(model.to_dict()) == model
    assert embedding_model("mine", tmp_path) == model and "mine" not in embedding_models()
    assert rerank_models(write(tmp_path, dim=None, kind='"reranker"'))["mine"].name == "mine" and "mine" not in embedding_models(tmp_path)


def test_data_beside_the_network_lies_beside_it():
    model = rerank_model("bge-reranker-v2-m3")
    assert [model.place(file) for file in ("onnx/model_int8.onnx", "onnx/model_int8.onnx_data", "tokenizer.json", "onnx/config.json")] == [
        "onnx/model_int8.onnx", "onnx/model_int8.onnx_data", "tokenizer.json", "config.json"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"dim": None}, "mine has no dim, which must be a whole number from 1"),
    ({"dim": "0"}, "dim of mine is 0 but must be"), ({"dim": "8.5"}, "dim of mine is 8.5"), ({"dim": "true"}, "dim of mine is True"),
    ({"languages": '"ko"'}, "languages of mine is 'ko'"), ({"languages": "[]"}, "languages of mine"), ({"pooling": '"max"'}, "one of mean, cls, last_token, disabled"),
    ({"max_tokens": "4"}, "max_tokens of mine is 4"), ({"prefix": '"x"'}, "mine has the unknown key 'prefix'; known are: name,"),
    ({"weights": '"../../model.onnx"'}, "weights of mine"), ({"weights": '"/etc/passwd"'}, "weights of mine"),
    ({"files": '{"../x" = ""}'}, "files of mine"), ({"files": '{"onnx/model.onnx" = "123"}'}, "files of mine"),
    ({"files": '{"model.onnx" = ""}'}, r"must hold its weights \(onnx/model.onnx\)"),
    ({"files": '{"onnx/model.onnx" = "", "a/config.json" = "", "b/config.json" = ""}'}, "no two of one name"),
    ({"kind": '"generator"'}, "the kind of mine is 'generator'"), ({"cosines": "[0.9, 0.1]"}, "cosines of mine"), ({"name": "5"}, "name of mine is 5"),
    ({"name": '"all-MiniLM-L6-v2"'}, "mine has the id or the name of minilm"),
])
def test_a_wrong_entry_is_one_sentence_that_names_file_key_and_what_it_must_be(tmp_path, changes, said):
    with pytest.raises(SettingsError, match=said) as caught:
        embedding_models(write(tmp_path, **changes))
    assert str(tmp_path / "embedding.toml") in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("key", ["minilm", "bge-reranker-v2-m3", "auto", "Mine", '"../mine"', '".."'])
def test_a_name_that_is_taken_or_is_no_name_is_refused(tmp_path, key):
    with pytest.raises(SettingsError):
        embedding_models(write(tmp_path, key=key))


def test_a_file_that_is_no_toml_is_said(tmp_path):
    (tmp_path / "embedding.toml").write_text("[mine\n")
    with pytest.raises(SettingsError, match="is not valid TOML"):
        embedding_models(tmp_path)
    (tmp_path / "embedding.toml").unlink()
    (tmp_path / "embedding.toml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        embedding_models(tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    write(tmp_path)
    with pytest.raises(SettingsError, match=r"EMBEDDING_MODEL is 'nope' but must be auto or one of minilm, .*, mine \("):
        embedding_model("nope", tmp_path)
    with pytest.raises(SettingsError, match="RAG_RERANKER is 'minilm' but must be empty or one of bge-reranker-v2-m3"):
        rerank_model("minilm", tmp_path)


def test_a_named_model_is_taken_whatever_is_there(tmp_path):
    assert chosen("multilingual-e5-small", tmp_path)[0].id == "multilingual-e5-small"
    assert chosen("auto", tmp_path)[0].id == "minilm" and chosen("minilm", tmp_path)[1] == "EMBEDDING_MODEL is minilm"


def test_there_are_two_kinds_of_text():
    model = embedding_model("multilingual-e5-small")
    for kind in ("", "Query", "document", None, 1):
        with pytest.raises(BadRequest, match="must be one of passage, query"):
            model.prefix(kind)
