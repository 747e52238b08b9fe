"""RecBole's prefix rows at a fraction of their price, to train on them as often as a comparison of accuracy takes.

RecBole computes every row at full length. A model that pads on the right and looks back only gives a row of length n
the same state from n columns, so the rows of a batch are sorted by length and computed in a few parts, each cut to its
longest row, and their gradients are added up. Batches, their order, loss and gradient are RecBole's, up to rounding and
to which units dropout hits.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from recbole.data.interaction import Interaction

_PARTS = 8


class PrefixRows:
    """Stands before a trainer in the bases of a class; for SASRec and GRU4Rec with a loss that is a mean over rows."""

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False) -> float:
        self.model.train()
        total = 0.0
        for rows in train_data:
            self.optimizer.zero_grad()
            for part in parts_by_length(rows.to(self.device), self.model.ITEM_SEQ, self.model.ITEM_SEQ_LEN):
                loss = self.model.calculate_loss(part) * (len(part) / len(rows))
                loss.backward()
                total += loss.item()
            self.optimizer.step()
        return total


def on_prefix_rows(trainer: type) -> type:
    """A trainer class whose epochs run over prefix rows (`batching: prefix`), computed in parts."""
    return type(f"PrefixRows{trainer.__name__}", (PrefixRows, trainer), {"__module__": __name__})


def parts_by_length(rows: Interaction, sequence: str, length: str) -> Iterator[Interaction]:
    """The rows of a batch, shortest first, in parts of about equal size whose sequences end with their longest row.

    sequence, length: names of the columns (B, L) and (B,).
    """
    for part in torch.argsort(rows[length], stable=True).chunk(_PARTS):
        cut = rows[part]
        yield Interaction({**cut.interaction, sequence: cut[sequence][:, : int(cut[length].max())]})
