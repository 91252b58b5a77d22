"""Bring a database to the schema of this version by the numbered steps in `versions/`, and refuse a newer one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import Engine

from suite.errors import StorageError

HERE = Path(__file__).parent


def upgrade(engine: Engine, keep: Callable[[Engine, str], None] | None = None) -> None:
    """Run the steps that are missing; do nothing when the schema is current. `keep` is called first with the schema of a database that has one.

    Raises StorageError when the database was written by a newer version, and what `keep` raises: then nothing was changed.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if present is not None and present not in known:
        raise StorageError(
            f"The database has schema {present}, which this version of the suite does not know (its newest is {script.get_current_head()}); "
            "start it with the newer version that wrote it, or restore an older backup."
        )
    if present != script.get_current_head():
        if present is not None and keep is not None:
            keep(engine, present)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
