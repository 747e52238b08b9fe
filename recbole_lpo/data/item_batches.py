"""Batches of items, for what is learned of items rather than of histories."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor


class ItemBatches:
    """Some items in batches of about equal size: in an epoch every item once, in an order that only the seed and the
    number of the epoch decide."""

    def __init__(self, items: Tensor, batch_size: int, seed: int) -> None:
        """items (M,) int64, at least one; batch_size: of the largest batch."""
        self._items, self._batch_size, self._seed = items, batch_size, seed

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._items) // self._batch_size)

    def epoch(self, number: int) -> Iterator[Tensor]:
        """The batches of an epoch, each (B,) int64 item numbers."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(len(self._items), generator=generator)
        return iter(torch.tensor_split(self._items[order.to(self._items.device)], len(self)))

    def cycled(self, number: int) -> Iterator[Tensor]:
        """The batches of an epoch, and these again for ever."""
        return cycle(self.epoch(number))
