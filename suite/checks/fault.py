"""How each check is proven red: one fault per check or several, injected through seams that the parts offer anyway."""

from __future__ import annotations

import itertools
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from suite.checks.target import Target
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.serving.reply import ReplyStream
from suite.serving.request import Request

REAL = "real"
SLOW_TOKEN_S, SLOW_TOKENS = 1.5, 4  # a slow server's pace, and how much it says, so that a drill is over in seconds


class Stack(Protocol):
    """What a fault may touch of a throw-away stack: parts by name, HTTP ports, storage, backups, access token, monitoring, metrics and log."""

    parts: Mapping[str, Any]
    servers: Any
    storage: Any
    settings: Any
    backups: Any
    key: Any
    monitor: Any
    metrics: Any
    log: Any


def nothing(_: Any) -> None:
    """Leave it as it is."""


@dataclass(frozen=True)
class Fault:
    """A defect that must turn its check red: a sentence for the record, and the act, on the stack or on what a check sees of the machine.

    `bend` gets the check's Target, for what no stack can do to itself: another checkout, other cards. `on` says what the drill runs on: real, or
    what stands in for it, such as fake:nvml.
    """

    sentence: str
    inject: Callable[[Stack], None] = nothing
    bend: Callable[[Target], None] = nothing
    on: str = REAL


def stop_heartbeat(stack: Stack) -> None:
    """End the maintainer's thread, as an error in it would."""
    stack.parts["memory-maintainer"].close()


def deny_actor(stack: Stack) -> None:
    """Switch the default actor off."""
    stack.parts["mcp-server"].actors.change(stack.settings.mcp_user_id, active=False)


def kill_upstream(stack: Stack) -> None:
    """Let the code alias be answered by a model server whose process has ended: its address is known, and nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port that was just given back is given to nobody else for a long while
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    stack.parts["api-gateway"].assign(stack.settings.api_gateway_code_model, [OpenAIUpstream("dead-server", url)])


def close_store(stack: Stack) -> None:
    """Close the vector store under the parts that use it."""
    stack.parts["qdrant"].close()


def shorten_vectors(stack: Stack) -> None:
    """Let the embedder give one number fewer than it states."""
    embedder = stack.parts["embedding"]
    honest = embedder.embed
    embedder.embed = lambda texts, **more: honest(texts, **more)[:, :-1]


def stretch_vectors(stack: Stack) -> None:
    """Let the embedder give vectors of length two."""
    embedder = stack.parts["embedding"]
    honest = embedder.embed
    embedder.embed = lambda texts, **more: 2 * honest(texts, **more)


def blur_vectors(stack: Stack) -> None:
    """Let the embedder give the same vector to every text, as one whose tokenizer knows none of the words."""
    embedder = stack.parts["embedding"]
    honest = embedder.embed
    embedder.embed = lambda texts, **more: honest(["the same"] * len(texts), **more)


def waver_vectors(stack: Stack) -> None:
    """Let the embedder give a text another vector each time."""
    embedder = stack.parts["embedding"]
    honest, calls = embedder.embed, itertools.count()

    def embed(texts: list[str], **more: Any) -> Any:
        rows = honest(texts, **more)
        rows[:, 0] += 0.05 * next(calls)
        return rows / (rows**2).sum(axis=1, keepdims=True)**0.5

    embedder.embed = embed


def mute_models(stack: Stack) -> None:
    """Unload every chat and code model, so that nobody can write an answer."""
    for name in ("inference-chat", "inference-code"):
        stack.parts[name].unload()


def damage_passages(stack: Stack) -> None:
    """Let the store give back passages that are not what was indexed."""
    store = stack.parts["qdrant"]
    honest = store.query

    def query(*args: Any, **options: Any) -> Any:
        rows = honest(*args, **options)
        return [replace(row, payload={**row.payload, "text": row.payload["text"].swapcase()}) if "text" in row.payload else row for row in rows]

    store.query = query


def lose_writes(stack: Stack) -> None:
    """Let the store acknowledge points and keep none of them."""
    stack.parts["qdrant"].upsert = lambda name, points: None


def ignore_deletes(stack: Stack) -> None:
    """Let the store acknowledge that points are deleted, and keep them."""
    stack.parts["qdrant"].delete = lambda name, ids=None, where=None: len(ids or ())


def reverse_hits(stack: Stack) -> None:
    """Let the store give the hits worst first."""
    store = stack.parts["qdrant"]
    honest = store.query
    store.query = lambda name, **options: honest(name, **{**options, "limit": 100})[::-1][:options.get("limit", 10)]


def close_port(stack: Stack) -> None:
    """Stop listening on the chat server's port, as if its process had been killed."""
    stack.servers.close("inference-chat")


def restart_server(stack: Stack) -> None:
    """Unload the chat model and load it again, as a server that died and came back by itself."""
    server = stack.parts["inference-chat"]
    server.unload()
    server.load()


def slow_down(stack: Stack, part: str) -> None:
    """Let a model server write a token every second and a half, as one whose machine is busy with something else."""
    server = stack.parts[part]
    brisk = server.stream

    def slow(request: Request) -> ReplyStream:
        stream = brisk(replace(request, max_tokens=min(request.max_tokens, SLOW_TOKENS)))

        def pieces() -> Iterator[str]:
            yield from stream
            time.sleep(SLOW_TOKEN_S * stream.reply.tokens)

        return ReplyStream(pieces(), lambda: stream.reply, stream.close)

    server.stream = slow


def slow_chat(stack: Stack) -> None:
    """Slow the chat server down."""
    slow_down(stack, "inference-chat")


def slow_code(stack: Stack) -> None:
    """Slow the code server down."""
    slow_down(stack, "inference-code")


def swap_chat(stack: Stack) -> None:
    """Load another file than the profile asks for into the chat server."""
    swap_in(stack, "inference-chat")


def swap_code(stack: Stack) -> None:
    """Load another file than the profile asks for into the code server."""
    swap_in(stack, "inference-code")


def swap_in(stack: Stack, part: str) -> None:
    """Load another file than the profile asks for: the same model with one bit of its last weight turned over."""
    server = stack.parts[part]
    wrong = Path(stack.settings.data_dir) / "cache" / "wrong-model.gguf"
    shutil.copyfile(server.info()["path"], wrong)
    with wrong.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    server.swap(wrong)


def add_wrong_size(stack: Stack) -> None:
    """Create a collection of another size, as an embedder that was changed without a new index would."""
    stack.parts["qdrant"].create("of-another-embedder", 8)


STOPPED_HEARTBEAT = Fault("the maintainer's thread ended", stop_heartbeat)
DENIED_ACTOR = Fault("the default actor was switched off", deny_actor)
DEAD_UPSTREAM = Fault("the code model's server died behind the gateway", kill_upstream)
CLOSED_STORE = Fault("the vector store was closed under retrieval", close_store)
SHORT_VECTORS = Fault("the embedder gave 383 numbers instead of 384", shorten_vectors)
LONG_VECTORS = Fault("the embedder gave vectors of length two", stretch_vectors)
BLURRED_VECTORS = Fault("the embedder gave every text the same vector", blur_vectors)
WAVERING_VECTORS = Fault("the embedder gave a text another vector each time", waver_vectors)
MUTE_MODELS = Fault("every model server was unloaded", mute_models)
DAMAGED_PASSAGES = Fault("the store gave back passages that differ from the file", damage_passages)
LOST_WRITES = Fault("the store acknowledged points and kept none", lose_writes)
IGNORED_DELETES = Fault("the store acknowledged deletions and kept the points", ignore_deletes)
REVERSED_HITS = Fault("the store gave the hits worst first", reverse_hits)
CLOSED_PORT = Fault("the chat server's port was closed", close_port)
WRONG_CHAT = Fault("another chat model was swapped in", swap_chat)
WRONG_CODE = Fault("another code model was swapped in", swap_code)
SLOW_CHAT = Fault("the chat server wrote a token every 1.5 s", slow_chat)
SLOW_CODE = Fault("the code server wrote a token every 1.5 s", slow_code)
RESTARTED = Fault("the chat server had to be loaded again", restart_server)
WRONG_SIZE = Fault("a collection of another vector size appeared", add_wrong_size)
