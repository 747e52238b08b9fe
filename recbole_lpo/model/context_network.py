"""The network of CITIES: from what stands around an item to the vector that it should have."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_lpo.core.item_contexts import Contexts

# Contexts that are encoded together, of about equal length: most are short, and the longest sets the work.
_TOGETHER = 512


class ContextNetwork(nn.Module):
    """Contexts of an item -> its vector (CITIES, Jang et al. 2020, as in its repository, swonj90/CITIES).

    In a context the item itself is replaced by a learned vector; what stands there is scaled by a learned number for
    each place and gets the sinusoid of the place added (width D, scaled by 1 / sqrt(D)); a transformer encoder, the
    mean over the places. Over the contexts of an item: a transformer encoder without places, the mean, a linear map.

    The published code masks with the token of BERT4Rec, which other backbones lack: hence the learned vector. Its
    sinusoid has a slip of operator precedence in the frequency; here it is the usual one.
    """

    def __init__(self, width: int, *, reach: int, n_layers: int, n_heads: int) -> None:
        """width D, a multiple of n_heads; reach: items before and after, so that there are 2 * reach + 1 places."""
        super().__init__()
        self.reach = reach
        self.masked = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.scale = nn.Parameter(torch.ones(2 * reach + 1))
        self.register_buffer("sinusoid", _sinusoid(2 * reach + 1, width) / math.sqrt(width), persistent=False)
        self.dropout = nn.Dropout(0.2)
        self.within = _encoder(width, n_layers, n_heads)
        self.across = _encoder(width, n_layers, n_heads)
        self.out = nn.Linear(width, width)

    def encode(self, table: Tensor, contexts: Contexts) -> Tensor:
        """(M, D) a vector for each context; table (N, D) the vectors of the items in it."""
        order = torch.argsort(contexts.length, stable=True)
        parts = [self._encoded(table, contexts, rows) for rows in torch.split(order, _TOGETHER)]
        return torch.cat(parts)[torch.argsort(order)]

    def combine(self, encoded: Tensor, present: Tensor) -> Tensor:
        """(B, D) a vector for each item, from those of its contexts (B, K, D); present (B, K) bool, one at least."""
        states = self.across(encoded, src_key_padding_mask=~present)
        return self.out(_mean(states, present))

    def _encoded(self, table: Tensor, contexts: Contexts, rows: Tensor) -> Tensor:
        length = contexts.length[rows]
        longest = int(length.max())
        items, offset = contexts.items[rows, :longest], contexts.offset[rows, :longest].clamp(max=2 * self.reach)
        inside = torch.arange(longest, device=items.device) < length[:, None]
        vectors = torch.where((offset == self.reach)[..., None], self.masked, table[items])
        states = self.dropout(vectors * self.scale[offset][..., None] + self.sinusoid[offset])
        return _mean(self.within(states, src_key_padding_mask=~inside), inside)


def _encoder(width: int, n_layers: int, n_heads: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, n_heads, dim_feedforward=2 * width, dropout=0.2, batch_first=True)
    # Twice the dropout on the weights of attention, as published; torch has one number for all.
    layer.self_attn.dropout = 0.5
    return nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)


def _mean(states: Tensor, present: Tensor) -> Tensor:
    """(M, W, D) -> (M, D) over the present ones, (M, W) bool."""
    weight = present.to(states.dtype) / present.sum(dim=1, keepdim=True)
    return torch.einsum("mwd,mw->md", states, weight)


def _sinusoid(n_places: int, width: int) -> Tensor:
    """(n_places, width): sines in the even columns, cosines in the odd ones (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(n_places)[:, None]
    column = torch.arange(width)
    angle = place / 10_000 ** (2 * (column // 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())
