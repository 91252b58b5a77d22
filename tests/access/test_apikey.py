"""API keys: shown once, kept as a digest, and dead from the moment that they are revoked, over, or their actor is switched off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from suite.access.actor import Actors
from suite.access.apikey import ApiKey, ApiKeys
from suite.access.caller import Caller
from suite.access.identify import Door
from suite.errors import BadRequest, NotFound
from suite.storage.engine import open_storage
from suite.text.secret import masked, masked_text


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ApiKeys]:
    storage = open_storage("", tmp_path)
    actors = Actors(storage)
    actors.seed()
    yield ApiKeys(storage, actors)
    storage.close()


def test_a_key_is_found_by_its_text_and_its_text_is_nowhere(keys: ApiKeys, tmp_path: Path) -> None:
    key, text = keys.create("dev_user", "laptop")
    other, more = keys.create("admin_user", days=1)
    assert keys.find(text) == key and keys.find(more) == other and keys.list() == [key, other] and text != more
    assert ApiKey.from_dict(key.to_dict()) == key and other.expires == pytest.approx(time.time() + 86_400, abs=60)
    keys.storage.compact()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(text.encode() in data or text[6:].encode() in data for data in files)


def test_a_key_is_masked_wherever_it_stands(keys: ApiKeys) -> None:
    _, text = keys.create("dev_user")
    said = f"curl -H X:{text} and {text}, {text}."
    assert text not in masked_text(said) and masked_text(said).count("***") == 3 and text not in str(masked({"note": text, text: 1}))


@pytest.mark.parametrize("text", ["", "suite_", "x" * 49, "suite_" + "é" * 43, "suite_" + "a" * 42, "suite_" + "a" * 43, "suite_" + "a" * 44, "suite_' OR 1=1 --"])
def test_what_is_no_key_opens_nothing(keys: ApiKeys, text: str) -> None:
    keys.create("dev_user")
    assert keys.find(text) is None


def test_a_revoked_key_opens_nothing_from_then_on_also_for_another_process(keys: ApiKeys) -> None:
    key, text = keys.create("dev_user")
    elsewhere = ApiKeys(keys.storage, Actors(keys.storage))
    assert elsewhere.find(text) == key
    revoked = keys.revoke(key.id)
    assert revoked.revoked and elsewhere.find(text) is None and keys.revoke(key.id) == revoked
    with pytest.raises(NotFound, match="'nope'"):
        keys.revoke("nope")


def test_a_key_ends_with_its_time_and_with_its_actor(keys: ApiKeys) -> None:
    key, text = keys.create("dev_user", days=1)
    keys.actors.change("dev_user", active=False)
    assert keys.find(text) is None
    keys.actors.change("dev_user", active=True)
    assert keys.find(text) == key
    with keys.storage.begin() as connection:
        connection.execute(sa.text("UPDATE access_keys SET expires = 1"))
    assert keys.find(text) is None


@pytest.mark.parametrize(("actor", "more", "error", "says"), [
    ("mallory", {}, NotFound, "no actor 'mallory'"), ("guest_user", {"days": 0}, BadRequest, "not 0"), ("guest_user", {"days": 99999}, BadRequest, "3650"),
    ("guest_user", {"days": float("nan")}, BadRequest, "nan"), ("guest_user", {"label": "x" * 81}, BadRequest, "label"), ("guest_user", {"label": "a\nb"}, BadRequest, "label"),
])
def test_bad_input_makes_no_key(keys: ApiKeys, actor: str, more: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        keys.create(actor, **more)  # type: ignore[arg-type]
    assert keys.list() == []


def test_nobody_who_is_switched_off_gets_a_key(keys: ApiKeys) -> None:
    keys.actors.change("guest_user", active=False)
    with pytest.raises(BadRequest, match="switched off"):
        keys.create("guest_user")


def test_the_door_tells_the_owner_from_the_holder_of_a_key(keys: ApiKeys) -> None:
    class Token:
        def matches(self, token: str) -> bool:
            return token == "f" * 64

    door = Door(Token(), keys, "local-owner")
    key, text = keys.create("admin_user")
    assert door.identify("f" * 64) == Caller("local-owner", client="http") and door.identify("f" * 64).owner  # type: ignore[union-attr]
    assert door.identify(text, "mcp") == Caller("admin_user", key.id, "mcp") and not door.identify(text).owner  # type: ignore[union-attr]
    assert door.identify("e" * 64) is None and door.identify("suite_" + "b" * 43) is None
