"""The table of usage: a row per request. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, String, Table

from suite.storage.tables import metadata

usage = Table(
    "usage", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("who", String(80), nullable=False),
    Column("alias", String(120), nullable=False),
    Column("model", String(200), nullable=False),
    Column("server", String(80), nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("outcome", String(40), nullable=False),  # ok, fallback, cancelled, or an error's class
    Column("queue_seconds", Float, nullable=True),
    Column("first_seconds", Float, nullable=True),
)
