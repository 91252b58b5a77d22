"""The file of model servers by URL: what it means, and one sentence for everything that is wrong in it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from suite.errors import SettingsError
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.gateway.roster import read, upstreams
from suite.settings import load

ALIASES, OWN = ("chat-7b", "code-7b"), ("inference-chat", "inference-code")
GOOD = """
[servers.box]
url = "http://127.0.0.1:8080"
model = "qwen"
key_env = "BOX_KEY"

[servers.cluster]
url = "https://models.example.org/team/v1/"

[order]
chat-7b = ["box", "inference-chat", "cluster"]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOX_KEY", "sesame-open")
    return tmp_path / "upstreams.toml"


def test_the_order_of_the_file_is_the_order_of_the_servers(file: Path) -> None:
    file.write_text(GOOD, encoding="utf-8")
    settings = load({"api_gateway_upstreams": str(file), "llm_connect_timeout": 0.5, "llm_first_token_timeout": 7, "llm_request_timeout": 9}, {})
    chat, code = object(), object()
    made = upstreams(settings, dict(zip(OWN, (chat, code), strict=True)))
    assert list(made) == list(ALIASES) and made["code-7b"] == [code] and made["chat-7b"][1] is chat
    box, _, cluster = made["chat-7b"]
    assert isinstance(box, OpenAIUpstream)
    assert (box.name, box.url, box.model, box.first_token, box.timeout) == ("box", "http://127.0.0.1:8080/v1", "qwen", 7, 9)
    assert (cluster.url, cluster.model) == ("https://models.example.org/team/v1", "") and box._connections.connect_timeout == 0.5
    assert box._headers["Authorization"] == "Bearer sesame-open" and "Authorization" not in cluster._headers
    assert "sesame" not in repr(read(file, ALIASES, OWN))


def test_without_a_file_each_alias_has_its_own_server() -> None:
    assert upstreams(load({}, {}), {"inference-chat": 1, "inference-code": 2}) == {"chat-7b": [1], "code-7b": [2]}


def test_a_server_in_no_order_is_told_in_the_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text('[servers.spare]\nurl = "http://127.0.0.1:1/v1"\n', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        upstreams(load({"api_gateway_upstreams": str(file)}, {}), {"inference-chat": 1, "inference-code": 2})
    assert "spare" in caplog.text


def test_a_key_may_be_in_a_private_file(file: Path, tmp_path: Path) -> None:
    key = tmp_path / "box.key"
    key.write_text("sesame-file\n", encoding="utf-8")
    file.write_text(f'[servers.box]\nurl = "http://127.0.0.1:1/v1"\nkey_file = "{key}"\n[order]\nchat-7b = ["box"]\n', encoding="utf-8")
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by others"):
        read(file, ALIASES, OWN)
    key.chmod(0o600)
    assert read(file, ALIASES, OWN).addresses["box"].key == "sesame-file"
    key.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="is empty"):
        read(file, ALIASES, OWN)


def server(**keys: object) -> str:
    import json

    return "[servers.box]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in ({"url": "http://127.0.0.1:1/v1"} | keys).items())


BAD = {
    "unknown table": ("[extras]\n", "unknown key 'extras'"), "no TOML": ("[servers", "is no TOML"), "deep": ("x = " + "[" * 10_000, "is no TOML"),
    "unknown key": (server(colour="red"), "unknown key 'colour'"), "no table": ("[servers]\nbox = 3\n", "must be a table"), "servers": ("servers = 3\n", "must be a table"),
    "no url": ('[servers.box]\nmodel = "x"\n', "must be an address"), "url": (server(url="ftp://x"), "must be an address"), "port": (server(url="http://x:99999999"), "must be an address"),
    "url of a number": (server(url=3), "url is 3 but must be text"), "url with spaces": (server(url="http://x/a b"), "must be an address"),
    "url with a line": (server(url="http://x/\r\nX: y"), "must be an address"), "url with a query": (server(url="http://x/v1?k=1"), "must be an address"),
    "a password": (server(url="http://me:secret@x/v1"), "holds a user or password"), "name of ours": (server().replace("box", "inference-chat"), "cannot be used"),
    "odd name": ('[servers."a b"]\nurl = "http://x"\n', "cannot be used"), "key not set": (server(key_env="NO_SUCH_KEY"), "not set"),
    "two keys": (server(key_env="BOX_KEY", key_file="x"), "both key_env and key_file"), "no key file": (server(key_file="/no/such/file"), "cannot be read"),
    "key over plain http": (server(url="http://models.example.org/v1", key_env="BOX_KEY"), "plain http"), "flag": (server(allow_plain_http="yes"), "must be true or false"),
    "unknown alias": (server() + '[order]\ngpt-4 = ["box"]\n', "no alias 'gpt-4'"), "unknown server": (server() + '[order]\nchat-7b = ["bux"]\n', "names 'bux'"),
    "no list": (server() + '[order]\nchat-7b = "box"\n', "must be a list"), "empty": (server() + "[order]\nchat-7b = []\n", "must be a list"),
    "twice": (server() + '[order]\nchat-7b = ["box", "box"]\n', "twice"), "order": ("order = 3\n", "must be a table"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_everything_wrong_has_one_sentence_and_shows_no_secret(file: Path, text: str, said: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read(file, ALIASES, OWN)
    assert said in caught.value.message and str(file) in caught.value.message and "\n" not in caught.value.message
    assert "sesame" not in caught.value.message and "secret" not in caught.value.message and len(caught.value.message) < 600


def test_a_key_over_plain_http_can_be_allowed(file: Path) -> None:
    file.write_text(server(url="http://models.example.org", key_env="BOX_KEY", allow_plain_http=True), encoding="utf-8")
    assert read(file, ALIASES, OWN).addresses["box"].url == "http://models.example.org/v1"


def test_a_file_that_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"# caf\xe9\n")
    (tmp_path / "big").write_bytes(b"#" * (2 << 20))
    for name, said in (("absent", "No such file"), (".", "is no file"), ("pipe", "is no file"), ("latin", "no UTF-8"), ("big", "more than 1 MiB")):
        with pytest.raises(SettingsError, match=said):
            read(tmp_path / name, ALIASES, OWN)
