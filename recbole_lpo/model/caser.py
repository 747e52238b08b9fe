"""RecBole's Caser without the work on padding."""

from __future__ import annotations

import functools

import torch
from recbole.model.sequential_recommender import Caser
from torch import Tensor, nn

from recbole_lpo.core.precision import full_precision
from recbole_lpo.core.window_max import filter_bank, window_max
from recbole_lpo.data.popularity import PAD_ID

# Histories of up to so many items are computed together, each bound with those above the one before it.
_BOUNDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


def trim_padding(model: nn.Module) -> nn.Module:
    """The model itself; where its `forward` is that of RecBole's Caser, `caser_states` stands in for it from now on.

    The class stays as it is, and so do the weights and the state dict.
    """
    if type(model).forward is Caser.forward:
        model.forward = functools.partial(caser_states, model)
    return model


def caser_states(model: Caser, user: Tensor, item_seq: Tensor) -> Tensor:
    """The hidden states that `model.forward(user, item_seq)` gives, (B, D), up to rounding.

    user (B,), item_seq (B, L) padded on the right with 0.

    RecBole convolves all L positions of every history, most of them padding, and the embedding of the padding is not
    zero: it starts at random, and the softmax moves it. So it is taken from every position first, which leaves zeros
    at the padding, and what it gives in each filter is added to the filter's bias. Then only windows that touch an item
    are left to compute, and histories of like length are cut to the longest of them.
    """
    with full_precision(item_seq.device):
        features = _features(model, item_seq)
    z = model.ac_fc(model.fc1(model.dropout(features)))
    return model.ac_fc(model.fc2(torch.cat([z, model.user_embedding(user)], dim=1)))


def _features(model: Caser, item_seq: Tensor) -> Tensor:
    """(B, nv * D + L * nh) what the vertical and the horizontal convolutions find in each history."""
    max_length = item_seq.shape[1]
    padding = model.item_embedding(item_seq.new_full((1,), PAD_ID))
    filters = [conv.weight[:, 0] for conv in model.conv_h]
    bank = filter_bank(filters)
    horizontal_bias = torch.cat([conv.bias for conv in model.conv_h]) + torch.cat(
        [block.sum(dim=1) @ padding[0] for block in filters]
    )
    vertical = model.conv_v.weight[:, 0, :, 0]
    vertical_bias = vertical.sum(dim=1)[:, None] * padding + model.conv_v.bias[:, None]
    length = (item_seq != PAD_ID).sum(dim=1)
    found, order = [], []
    for rows, longest in _of_like_length(length, max_length):
        x = model.item_embedding(item_seq[rows, :longest]) - padding
        down = torch.matmul(vertical[:, :longest], x) + vertical_bias
        across = model.ac_conv(window_max(x, bank, max_length) + horizontal_bias)
        found.append(torch.cat([down.flatten(1), across], dim=1))
        order.append(rows)
    return torch.cat(found)[torch.argsort(torch.cat(order))]


def _of_like_length(length: Tensor, max_length: int) -> list[tuple[Tensor, int]]:
    """Every row once: (row numbers, the longest length allowed among them), shortest first."""
    bounds = torch.tensor([bound for bound in _BOUNDS if bound < max_length], device=length.device)
    group = torch.bucketize(length, bounds)
    sizes = torch.bincount(group, minlength=len(bounds) + 1).tolist()
    parts = torch.split(torch.argsort(group, stable=True), sizes)
    return [(rows, longest) for rows, longest in zip(parts, [*bounds.tolist(), max_length], strict=True) if len(rows)]
