"""The tables of access: who there is, their keys, and the audit chain. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, String, Table, Text

from suite.storage.tables import metadata

actors = Table(
    "actors", metadata,
    Column("name", String(80), primary_key=True),
    Column("role", String(40), nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("created", Float, nullable=False),
)

audit = Table(
    "audit", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String(80), nullable=False, index=True),
    Column("kind", String(40), nullable=False, index=True),  # e.g. tool_call
    Column("subject", String(200), nullable=False),  # e.g. the tool's name
    Column("outcome", String(20), nullable=False),  # allowed, denied, ask, done, failed
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON, secrets masked
    Column("previous", String(64), nullable=False),  # digest of the entry before
    Column("digest", String(64), nullable=False, unique=True),
)
