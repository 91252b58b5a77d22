"""Models of a hub: pulled, tried, and used for real; prefixes, poolings, and what is said of their hashes."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from filelock import FileLock
from hub_stage import COMMIT
from tiny_models import HIDDEN, PLACES, Oracle

from suite.cli.main import main
from suite.embedding.embed import Embedder
from suite.embedding.hub import pull_model
from suite.embedding.model import DEFAULT, embedding_model, embedding_models, rerank_models
from suite.embedding.pull import verdict
from suite.errors import BadRequest, NotReady, WeightsError
from suite.serving import pull as pulling
from suite.serving.catalog import catalog

NAMES = ["config.json", "manifest.json", "onnx/model.onnx", "onnx/pulled.json", "pulled.json", "tokenizer.json", "tokenizer_config.json"]


def embedder(place, **values) -> Embedder:
    return Embedder(place.settings(**values), place.models, place.folder / "cache")


def fetched(place, **values) -> Embedder:
    part = embedder(place, **values)
    part.fetch()
    return part


def lying(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def put(files, folder):
    """Copy files by hand."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pins(files) -> str:
    """The table `files` of a catalogue entry, with the hashes of these files."""
    return "[tiny-word.files]\n" + "".join(f'"{name}" = "{hashlib.sha256(content).hexdigest()}"\n' for name, content in files.items())


def test_a_model_is_pulled_whole_and_gives_the_vectors_of_its_network_with_the_prefix_of_each_kind(place, tiny_word):
    part = fetched(place, embedding_cache_mb=0)
    assert lying(place.models / "tiny-word") == NAMES
    assert {path.partition("/resolve/")[2].partition("/")[0] for _, path, _ in place.stage.asked} == {"main", COMMIT}
    oracle, texts = Oracle(tiny_word), ["the backup runs at night", "chat", "the longer model", ""]
    for kind in ("passage", "query"):
        found = part.embed(texts, kind)
        assert found.dtype == np.float32 and found.shape == (4, HIDDEN)
        assert np.allclose(found, [oracle.vector(f"{kind}: {text}") for text in texts], atol=1e-5), kind
    assert np.array_equal(part.embed(texts), part.embed(texts, "passage")) and not np.allclose(part.embed(texts), part.embed(texts, "query"), atol=1e-3)
    with pytest.raises(BadRequest, match="kind is 'document' but must be one of passage, query"):
        part.embed(texts, "document")


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_the_pooling_is_the_catalogues(place, tiny_word, pooling):
    place.enter("word", pooling)
    part, oracle = fetched(place), Oracle(tiny_word)
    assert np.allclose(part.embed(["the backup", "chat model at night"]),
                       [oracle.vector(f"passage: {text}", pooling) for text in ("the backup", "chat model at night")], atol=1e-5)


def test_a_tokenizer_of_sentence_pieces_works_as_well(place, tiny_sentence):
    place.enter("sentence")
    place.carry(tiny_sentence)
    part, oracle = fetched(place, embedding_model="tiny-sentence"), Oracle(tiny_sentence)
    texts = ["the backup runs at night .", "백업 은 밤 에 돕니다", "model", ""]
    assert np.allclose(part.embed(texts, "query"), [oracle.vector(f"query: {text}") for text in texts], atol=1e-5)
    assert part.tokens(texts) == [len(oracle.tokenizer.encode(f"passage: {text}")) for text in texts]


def test_no_token_is_cut_though_the_published_tokenizer_would_cut_and_the_limit_is_an_error(place, tiny_word):
    part = fetched(place)
    room = PLACES - len(Oracle(tiny_word).tokenizer.encode("passage: "))
    longest = " ".join(["the"] * room)
    assert part.tokens([longest, longest + " the", "the " * 500]) == [PLACES, PLACES + 1, PLACES - room + 500]
    assert np.allclose(part.embed([longest]), Oracle(tiny_word).vector("passage: " + longest), atol=1e-5)
    with pytest.raises(BadRequest, match=rf"texts\[1\] has {PLACES + 1} tokens but tiny-word reads {PLACES} at most") as caught:
        part.embed(["the", longest + " the"])
    assert (caught.value.facts["param"], caught.value.facts["tokens"], caught.value.facts["limit"]) == ("texts[1]", PLACES + 1, PLACES)
    assert part.head(longest + " the") == longest and part.head(longest) == longest


def test_a_cut_pull_goes_on_where_it_broke_and_nothing_is_used_before_it_is_whole(place, tiny_word):
    size = len(tiny_word["onnx/model.onnx"])
    place.stage.cut_after = [size // 2, *[0] * pulling.TRIES]
    part = embedder(place)
    with pytest.raises(WeightsError, match=r"broke 4 times .* of model.onnx; run `suite models pull tiny-word` again"):
        part.fetch()
    part.start()
    assert not part.ready().ok and "suite models pull tiny-word" in part.ready().reasons[0]
    part.fetch()
    assert part.ready().ok and place.stage.sent == sum(map(len, tiny_word.values())), "no byte came twice"


def test_weights_are_not_fetched_from_a_hub_without_being_asked_for(place):
    part = embedder(place)
    part.start()
    assert not part.ready().ok and "run `suite models pull tiny-word` (needs the model hub once)" in part.ready().reasons[0]
    assert place.stage.asked == []
    with pytest.raises(NotReady):
        part.embed(["a"])


def test_a_running_part_takes_up_what_another_process_pulled(place):
    part = embedder(place)
    part.start()
    assert not part.ready().ok
    fetched(place)
    assert part.ready().ok and part.embed(["a"]).shape == (1, HIDDEN)


def test_hashes_of_the_catalogue_verify_and_others_do_not(place, tiny_word):
    model = embedding_model("tiny-word", place.models)
    assert verdict(model, place.models).state == "missing"
    fetched(place)
    assert verdict(model, place.models).state == "hub", "the stage states a sha256 of every file, as the hub does of large ones"
    (place.models / "tiny-word" / "pulled.json").unlink()
    seen = verdict(model, place.models)
    assert seen.state == "unverified" and "tokenizer.json" in seen.sentence and seen.bytes == sum(map(len, tiny_word.values()))
    place.enter("word", more=pins(tiny_word))
    assert verdict(embedding_model("tiny-word", place.models), place.models).state == "verified"


def test_a_file_of_another_hash_than_the_pinned_one_is_not_kept(place, tiny_word):
    place.enter("word", more=pins({**tiny_word, "tokenizer.json": b"another"}))
    with pytest.raises(WeightsError, match=r"tokenizer\.json from .* but the catalogue says"):
        embedder(place).fetch()
    assert "tokenizer.json" not in lying(place.models / "tiny-word")


def test_a_damaged_file_is_told_and_fetched_anew(place, tiny_word):
    fetched(place)
    file = place.models / "tiny-word" / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    part = embedder(place)
    part.start()
    assert not part.ready().ok and "is damaged" in part.ready().reasons[0]
    assert verdict(part.model, place.models).state == "damaged"
    part.fetch()
    assert part.ready().ok and file.read_bytes() == tiny_word["onnx/model.onnx"]


def test_files_that_were_copied_by_hand_are_used_and_checked_against_the_pins(place, tiny_word):
    place.enter("word", more=pins(tiny_word))
    folder = put(tiny_word, place.models / "tiny-word")
    part = embedder(place)
    part.start()
    assert part.ready().ok and verdict(part.model, place.models).state == "verified" and place.stage.asked == []
    (folder / "tokenizer_config.json").write_bytes(b'{"model_max_length": 32, "pad_token": "[PAD]", "more": 1}')
    part.close()
    part.start()
    assert not part.ready().ok and "tokenizer_config.json is damaged" in part.ready().reasons[0]


def test_a_model_without_a_repository_is_tried_where_its_files_lie(place, tiny_word):
    place.enter("word")
    file = place.models / "embedding.toml"
    file.write_text(file.read_text().replace('source = "someone/tiny"\n', "", 1))
    part = embedder(place)
    with pytest.raises(WeightsError, match=r"names no repository .* copy onnx/model.onnx, tokenizer.json, tokenizer_config.json, config.json into"):
        part.fetch()
    put(tiny_word, place.models / "tiny-word")
    part.fetch()
    assert part.ready().ok and place.stage.asked == []


def test_of_a_model_of_which_nothing_came_nothing_stays(place):
    with pytest.raises(WeightsError, match=r"The model hub http://127\.0\.0\.1:9 cannot be reached"):
        embedder(place, hf_endpoint="http://127.0.0.1:9").fetch()
    assert sorted(path.name for path in place.models.iterdir()) == [".tiny-word.lock", "embedding.toml"]


def test_the_commit_that_the_hashes_are_of_is_asked_for(place):
    place.enter("word", more=f'revision = "{"d" * 40}"\n')
    fetched(place)
    assert {path.partition("/resolve/")[2].partition("/")[0] for method, path, _ in place.stage.asked if method == "HEAD"} == {"d" * 40}


def test_a_file_that_the_hub_lacks_is_named(place):
    place.enter("word", more='[tiny-word.files]\n"onnx/model.onnx" = ""\n"vocabulary.json" = ""\n')
    with pytest.raises(WeightsError, match=r"has no file vocabulary\.json in someone/tiny"):
        embedder(place).fetch()


def test_a_model_of_another_dimension_or_length_than_its_entry_is_refused_before_anybody_uses_it(place, tiny_word):
    for change, said in ((("dim = 8", "dim = 16"), "but the catalogue says 16 dimensions"), (("max_tokens = 32", "max_tokens = 64"), "says 32")):
        place.enter("word")
        file = place.models / "embedding.toml"
        file.write_text(file.read_text().replace(*change, 1))
        with pytest.raises(WeightsError, match=said):
            embedder(place).fetch()
        assert "manifest.json" not in lying(place.models / "tiny-word")
        part = embedder(place)
        part.start()
        assert not part.ready().ok and said in part.ready().reasons[0]


def test_what_is_no_network_is_refused(place):
    place.carry({"onnx/model.onnx": b"<html>Sign in</html>"})
    with pytest.raises(WeightsError, match="cannot be loaded"):
        embedder(place).fetch()


def test_two_pulls_at_once_wait_for_each_other(place):
    model = embedding_model("tiny-word", place.models)
    with FileLock(place.models / ".tiny-word.lock"), pytest.raises(WeightsError, match="Another process has been fetching tiny-word"):
        pull_model(model, place.models, place.stage.url, probe=lambda _: None, time_limit=0)


def test_a_changed_model_of_the_same_name_never_gets_the_others_vectors_from_the_cache(place, tiny_word):
    first = fetched(place).embed(["the backup"])
    place.enter("word", "cls")
    second = embedder(place)
    second.start()
    assert np.allclose(second.embed(["the backup"])[0], Oracle(tiny_word).vector("passage: the backup", "cls"), atol=1e-5)
    assert not np.allclose(first, second.embed(["the backup"]), atol=1e-3)


def test_auto_takes_the_default_model_once_it_was_pulled_and_says_why(place, weights, tiny_word):
    shutil.copytree(weights / "minilm", place.models / "minilm")
    before = embedder(place, embedding_model="auto")
    assert before.model.id == "minilm"
    before.start()
    assert before.ready().facts["why"] == f"EMBEDDING_MODEL is auto, and {DEFAULT} is not in {place.models}: `suite models pull {DEFAULT}` fetches it"
    default = embedding_models()[DEFAULT]
    put({default.place(name): b"" for name in default.files}, place.models / DEFAULT)
    after = embedder(place, embedding_model="auto")
    assert after.model.id == DEFAULT and after.why == f"EMBEDDING_MODEL is auto, and {DEFAULT} is in {place.models}"
    assert before.model.id == "minilm", "a running part keeps its model"
    (place.models / DEFAULT / "tokenizer.json").unlink()
    assert embedder(place, embedding_model="auto").model.id == "minilm", "half a model is none"
    after.start()
    assert not after.ready().ok, "and damaged files are said, not passed over for the other model"


@pytest.fixture
def commanded(place, monkeypatch):
    for name, value in (("MODELS_DIR", place.models), ("DATA_DIR", place.folder / "data"), ("HF_ENDPOINT", place.stage.url)):
        monkeypatch.setenv(name, str(value))
    return place


def said(capsys, *arguments):
    status = main(["models", *arguments, "--json"])
    return status, {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}


def test_suite_models_lists_pulls_and_verifies_them(commanded, capsys, tiny_word):
    _, before = said(capsys, "list")
    assert set(before) == set(catalog()) | {"tiny-word", "judge"}
    assert [(before[name]["role"], before[name]["here"], before[name]["hash"]) for name in ("tiny-word", "judge", DEFAULT, "bge-reranker-v2-m3")] == [
        ("embedding", False, "unknown"), ("reranker", False, "unknown"), ("embedding", False, "pinned"), ("reranker", False, "pinned")]
    assert main(["models", "pull", "tiny-word", "judge"]) == 0
    printed = capsys.readouterr().out
    assert "tiny-word from someone/tiny, MIT." in printed and f"judge is in {commanded.models / 'judge'}; hub:" in printed
    assert said(capsys, "list")[1]["tiny-word"]["here"]
    assert said(capsys, "verify", "tiny-word")[0] == 1, "the hub's word is no pass"
    commanded.enter("word", more=pins(tiny_word))
    status, rows = said(capsys, "verify", "tiny-word", "judge", DEFAULT)
    assert (status, [row["state"] for row in rows.values()]) == (1, ["verified", "hub", "missing"])
    assert said(capsys, "verify", "tiny-word")[0] == 0
    assert set(said(capsys, "verify")[1]) == {"smoke", "tiny-word", "judge"}
    assert main(["models", "pull", "tiny-word", "nothing-of-that-name"]) == 2


def test_the_two_catalogues_agree():
    for known in {**embedding_models(), **rerank_models()}.values():
        entry = catalog()[known.id]
        assert (entry.licence, entry.context, entry.sha256, entry.role) == (known.licence.split(" (")[0], known.max_tokens, known.sha256, known.role)
        assert entry.languages == known.languages and entry.dim == getattr(known, "dim", 0)
        if known.id != "minilm":
            assert (entry.source, entry.file) == (known.source, f"{known.id}/{known.onnx}")
            assert all(known.files.values()) and len(known.revision) == 40, "whatever the branch becomes, these files are what is pulled"
