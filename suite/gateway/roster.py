"""The file of API_GATEWAY_UPSTREAMS: model servers by URL, and the order in which each alias asks them.

    [servers.gpu-box]                       # any name; inference-chat and inference-code are this stack's own servers
    url = "http://127.0.0.1:8080/v1"
    model = "Qwen2.5-7B-Instruct"           # its name there
    key_env = "GPU_BOX_KEY"                 # the environment variable with the key, or key_file = "/home/me/gpu-box.key"; the key is never here

    [order]
    chat-7b = ["gpu-box", "inference-chat"] # an alias that is not named keeps its own server
"""

from __future__ import annotations

import errno
import logging
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from suite.errors import SettingsError
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.gateway.upstream import Upstream
from suite.settings import Settings, secret

KEYS = ("url", "model", "key_env", "key_file", "allow_plain_http")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
log = logging.getLogger("suite.gateway")


@dataclass(frozen=True)
class Address:
    """A model server by URL. `key` is in no text of it."""

    name: str
    url: str
    model: str
    key: str

    def __repr__(self) -> str:
        return f"Address({self.name!r}, {self.url!r}, {self.model!r})"


@dataclass(frozen=True)
class Roster:
    """The addresses by name, and for each alias that the file names the order of names."""

    addresses: Mapping[str, Address]
    order: Mapping[str, tuple[str, ...]]


def upstreams(settings: Settings, own: Mapping[str, Upstream]) -> dict[str, list[Upstream]]:
    """The servers of each alias as the settings say; `own` maps the names of this stack's model servers, the chat one first, to them.

    Raises SettingsError for a file that cannot be used.
    """
    chat, code = own
    order: dict[str, tuple[str, ...]] = {settings.api_gateway_chat_model: (chat,), settings.api_gateway_code_model: (code,)}
    if not settings.api_gateway_upstreams:
        return {alias: [own[name] for name in names] for alias, names in order.items()}
    roster = read(settings.api_gateway_upstreams, tuple(order), tuple(own))
    order |= roster.order
    stages = {"connect": settings.llm_connect_timeout, "first_token": settings.llm_first_token_timeout, "timeout": settings.llm_request_timeout}
    used = {name for names in order.values() for name in names}
    known = dict(own)
    for name in roster.addresses.keys() & used:
        each = roster.addresses[name]
        known[name] = OpenAIUpstream(name, each.url, each.model, each.key, **stages)
    for name in roster.addresses.keys() - used:
        log.warning("the model server %s of %s is in no order, so nobody asks it", name, settings.api_gateway_upstreams)
    return {alias: [known[name] for name in names] for alias, names in order.items()}


def read(file: Path, aliases: Iterable[str], own: Iterable[str]) -> Roster:
    """Read the file; `aliases` are those that may have an order, `own` the names that are taken. Raises SettingsError with one sentence."""
    text = _text(file)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{file} is no TOML ({error}); correct it.") from None
    _only(data, ("servers", "order"), f"{file}")
    servers, order = data.get("servers", {}), data.get("order", {})
    for name, table in (("servers", servers), ("order", order)):
        if not isinstance(table, dict):
            raise SettingsError(f"{file} has {name} = {table!r:.80} but it must be a table.")
    addresses = {name: _address(f"{file}, servers.{name}", name, table, tuple(own)) for name, table in servers.items()}
    aliases, known = tuple(aliases), (*addresses, *own)
    return Roster(addresses, {alias: _order(f"{file}, order.{alias}", alias, names, aliases, known) for alias, names in order.items()})


def _text(file: Path) -> str:
    where = f"API_GATEWAY_UPSTREAMS names {file}"
    try:
        data = _bytes(file, MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where}, which cannot be read ({error.strerror}); correct the path, or leave it empty.") from None
    if len(data) > MOST_BYTES:
        raise SettingsError(f"{where}, which has more than {MOST_BYTES >> 20} MiB; name the TOML file of model servers.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{where}, which is no UTF-8 text; name the TOML file of model servers.") from None


def _address(where: str, name: str, table: Any, own: tuple[str, ...]) -> Address:
    if not _NAME.fullmatch(name) or name in own:
        raise SettingsError(f"{where}: the name {name[:80]!r} cannot be used; take letters, digits and . _ -, and not {' or '.join(own)}.")
    if not isinstance(table, dict):
        raise SettingsError(f"{where} is {table!r:.80} but must be a table with {', '.join(KEYS)}.")
    _only(table, KEYS, where)
    for key in ("url", "model", "key_env", "key_file"):
        if not isinstance(table.get(key, ""), str):
            raise SettingsError(f"{where}: {key} is {table[key]!r:.80} but must be text.")
    if not isinstance(table.get("allow_plain_http", False), bool):
        raise SettingsError(f"{where}: allow_plain_http is {table['allow_plain_http']!r:.80} but must be true or false.")
    url = _url(where, table.get("url", ""))
    key = _key(where, table)
    parts = urlsplit(url)
    if key and parts.scheme == "http" and parts.hostname not in LOOPBACK and not table.get("allow_plain_http"):
        raise SettingsError(f"{where}: its key would go over plain http to {parts.hostname}, where others can read it; use https, or say "
                            "allow_plain_http = true.")
    return Address(name, url, table.get("model", ""), key)


def _url(where: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise SettingsError(f"{where}: url is {url[:120]!r} but must be an address such as http://127.0.0.1:8080/v1.") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{where}: url holds a user or password; put the key into an environment variable and name it in key_env.")
    if not usable or parts.query or parts.fragment or any(sign.isspace() or not sign.isascii() or not sign.isprintable() for sign in url):
        raise SettingsError(f"{where}: url is {url[:120]!r} but must be an address such as http://127.0.0.1:8080/v1.")
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"


def _key(where: str, table: Mapping[str, Any]) -> str:
    if table.get("key_env") and table.get("key_file"):
        raise SettingsError(f"{where} has both key_env and key_file; keep one of them.")
    if table.get("key_env"):
        try:
            key = secret(table["key_env"])
        except SettingsError:
            raise SettingsError(f"{where}: key_env names the environment variable {table['key_env']!r:.80}, which is not set; export the key in it, "
                                "or leave key_env out.") from None
    elif table.get("key_file"):
        key = _key_of(where, Path(table["key_file"]).expanduser())
    else:
        return ""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"{where}: its key holds signs that no header may hold; check where it came from.")
    return key


def _key_of(where: str, file: Path) -> str:
    try:
        mode, data = stat.S_IMODE(file.stat().st_mode), _bytes(file, 1 << 16)
    except OSError as error:
        raise SettingsError(f"{where}: key_file {file} cannot be read ({error.strerror}); correct it, or leave it out.") from None
    if mode & 0o077:
        raise SettingsError(f"{where}: key_file {file} can be read by others (mode {mode:o}); run `chmod 600 {file}`.")
    key = data.decode("utf-8", "replace").strip()
    if not key:
        raise SettingsError(f"{where}: key_file {file} is empty; write the key into it, or leave it out.")
    return key


def _bytes(file: Path, most: int) -> bytes:
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no file")  # a pipe would be waited for
    with file.open("rb") as stream:
        return stream.read(most)


def _order(where: str, alias: str, names: Any, aliases: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    if alias not in aliases:
        raise SettingsError(f"{where}: there is no alias {alias[:80]!r}, only {' and '.join(aliases)}; correct it, or set API_GATEWAY_CHAT_MODEL "
                            "and API_GATEWAY_CODE_MODEL.")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{where} is {names!r:.80} but must be a list of names of servers, at least one.")
    for name in names:
        if name not in known:
            raise SettingsError(f"{where} names {name[:80]!r}, which is no server; there are {', '.join(known)}.")
    if len(set(names)) < len(names):
        raise SettingsError(f"{where} names a server twice; once is enough.")
    return tuple(names)


def _only(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            raise SettingsError(f"{where} has the unknown key {key[:80]!r}; there are {', '.join(keys)}.")
