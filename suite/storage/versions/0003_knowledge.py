"""Which model a collection was embedded with and where it lies; answers that are kept; what was asked; how old a memory's search terms are."""

import time
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    collections = op.create_table(
        "collections",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("store", sa.String(64), nullable=False),
        sa.Column("embedder", sa.String(120), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("collection", sa.String(120), nullable=False, index=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("expires", sa.Float, nullable=False, index=True),
    )
    op.create_table(
        "searches",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("collection", sa.String(120), nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("hits", sa.Integer, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
    )
    _known(collections)
    with op.batch_alter_table("memories") as memories:  # 0: stored by an earlier version, whose search terms are renewed by the next sync
        memories.add_column(sa.Column("recipe", sa.Integer, nullable=False, server_default="0"))
        memories.create_index("ix_memories_recipe", ["recipe"])


def _known(collections: sa.Table) -> None:
    """The collections that are there already; documents of several models in one were possible, the most frequent one counts."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT collection, embedder, COUNT(*) AS n FROM documents GROUP BY collection, embedder ORDER BY n, embedder"))
    embedders = {row.collection: row.embedder for row in rows}
    if embedders:
        op.bulk_insert(collections, [{"name": name, "store": _store(name), "embedder": embedder, "version": 1, "created": time.time()}
                                     for name, embedder in embedders.items()])


def _store(name: str) -> str:
    """The store's name for a collection as it was at this revision."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    plain = 0 < len(name) <= 54 and set(name) <= allowed and not name.startswith("x-")
    return "knowledge-" + (name if plain else "x-" + sha256(name.encode()).hexdigest()[:32])


def downgrade() -> None:
    with op.batch_alter_table("memories") as memories:
        memories.drop_index("ix_memories_recipe")
        memories.drop_column("recipe")
    for table in ("searches", "answers", "collections"):
        op.drop_table(table)
