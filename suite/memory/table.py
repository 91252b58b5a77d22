"""The tables of memory. Times are UTC seconds since 1970.

Beside these, `memory_words` holds the search terms of each turn: on SQLite an FTS5 table, on PostgreSQL a table with a GIN index (see words.py).
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from suite.storage.tables import metadata

projects = Table(
    "memory_projects", metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # marks the search terms of its turns; never given twice
    Column("id", String(120), nullable=False, unique=True),
    Column("name", String(120), nullable=False, server_default=""),
    Column("path", Text, nullable=False, server_default=""),
    Column("created", Float, nullable=False),
    Column("turns", Integer, nullable=False, server_default="0"),  # kept in step by every write, so that no search has to count
    Column("length", Integer, nullable=False, server_default="0"),  # search terms in all of its turns
    sqlite_autoincrement=True,
)

memories = Table(
    "memories", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),  # what search terms refer to; never given twice
    Column("id", String(36), nullable=False, unique=True),
    Column("project", String(120), nullable=False),
    Column("kind", String(10), nullable=False, server_default="turn"),  # turn, fact, summary
    Column("question", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("model", String(120), nullable=False, server_default=""),
    Column("session", String(120), nullable=False, server_default="", index=True),
    Column("tags", Text, nullable=False, server_default="[]"),  # JSON list, as given; memory_tags is what is searched
    Column("context", Text, nullable=False, server_default="{}"),  # JSON object, whatever the caller wants to keep with the turn
    Column("tokens", Integer, nullable=True),  # of the reply
    Column("seconds", Float, nullable=True),  # that the reply took
    Column("importance", Integer, nullable=False),  # 1 to 10
    Column("rules", Text, nullable=False, server_default="[]"),  # JSON list: why that importance
    Column("favourite", Boolean, nullable=False, server_default="0"),
    Column("length", Integer, nullable=False),  # number of search terms
    Column("created", Float, nullable=False),
    Column("edited", Float, nullable=True),
    Column("expires", Float, nullable=True, index=True),  # null: never
    Column("valid_from", Float, nullable=False, server_default="0"),
    Column("valid_until", Float, nullable=True),  # null: it still holds
    Column("superseded_by", String(36), nullable=False, server_default="", index=True),
    Column("sync", String(10), nullable=False, index=True),  # pending, synced, failed
    Column("version", Integer, nullable=False, server_default="1"),  # counts edits, so that a vector of older words is not taken for today's
    Column("recipe", Integer, nullable=False, index=True, server_default="0"),  # of the search terms that are stored with it
    Index("ix_memories_project_created", "project", "created"),
    Index("ix_memories_project_importance", "project", "importance"),
    sqlite_autoincrement=True,
)

memory_tags = Table(
    "memory_tags", metadata,
    Column("seq", Integer, ForeignKey("memories.seq", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(120), primary_key=True, index=True),
)

memory_removals = Table(  # vectors still to be removed from the store, so that a forgotten memory stays forgotten
    "memory_removals", metadata,
    Column("memory", String(36), primary_key=True),
    Column("project", String(120), nullable=False),
    Column("at", Float, nullable=False),
)
