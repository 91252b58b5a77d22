"""API keys, approvals, times in which everything is approved; the owner of the notebook becomes an actor of their own."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(8), primary_key=True),
        sa.Column("actor", sa.String(80), nullable=False, index=True),
        sa.Column("label", sa.String(80), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=True),
        sa.Column("revoked", sa.Float, nullable=True),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("actor", sa.String(80), nullable=False),
        sa.Column("tool", sa.String(80), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, index=True),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("cwd", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("requested", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("decided", sa.Float, nullable=True),
        sa.Column("decided_by", sa.String(80), nullable=False, server_default=""),
        sa.Column("rule", sa.String(20), nullable=False, server_default=""),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("used", sa.Float, nullable=True),
    )
    op.create_table(
        "approve_all",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("begun", sa.Float, nullable=False),
        sa.Column("ends", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    _owner()


def _owner() -> None:
    """Where actors are there already they are not seeded again, so that the new one has to be written here."""
    connection = op.get_bind()
    actors = sa.table("actors", sa.column("name"), sa.column("role"), sa.column("active"), sa.column("created"))
    names = set(connection.execute(sa.select(actors.c.name)).scalars())
    if names and "local-owner" not in names:
        connection.execute(actors.insert().values(name="local-owner", role="developer", active=True, created=time.time()))
