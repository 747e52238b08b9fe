"""What each user has met before an evaluation, for leaving it out of the ranking."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_lpo.data.popularity import training_events


class HistoryIndex:
    """The items of every user in training, and in validation where that came before: one flat int32 array.

    The rows that RecBole evaluates hold at most MAX_ITEM_LIST_LENGTH items of the history; this holds all of it,
    whatever its length.
    """

    def __init__(self, train_dataset, valid_dataset=None) -> None:
        users, items = training_events(train_dataset)
        if valid_dataset is not None:
            inter = valid_dataset.inter_feat
            users = np.concatenate([users, inter[valid_dataset.uid_field].numpy().astype(np.int32)])
            items = np.concatenate([items, inter[valid_dataset.iid_field].numpy().astype(np.int32)])
            order = np.argsort(users, kind="stable")
            users, items = users[order], items[order]
        self._items = torch.from_numpy(items)
        self._length = torch.from_numpy(np.bincount(users, minlength=train_dataset.user_num))
        self._start = torch.cumsum(self._length, 0) - self._length

    def items_of(self, user: int) -> Tensor:
        """The items of one user in time order, with repetitions; (n,) int64."""
        return self._items[self._start[user] : self._start[user] + self._length[user]].long()

    def cells(self, users: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, items) of all that the users have met, less each row's own target.

        users (B,), target (B,) on the CPU; returns two (cells,) int64.
        """
        length = self._length[users]
        rows = torch.repeat_interleave(torch.arange(len(users)), length)
        offset = torch.arange(len(rows)) - torch.repeat_interleave(torch.cumsum(length, 0) - length, length)
        items = self._items[self._start[users][rows] + offset].long()
        others = items != target[rows]
        return rows[others], items[others]
