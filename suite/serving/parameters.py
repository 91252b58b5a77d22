"""How a model is loaded: the numbers that decide its memory and its speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """`n_ctx` is the longest conversation in tokens, `slots` how many replies are written at once, `kv_tokens` what all of them keep together.

    `n_gpu_layers` 0 keeps the model on the processor; `n_batch` is how many tokens of prompts one step may read; `kv_type` is f16 or q8_0;
    `queue` is how many requests may wait.
    """

    n_ctx: int = 4096
    slots: int = 8
    kv_tokens: int = 16384
    n_gpu_layers: int = 0
    n_threads: int = 1
    n_batch: int = 256
    kv_type: str = "f16"
    queue: int = 64

    @property
    def sequences(self) -> int:
        """How many token sequences the cache tells apart: those being written, and as many finished ones to take beginnings from."""
        return min(256, 2 * self.slots + 16)
