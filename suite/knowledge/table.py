"""The tables of knowledge. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, String, Table, Text, UniqueConstraint

from suite.storage.tables import metadata

collections = Table(
    "collections", metadata,
    Column("name", String(120), primary_key=True),
    Column("store", String(64), nullable=False),  # its name in the vector store; another after each rebuild
    Column("embedder", String(120), nullable=False),  # the model of all its vectors
    Column("version", Integer, nullable=False),  # grows with every change of what can be found
    Column("created", Float, nullable=False),
)

documents = Table(
    "documents", metadata,
    Column("id", String(36), primary_key=True),
    Column("collection", String(120), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("embedder", String(120), nullable=False),
    Column("split", String(40), nullable=False),  # chunk size, overlap and the rules it was split by
    Column("indexed", Float, nullable=False),
    UniqueConstraint("collection", "path"),
)

answers = Table(
    "answers", metadata,
    Column("key", String(64), primary_key=True),
    Column("collection", String(120), nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("used", Integer, nullable=False),
    Column("expires", Float, nullable=False, index=True),
)

searches = Table(
    "searches", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("collection", String(120), nullable=False),
    Column("question", Text, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("cached", Boolean, nullable=False),
)
