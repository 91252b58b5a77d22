"""The first schema: actors and audit, memories, documents, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _access()
    _memory()
    _documents_and_jobs()


def _access() -> None:
    op.create_table(
        "actors",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String(80), nullable=False, index=True),
        sa.Column("kind", sa.String(40), nullable=False, index=True),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
    )


def _memory() -> None:
    op.create_table(
        "memories",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project", sa.String(120), nullable=False, index=True),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("model", sa.String(120), nullable=False),
        sa.Column("session", sa.String(120), nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("importance", sa.Integer, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False, index=True),
        sa.Column("expires", sa.Float, nullable=True, index=True),
        sa.Column("sync", sa.String(10), nullable=False, index=True),
    )
    op.create_table(
        "memory_terms",
        sa.Column("memory", sa.String(36), sa.ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("term", sa.String(120), primary_key=True, index=True),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_table(
        "memory_removals",
        sa.Column("memory", sa.String(36), primary_key=True),
        sa.Column("project", sa.String(120), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _documents_and_jobs() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("collection", sa.String(120), nullable=False, index=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("embedder", sa.String(120), nullable=False),
        sa.Column("split", sa.String(40), nullable=False),
        sa.Column("indexed", sa.Float, nullable=False),
        sa.UniqueConstraint("collection", "path"),
    )
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("started", sa.Float, nullable=True),
        sa.Column("finished", sa.Float, nullable=True),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("jobs", "documents", "memory_removals", "memory_terms", "memories", "audit", "actors"):
        op.drop_table(table)
