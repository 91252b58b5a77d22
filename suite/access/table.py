"""The tables of access: who there is, their keys, what waits for approval, and the audit chain. Times are UTC seconds since 1970."""

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

keys = Table(
    "access_keys", metadata,
    Column("id", String(8), primary_key=True),
    Column("actor", String(80), nullable=False, index=True),
    Column("label", String(80), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # sha256 of the key; the key itself is nowhere
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=True),
    Column("revoked", Float, nullable=True),
)

approvals = Table(
    "approvals", metadata,
    Column("id", String(36), primary_key=True),
    Column("actor", String(80), nullable=False),
    Column("tool", String(80), nullable=False),
    Column("digest", String(64), nullable=False, index=True),  # of the exact arguments and the folder, secrets included
    Column("arguments", Text, nullable=False),  # JSON, whole, secrets masked: what whoever decides is shown
    Column("cwd", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("requested", Float, nullable=False),
    Column("expires", Float, nullable=False),  # of the request; once it is approved, of the grant
    Column("state", String(10), nullable=False, index=True),  # pending, approved, rejected, cancelled, used
    Column("decided", Float, nullable=True),
    Column("decided_by", String(80), nullable=False, server_default=""),
    Column("rule", String(20), nullable=False, server_default=""),  # approver, owner-confirm, approve-all
    Column("reason", Text, nullable=False, server_default=""),
    Column("used", Float, nullable=True),
)

openings = Table(  # times in which everything is approved, for emergencies
    "approve_all", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("by", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("begun", Float, nullable=False),
    Column("ends", Float, nullable=False),
    sqlite_autoincrement=True,
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
