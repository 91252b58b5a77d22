"""The smoke model's network: a llama with tied embeddings, in the form in which llama.cpp reads it, and the optimiser for its matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON, ROPE_BASE = 1e-5, 10000.0


@dataclass(frozen=True)
class Shape:
    """The sizes of a network; `width` has to be a multiple of 32 to be quantised."""

    tokens: int
    width: int = 192
    layers: int = 4
    heads: int = 3
    feed_forward: int = 512


class Block(nn.Module):
    """One layer: attention and a gated feed-forward network, each behind its norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.feed_forward
        self.heads = shape.heads
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.qkv, self.out = nn.Parameter(torch.empty(3, width, width)), nn.Parameter(torch.zeros(1, width, width))
        self.up, self.down = nn.Parameter(torch.empty(2, inner, width)), nn.Parameter(torch.zeros(1, width, inner))
        for matrix in (self.qkv, self.up):
            nn.init.normal_(matrix, std=width**-0.5)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        batch, time, width = x.shape
        h = F.rms_norm(x, (width,), self.attn_norm, EPSILON)
        q, k, v = F.linear(h, self.qkv.flatten(0, 1)).view(batch, time, 3, self.heads, width // self.heads).unbind(2)
        q, k = _turned(q, cos, sin), _turned(k, cos, sin)
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
        x = x + F.linear(seen.transpose(1, 2).reshape(batch, time, width), self.out[0])
        h = F.rms_norm(x, (width,), self.ffn_norm, EPSILON)
        gate, up = F.linear(h, self.up.flatten(0, 1)).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down[0])


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions over neighbouring pairs, as llama.cpp does it for its architecture `llama`."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Net(nn.Module):
    """The whole network. Several texts, and several questions about one text, can share a row: see `forward`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.tokens, shape.width) * shape.width**-0.5)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, tokens: Tensor, places: Tensor, text: Tensor, part: Tensor, chosen: Tensor) -> Tensor:
        """Logits after the `chosen` tokens (indices into the flattened batch). All others are (batch, time).

        A token sees what is before it in the same `text`, if that has the same `part` or part 0, which is what all parts share; `places` are the
        positions, so that every part seems to follow part 0 directly.
        """
        shape, time = self.shape, tokens.shape[1]
        size = shape.width // shape.heads
        speed = ROPE_BASE ** (-torch.arange(0, size, 2, device=tokens.device) / size)
        angle = places[..., None, None] * speed
        before = torch.ones(time, time, dtype=torch.bool, device=tokens.device).tril()
        seen = before & (text[:, :, None] == text[:, None]) & ((part[:, None] == 0) | (part[:, :, None] == part[:, None]))
        kind = torch.get_autocast_dtype(tokens.device.type) if torch.is_autocast_enabled(tokens.device.type) else torch.float32
        mask = torch.zeros(seen.shape, dtype=kind, device=tokens.device).masked_fill(~seen, float("-inf"))[:, None]
        x, cos, sin = self.embedding[tokens], angle.cos().to(kind), angle.sin().to(kind)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return F.linear(F.rms_norm(x.flatten(0, 1)[chosen], (shape.width,), self.norm, EPSILON), self.embedding)


class Muon:
    """Momentum whose step is made orthogonal, matrix by matrix, by a few Newton-Schulz rounds; for parameters of shape (count, rows, columns)."""

    def __init__(self, parameters: list[nn.Parameter], momentum: float = 0.95) -> None:
        self.parameters, self.momentum = parameters, momentum
        self.speed = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, rate: float, decay: float = 0.0) -> None:
        """Move all parameters by their gradients."""
        for parameter, speed in zip(self.parameters, self.speed, strict=True):
            speed.lerp_(parameter.grad, 1 - self.momentum)
            push = _orthogonal(parameter.grad.lerp(speed, self.momentum))
            rows, columns = parameter.shape[1:]
            parameter.mul_(1 - rate * decay).add_(push, alpha=-rate * max(1.0, rows / columns) ** 0.5)


def _orthogonal(push: Tensor) -> Tensor:
    wide = push.shape[1] > push.shape[2]
    x = (push.mT if wide else push).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if wide else x).float()
