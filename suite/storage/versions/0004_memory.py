"""Projects, numbered turns with tags, validity and edits, and search terms in a full-text index instead of a table of pairs.

There is no way back: the copy that was made before it is (storage/migrate.py).
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("memories") as memories:  # the names are used again by the table that takes its place
        for column in ("project", "created", "expires", "sync", "recipe"):
            memories.drop_index(f"ix_memories_{column}")
    op.drop_table("memory_terms")
    op.rename_table("memories", "memories_before")
    if op.get_bind().dialect.name == "postgresql":  # a renamed table keeps the names of its constraints
        op.execute("ALTER TABLE memories_before RENAME CONSTRAINT pk_memories TO pk_memories_before")
    _projects()
    _memories()
    _words()
    _moved()
    op.drop_table("memories_before")


def _projects() -> None:
    op.create_table(
        "memory_projects",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(120), nullable=False, unique=True),
        sa.Column("name", sa.String(120), nullable=False, server_default=""),
        sa.Column("path", sa.Text, nullable=False, server_default=""),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("turns", sa.Integer, nullable=False, server_default="0"),
        sa.Column("length", sa.Integer, nullable=False, server_default="0"),
        sqlite_autoincrement=True,
    )


def _memories() -> None:
    op.create_table(
        "memories",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("project", sa.String(120), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False, server_default="turn"),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("model", sa.String(120), nullable=False, server_default=""),
        sa.Column("session", sa.String(120), nullable=False, server_default="", index=True),
        sa.Column("tags", sa.Text, nullable=False, server_default="[]"),
        sa.Column("context", sa.Text, nullable=False, server_default="{}"),
        sa.Column("tokens", sa.Integer, nullable=True),
        sa.Column("seconds", sa.Float, nullable=True),
        sa.Column("importance", sa.Integer, nullable=False),
        sa.Column("rules", sa.Text, nullable=False, server_default="[]"),
        sa.Column("favourite", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("edited", sa.Float, nullable=True),
        sa.Column("expires", sa.Float, nullable=True, index=True),
        sa.Column("valid_from", sa.Float, nullable=False, server_default="0"),
        sa.Column("valid_until", sa.Float, nullable=True),
        sa.Column("superseded_by", sa.String(36), nullable=False, server_default="", index=True),
        sa.Column("sync", sa.String(10), nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("recipe", sa.Integer, nullable=False, index=True, server_default="0"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_memories_project_created", "memories", ["project", "created"])
    op.create_index("ix_memories_project_importance", "memories", ["project", "importance"])
    op.create_table(
        "memory_tags",
        sa.Column("seq", sa.Integer, sa.ForeignKey("memories.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("tag", sa.String(120), primary_key=True, index=True),
    )


def _words() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE memory_words USING fts5(terms, detail=none, tokenize='ascii')")
        op.execute("CREATE VIRTUAL TABLE memory_vocabulary USING fts5vocab('memory_words', 'row')")
        return
    op.execute("CREATE TABLE memory_words (seq INTEGER PRIMARY KEY REFERENCES memories (seq) ON DELETE CASCADE, terms TEXT[] NOT NULL)")
    op.execute("CREATE INDEX ix_memory_words_terms ON memory_words USING gin (terms)")


def _moved() -> None:
    """What was remembered before, in the order of its time; search terms (recipe 0) are made by the first start."""
    op.execute("INSERT INTO memory_projects (id, created) SELECT project, MIN(created) FROM memories_before GROUP BY project ORDER BY MIN(created)")
    op.execute("""INSERT INTO memories (id, project, question, reply, model, session, tags, importance, length, created, expires, valid_from, sync,
                                        recipe)
                  SELECT id, project, question, reply, model, session, tags, importance, 0, created, expires, created, sync, 0
                  FROM memories_before ORDER BY created""")
    op.execute("UPDATE memory_projects SET turns = (SELECT COUNT(*) FROM memories WHERE memories.project = memory_projects.id)")
    connection = op.get_bind()
    tagged = connection.execute(sa.text("SELECT seq, tags FROM memories WHERE tags != '[]'")).all()
    rows = [{"seq": row.seq, "tag": tag} for row in tagged for tag in dict.fromkeys(json.loads(row.tags))]
    if rows:
        connection.execute(sa.text("INSERT INTO memory_tags (seq, tag) VALUES (:seq, :tag)"), rows)
