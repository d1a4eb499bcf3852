"""A small pre-norm decoder that recipes train from scratch.

Positions are rotary, so what a token means does not shift when guidance is inserted before it.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from fastrl._dispatch import Arguments
from fastrl.rollout.torch_policy import KeyValueCache


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a `Transformer`."""

    vocabulary_size: int = 128
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        arguments = Arguments("TransformerConfig")
        arguments.integer("vocabulary_size", self.vocabulary_size, low=2)
        arguments.integer("num_layers", self.num_layers, low=1)
        arguments.integer("num_heads", self.num_heads, low=1)
        arguments.integer("width", self.width, low=1)
        if self.width % (2 * self.num_heads):
            raise arguments.error(
                "width", f"be a multiple of 2 · num_heads = {2 * self.num_heads}", self.width
            )


def rotary_angles(positions: torch.Tensor, head_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [..., head_size / 2] of rotary positions (Su et al., 2021)."""
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
    angles = positions[..., None].float() * (100.0**-exponents)
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turns the two halves of each head by the angles; x is [B, H, M, head_size]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class Block(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and a residual."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_in = nn.Linear(width, 4 * width)
        self.feed_forward_out = nn.Linear(4 * width, width)

    def forward(
        self,
        x: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        layer: int,
        cache: KeyValueCache | None,
    ) -> torch.Tensor:
        """Hidden states [B, M, width] after this block."""
        B, M, width = x.shape
        mixed = self.query_key_value(self.attention_norm(x))  # [B, M, 3 · width]
        q, k, v = mixed.view(B, M, 3 * self.num_heads, -1).transpose(1, 2).chunk(3, dim=1)
        q, k = rotate(q, *angles), rotate(k, *angles)
        if cache is None:
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys, values = cache.extend(layer, k, v)
            attended = F.scaled_dot_product_attention(q, keys, values, attn_mask=cache.mask)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(B, M, width))
        hidden = F.gelu(self.feed_forward_in(self.feed_forward_norm(x)), approximate="tanh")
        y: torch.Tensor = x + self.feed_forward_out(hidden)
        return y


class Transformer(nn.Module):
    """Token ids to hidden states; `head` turns the rows that are needed into logits."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_layers = config.num_layers
        self.num_heads = config.num_heads
        self.head_size = config.width // config.num_heads
        self.embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary_size, bias=False)
        residual_scale = (2 * config.num_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                fan_in = parameter.shape[1]
                nn.init.normal_(parameter, std=1.0 if "embedding" in name else fan_in**-0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            if name.endswith("_out.weight"):
                parameter.data.mul_(residual_scale)
        # A small head starts the policy close to uniform.
        self.head.weight.data.mul_(0.1)

    def forward(self, tokens: torch.Tensor, cache: KeyValueCache | None = None) -> torch.Tensor:
        """Hidden states of tokens.

        Args:
            tokens: [B, M] int64. Without a cache these are whole sequences, padded on the right.
            cache: What earlier tokens left; `tokens` continue each row where the cache ends.

        Returns:
            [B, M, width] hidden states, after the last norm.
        """
        if cache is None:
            positions = torch.arange(tokens.shape[1])
            cos, sin = rotary_angles(positions, self.head_size)  # [M, head_size / 2]
        else:
            cos, sin = rotary_angles(cache.positions, self.head_size)
            cos, sin = cos[:, None], sin[:, None]  # [B, 1, M, head_size / 2]
        x: torch.Tensor = self.embedding(tokens)
        for layer, block in enumerate(self.blocks):
            x = block(x, (cos, sin), layer, cache)
        x = self.norm(x)
        return x
