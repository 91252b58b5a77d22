"""What is taken out of a notebook's metadata, and which parameters are refused because they would be kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from suite.errors import BadRequest
from suite.runbooks.scrub import refuse_secrets, scrub

HOME, USER = "/home/jane", "jane"


@pytest.mark.parametrize(("text", "wanted"), [
    ("/home/jane/lab/phase2.ipynb", "~/lab/phase2.ipynb"), ("/tmp/pytest-of-jane/x.ipynb", "…/x.ipynb"), ("see /srv/models/a.gguf, then", "see …/a.gguf, then"),
    ("/home/jane", "~"), ("/home/janet/x.txt", "…/x.txt"), ("C:\\Users\\jane\\x.ipynb", "…/x.ipynb"), ("jane ran this", "user ran this"), ("janet", "janet"),
    ("http://127.0.0.1:8000/v1/models", "http://127.0.0.1:8000/v1/models"), ("1/2 of it", "1/2 of it"), ("and/or", "and/or"), ("runbooks/a.ipynb", "runbooks/a.ipynb"),
])
def test_folders_and_names_go_and_everything_else_stays(text: str, wanted: str) -> None:
    assert scrub(text, HOME, USER) == wanted


def test_it_goes_as_deep_as_the_metadata_is_keys_included() -> None:
    given_ = {"papermill": {"parameters": {"settings": {"data_dir": "/home/jane/.local/share/x"}}, "paths": ["/a/b/c"], "/home/jane/k": 1, "version": 2.7, "x": None}}
    assert scrub(given_, HOME, USER) == {"papermill": {"parameters": {"settings": {"data_dir": "~/.local/share/x"}}, "paths": ["…/c"], "~/k": 1, "version": 2.7,
                                                       "x": None}}


@given(some.lists(some.sampled_from(["/home/jane/", "/var/lib/", "x.txt", " ", "jane", "http://a/b", "…/", "~", "'"])).map("".join))
def test_what_was_scrubbed_once_stays_as_it_is_and_names_nobody(text: str) -> None:
    once = scrub(text, HOME, USER)
    assert scrub(once, HOME, USER) == once and "/home/jane/" not in once


@pytest.mark.parametrize(("parameters", "words"), [
    ({"settings": {"notion_token": "ntn_1"}}, "export it as NOTION_TOKEN"), ({"settings": {"database_url": "postgresql://me:word@db/x"}}, "settings"),
    ({"api_key": "x"}, "secret by its name"), ({"criteria": "password=hunter2 in a text"}, "Parameter criteria"),
])
def test_a_secret_among_the_parameters_is_refused_without_being_repeated(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        refuse_secrets(parameters, "phase2_health")
    assert "ntn_1" not in str(caught.value) and "word@" not in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_reference_to_a_secret_is_no_secret() -> None:
    assert refuse_secrets({"token_env": "THE_TOKEN", "settings": {"data_dir": "/x"}, "base_urls": {"rag": "http://127.0.0.1:8002"}, "budget_s": 3.0}, "phase2_health") is None
