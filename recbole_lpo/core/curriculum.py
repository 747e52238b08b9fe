"""How much each user and each item counts in MELT's two transfers, as training goes on (SIGIR 2023).

Both are |sin| of a part that grows with the epoch and a part that grows with how much is known: first the users and
items just above the tail count little, at the end most.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Interactions above the tail's at which an item is as well known as it can be, and the period that belongs to it.
_WELL_KNOWN, _PERIOD = 50, 100


def user_curriculum(length: Tensor, *, progress: float, tail_length: int, max_length: int) -> Tensor:
    """Weight of the users, (B,) in [0, 1]: |sin(pi/2 progress + pi/2 (length - K - 1) / (L - K - 1))|.

    length       (B,) training interactions of each, longer ones counting as max_length
    progress     epoch over the epochs of the curriculum, in [0, 1]
    tail_length  K, the longest history of a tail user; max_length L. The published denominator can be 0 or less where
                 L is about K; here it is 1 at least
    """
    known = (length.clamp(max=max_length) - tail_length - 1) / max(1, max_length - tail_length - 1)
    return torch.sin(math.pi / 2 * (progress + known)).abs()


def item_curriculum(count: Tensor, *, progress: float, tail_count: int) -> Tensor:
    """Weight of the items, (B,) in [0, 1]: |sin(pi/2 progress + pi/100 (min(count, K + 50) - K - 1))|.

    count (B,) training interactions of each; progress as above; tail_count K, the largest count of a tail item.
    """
    known = count.clamp(max=tail_count + _WELL_KNOWN) - tail_count - 1
    return torch.sin(math.pi / 2 * progress + math.pi / _PERIOD * known).abs()
