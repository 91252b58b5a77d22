"""The table of knowledge: which version of which document is indexed where. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text, UniqueConstraint

from suite.storage.tables import metadata

documents = Table(
    "documents", metadata,
    Column("id", String(36), primary_key=True),
    Column("collection", String(120), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("embedder", String(120), nullable=False),
    Column("split", String(40), nullable=False),  # chunk size/overlap it was split with
    Column("indexed", Float, nullable=False),
    UniqueConstraint("collection", "path"),
)
