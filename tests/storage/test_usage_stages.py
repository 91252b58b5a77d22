"""Usage of before its stages were kept stays readable, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from suite.storage import migrate
from suite.storage.engine import Storage
from suite.usage.ledger import Ledger
from suite.usage.read import last_uses, requests
from suite.usage.record import Usage

OLD = Usage(at=1000.0, who="ann", alias="chat-7b", model="qwen", server="inference-chat", prompt_tokens=10, tokens=4, cached=6, seconds=0.5, outcome="ok")


def test_rows_of_an_older_schema_are_read_and_new_ones_kept_beside_them(opened: Callable[[str], Storage], address: str) -> None:
    storage = opened(address)
    with storage.begin() as connection:  # back to what 0005 had
        for name in ("queue_seconds", "first_seconds"):
            connection.execute(sa.text(f'ALTER TABLE "usage" DROP COLUMN {name}'))
        config = Config()
        config.set_main_option("script_location", str(migrate.HERE))
        config.attributes["connection"] = connection
        command.stamp(config, "0005")
        names = [name for name in Usage.__dataclass_fields__ if not name.endswith("_seconds")]
        marks = ", ".join(f":{name}" for name in names)
        connection.execute(sa.text(f'INSERT INTO "usage" ({", ".join(names)}) VALUES ({marks})'), {name: getattr(OLD, name) for name in names})
    storage.close()
    again = opened(address)
    new = replace(OLD, at=2000.0, who="bob", server="inference-code", queue_seconds=0.25, first_seconds=0.5)
    ledger = Ledger(again)
    ledger.record(new)
    ledger.record(replace(new, at=1500.0))
    ledger.close()
    assert requests(again) == [OLD, replace(new, at=1500.0), new] and requests(again, 2000.0) == [new] and requests(again, n=1) == [new]
    assert last_uses(again) == (1000.0, {"inference-chat": 1000.0, "inference-code": 2000.0})
