"""How each check is proven red: one fault per check, injected through seams that the parts offer anyway."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Stack(Protocol):
    """What a fault may touch of a throw-away stack: its parts by name, its HTTP ports, its storage."""

    parts: Mapping[str, Any]
    servers: Any
    storage: Any
    settings: Any


@dataclass(frozen=True)
class Fault:
    """A defect that must turn its check red: a sentence for the record, and the act."""

    sentence: str
    inject: Callable[[Stack], None]


def stop_heartbeat(stack: Stack) -> None:
    """End the maintainer's thread, as an error in it would."""
    stack.parts["memory-maintainer"].close()


def deny_actor(stack: Stack) -> None:
    """Switch the default actor off."""
    stack.parts["mcp-server"].actors.change(stack.settings.mcp_user_id, active=False)


def unload_upstream(stack: Stack) -> None:
    """Take the code model out of memory behind the gateway's back."""
    stack.parts["inference-code"].unload()


def close_store(stack: Stack) -> None:
    """Close the vector store under the parts that use it."""
    stack.parts["qdrant"].close()


def shorten_vectors(stack: Stack) -> None:
    """Let the embedder give one number fewer than it states."""
    embedder = stack.parts["embedding"]
    honest = embedder.embed
    embedder.embed = lambda texts: honest(texts)[:, :-1]


def close_port(stack: Stack) -> None:
    """Stop listening on the chat server's port, as if its process had been killed."""
    stack.servers.close("inference-chat")


def swap_model(stack: Stack) -> None:
    """Load another file than the profile asks for: the same model with one bit of its last weight turned over."""
    server = stack.parts["inference-code"]
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


def drop_table(stack: Stack) -> None:
    """Remove the table of memories, as a damaged database file would."""
    with stack.storage.begin() as connection:
        connection.exec_driver_sql("DROP TABLE memory_terms")
        connection.exec_driver_sql("DROP TABLE memories")


STOPPED_HEARTBEAT = Fault("the maintainer's thread ended", stop_heartbeat)
DENIED_ACTOR = Fault("the default actor was switched off", deny_actor)
UNLOADED_UPSTREAM = Fault("the code model was unloaded behind the gateway", unload_upstream)
CLOSED_STORE = Fault("the vector store was closed under retrieval", close_store)
SHORT_VECTORS = Fault("the embedder gave 383 numbers instead of 384", shorten_vectors)
CLOSED_PORT = Fault("the chat server's port was closed", close_port)
WRONG_MODEL = Fault("another model file was swapped in", swap_model)
WRONG_SIZE = Fault("a collection of another vector size appeared", add_wrong_size)
DROPPED_TABLE = Fault("the table of memories was dropped", drop_table)
