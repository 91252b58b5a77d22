"""Faults of what is recommended: links in the clear, old keys and backups, open sockets and files, a stage whose demands nobody has met."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.checks.fault import Fault, Stack

TWO_DAYS, YEAR = 2 * 86_400, 365 * 86_400


def foreign_origin(stack: Stack) -> None:
    """Let the gateway answer to pages of any origin."""
    guard = stack.servers.app("api-gateway")
    honest = guard._refusal
    guard._refusal = lambda path, headers, caller: honest(path, {name: value for name, value in headers.items() if name != "origin"}, caller)


def open_socket(stack: Any) -> None:
    """Listen on every address of the machine."""
    stray = socket.create_server(("0.0.0.0", 0))
    stack._closers.append(stray.close)


def plain_link(stack: Stack) -> None:
    """Ship the log to another machine in the clear."""
    stack.settings.__dict__["loki_url"] = "http://logs.example:3100"


def old_key(stack: Any) -> None:
    """Have a key that was made a year ago and still opens."""
    key, _ = stack.keys.create(stack.settings.mcp_user_id, "of last year")
    with stack.storage.begin() as connection:
        connection.exec_driver_sql("UPDATE access_keys SET created = ? WHERE id = ?", (time.time() - YEAR, key.id))


def loose_settings(stack: Stack) -> None:
    """Keep a secret in a file of settings that everybody can read."""
    file = Path(stack.settings.data_dir, "cache", "suite.toml")
    file.write_text('smtp_password = "a secret"\n', encoding="utf-8")
    file.chmod(0o644)
    stack.settings.__dict__["smtp_password"] = "a secret"
    stack.settings.source["smtp_password"] = str(file)


def old_backup(stack: Stack) -> None:
    """Have a snapshot of two days ago that cannot be read, and no other."""
    folder = Path(stack.settings.data_dir, "backups", "20200101T030000Z")
    folder.mkdir(mode=0o700)
    os.utime(folder, (time.time() - TWO_DAYS,) * 2)


def fewer_rules(stack: Stack) -> None:
    """Forget the rules about the processor."""
    alerts = stack.monitor.watch._alerts
    alerts.rules = tuple(rule for rule in alerts.rules if rule.name != "HostBusy")


def unready_for_prod(stack: Any) -> None:
    """Serve stage prod with what was set up for stage dev."""
    stack.record = replace(stack.record, stage="prod")


FOREIGN_ORIGIN = Fault("the gateway answered to pages of another origin", foreign_origin)
OPEN_SOCKET = Fault("the stack listened on every address of the machine", open_socket)
PLAIN_LINK = Fault("the log left this machine in the clear", plain_link)
OLD_KEY = Fault("a key of last year still opened", old_key)
LOOSE_SETTINGS = Fault("everybody could read a secret in a file of settings", loose_settings)
OLD_BACKUP = Fault("the only backup was two days old and could not be read", old_backup)
FEWER_RULES = Fault("no rule watched the processor", fewer_rules)
UNREADY_FOR_PROD = Fault("stage prod was served as stage dev is", unready_for_prod)
