"""The table of the maintainer: when each job last ran and how it ended. Times are UTC seconds since 1970."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from suite.storage.tables import metadata

jobs = Table(
    "jobs", metadata,
    Column("name", String(40), primary_key=True),
    Column("started", Float, nullable=True),
    Column("finished", Float, nullable=True),
    Column("runs", Integer, nullable=False, default=0),
    Column("error", Text, nullable=False, default=""),
)
