"""From a table of items to one in which rare items have the vectors that their contexts speak for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from recbole_lpo.core.item_contexts import Occurrences, all_occurrences, contexts_at
from recbole_lpo.core.precision import full_precision
from recbole_lpo.model.context_network import ContextNetwork
from recbole_lpo.model.kept_occurrences import KeptOccurrences

# Contexts that are inferred from at once: some tens of MB.
_CONTEXTS_AT_ONCE = 8192


class TransferMap(nn.Module):
    """table (N, D) -> table (N, D): the rows of rare items are inferred from their contexts, all others stay what they
    are, to the bit.

    A step of `MappedEmbedding`. No gradient goes through it, and it infers without dropout also while the model trains.
    """

    def __init__(
        self, network: ContextNetwork, found: Occurrences, rare: Tensor, *, spread: Tensor, keep_norm: bool
    ) -> None:
        """found: occurrences in the training histories; rare (R,) int64 item numbers, each with some; spread (): the
        unit of what the network says, that of the vectors that it learns from; keep_norm: an inferred row is as long as
        the one that it takes the place of."""
        super().__init__()
        self.network, self.keep_norm = network, keep_norm
        self.register_buffer("spread", spread)
        self.kept = KeptOccurrences(found)
        # Items with about as many contexts are inferred together.
        self.register_buffer("rare", rare[torch.argsort(found.count[rare], stable=True)], persistent=False)

    @property
    def found(self) -> Occurrences:
        """The occurrences, on the device of the map."""
        return self.kept.found

    @torch.no_grad()
    def forward(self, table: Tensor) -> Tensor:
        """table (N, D) -> (N, D), without a gradient."""
        was_training = self.network.training
        self.network.eval()
        try:
            with full_precision(table.device):
                rows = torch.cat([self._inferred(table, items) for items in self._parts()])
        finally:
            self.network.train(was_training)
        if self.keep_norm:
            rows = rows * (table[self.rare].norm(dim=1) / rows.norm(dim=1).clamp(min=1e-12))[:, None]
        return table.index_copy(0, self.rare, rows.to(table.dtype))

    def learned(self, table: Tensor, items: Tensor, places: Tensor) -> Tensor:
        """(B, D) the vectors of items (B,) from the contexts at places (B, K), differentiable in the network."""
        contexts = contexts_at(self.found, places.flatten(), reach=self.network.reach)
        encoded = self.network.encode(table, contexts).unflatten(0, places.shape)
        return self.spread * self.network.combine(encoded, torch.ones_like(places, dtype=torch.bool))

    def _inferred(self, table: Tensor, items: Tensor) -> Tensor:
        found = self.found
        places, present = all_occurrences(found, items)
        encoded = self.network.encode(table, contexts_at(found, places[present], reach=self.network.reach))
        padded = encoded.new_zeros(*places.shape, encoded.shape[1])
        padded[present] = encoded
        return self.spread * self.network.combine(padded, present)

    def _parts(self) -> Iterator[Tensor]:
        """The rare items, some at a time: so many that their contexts, padded, are few enough."""
        count = self.found.count[self.rare].tolist()
        first = 0
        for last in range(1, len(count) + 1):
            if last == len(count) or (last + 1 - first) * count[last] > _CONTEXTS_AT_ONCE:
                yield self.rare[first:last]
                first = last
