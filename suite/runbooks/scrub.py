"""What must not be in the metadata of a notebook that is handed on: absolute paths and user names; and which parameters are refused as secrets."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.errors import BadRequest
from suite.settings import TABLE
from suite.text.secret import is_secret, masked_text

_ABSOLUTE = re.compile(r"(?<![\w/:.~])(?:[A-Za-z]:\\|/)(?:[^\s'\"<>|:;,]+[/\\])+([^\s'\"<>|:;,/\\]*)")


def scrub(value: Any, home: str = "", user: str = "") -> Any:
    """The same value without the folders of absolute paths and without the user's name, in all texts and keys however deep.

    `home` and `user` are those of this process when empty. A URL stays as it is.
    """
    home, user = home or str(Path.home()), user or _user()
    return _scrubbed(value, home, user)


def _scrubbed(value: Any, home: str, user: str) -> Any:
    if isinstance(value, str):
        return _text(value, home, user)
    if isinstance(value, Mapping):
        return {_text(key, home, user) if isinstance(key, str) else key: _scrubbed(inner, home, user) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(inner, home, user) for inner in value]
    return value


def _text(text: str, home: str, user: str) -> str:
    if len(home) > 1:
        text = re.sub(rf"(?<![\w/.]){re.escape(home)}(?![\w.-])", "~", text)
    text = _ABSOLUTE.sub(lambda found: f"…/{found[1]}" if found[1] else "…/", text)
    return re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", "user", text) if len(user) > 1 else text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without an entry in the password file
        return ""


def refuse_secrets(parameters: Mapping[str, Any], runbook: str) -> None:
    """Parameters are kept in the report, so a secret may only be named there, never written.

    Raises BadRequest with the environment variable that takes it.
    """
    secrets = {row.name: row.env for row in TABLE if row.secret}
    settings = parameters.get("settings")
    for name, value in (settings.items() if isinstance(settings, Mapping) else ()):
        if name in secrets:
            raise BadRequest(f"Parameter settings of {runbook} holds {name}, which is a secret and would be kept in the report; "
                             f"export it as {secrets[name]} instead.")
        _refuse_text(f"settings[{name!r}]", value, runbook)
    for name, value in parameters.items():
        if name == "settings":
            continue
        if name != "token_env" and is_secret(name):
            raise BadRequest(f"Parameter {name} of {runbook} is a secret by its name and would be kept in the report; "
                             "export it, and give the name of the environment variable.")
        _refuse_text(name, value, runbook)


def _refuse_text(name: str, value: Any, runbook: str) -> None:
    if isinstance(value, str) and masked_text(value) != value:
        raise BadRequest(f"Parameter {name} of {runbook} holds what looks like a password or a key, and would be kept in the report; "
                         "export it in an environment variable, and name that.")
