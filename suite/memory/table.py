"""The tables of memory: remembered turns and the search terms in them. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, String, Table, Text

from suite.storage.tables import metadata

memories = Table(
    "memories", metadata,
    Column("id", String(36), primary_key=True),
    Column("project", String(120), nullable=False, index=True),
    Column("question", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("model", String(120), nullable=False, default=""),
    Column("session", String(120), nullable=False, default=""),
    Column("tags", Text, nullable=False, default="[]"),  # JSON list
    Column("importance", Integer, nullable=False),  # 1 to 10
    Column("length", Integer, nullable=False),  # number of search terms
    Column("created", Float, nullable=False, index=True),
    Column("expires", Float, nullable=True, index=True),  # null: never
    Column("sync", String(10), nullable=False, index=True),  # pending, synced, failed
    Column("recipe", Integer, nullable=False, index=True, server_default="0"),  # of the search terms that are stored with it
)

memory_terms = Table(
    "memory_terms", metadata,
    Column("memory", String(36), ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    Column("term", String(120), primary_key=True, index=True),
    Column("count", Integer, nullable=False),
)

memory_removals = Table(  # vectors still to be removed from the store, so that a forgotten memory stays forgotten
    "memory_removals", metadata,
    Column("memory", String(36), primary_key=True),
    Column("project", String(120), nullable=False),
    Column("at", Float, nullable=False),
)
