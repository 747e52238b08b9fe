"""RecBole's prefix rows at a fraction of their price, to train on them as often as a comparison of accuracy takes.

RecBole computes every row at full length. A model that pads on the right and looks back only gives a row of length n
the same state from n columns, so the rows of a batch are sorted by length and encoded in a few parts, each cut to its
longest row, by the encoder of packed batches. Batches, their order, loss and gradient are RecBole's, up to rounding and
to which units dropout hits.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_lpo.core.item_softmax import target_nll
from recbole_lpo.data.sequences import PackedBatch
from recbole_lpo.model.packed import hidden_states

_PARTS = 8


class PrefixRows:
    """Stands before a trainer in the bases of a class; for RecBole's SASRec and GRU4Rec with cross-entropy."""

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False) -> float:
        self.model.train()
        total = 0.0
        for rows in train_data:
            self.optimizer.zero_grad()
            parts = list(parts_by_length(rows.to(self.device), self.model))
            hidden = torch.cat([hidden_states(self.model, part) for part in parts])
            target = torch.cat([part.target for part in parts])
            loss = target_nll(hidden, self.model.item_embedding.weight, target).mean()
            loss.backward()
            total += loss.item()
            self.optimizer.step()
        return total


def on_prefix_rows(trainer: type) -> type:
    """A trainer class whose epochs run over prefix rows (`batching: prefix`), encoded in parts."""
    return type(f"PrefixRows{trainer.__name__}", (PrefixRows, trainer), {"__module__": __name__})


def parts_by_length(rows: Interaction, model) -> Iterator[PackedBatch]:
    """The rows of a batch of `model`, shortest first, in parts of about equal size that end with their longest row and
    predict from the last item of each."""
    items, length, target = rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN], rows[model.POS_ITEM_ID]
    for part in torch.argsort(length, stable=True).chunk(_PARTS):
        yield _batch(items[part, : int(length[part].max())], length[part], target[part], part)


def _batch(items: Tensor, length: Tensor, target: Tensor, event: Tensor) -> PackedBatch:
    row = torch.arange(len(length), device=length.device)
    return PackedBatch(items=items, length=length, row=row, position=length - 1, target=target, event=event)
