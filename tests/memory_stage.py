"""Requests to port 8005 as a client sends them."""

from __future__ import annotations

import httpx


def plain(client, method, path, **options):
    """A request as any other client would send it: no error is raised."""
    return httpx.request(method, str(client.base_url).rstrip("/") + path, trust_env=False, **options)


def save(client, **values):
    body = {"user_query": "When does the backup start?", "ai_response": "At 03:15."} | values
    return client.post("/v1/memory/conversations", json=body).json()


def search(client, **values):
    return client.post("/v1/memory/conversations/search", json=values).json()
