"""The throw-away PostgreSQL server that `suite bench durability` uses, for tests."""

from __future__ import annotations

from suite.benchmark.postgres_server import MARK, OLDEST, PASSWORD, PLACES, STARTS, USER, NoServer, Server, binaries, running

__all__ = ["MARK", "OLDEST", "PASSWORD", "PLACES", "STARTS", "USER", "NoServer", "Server", "binaries", "running"]
