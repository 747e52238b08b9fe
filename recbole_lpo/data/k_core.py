"""The k-core of an interaction table: the largest part in which every user and every item has k interactions."""

from __future__ import annotations

import numpy as np


def k_core_mask(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Which of n interactions belong to the k-core: a bool array (n,).

    `users` and `items` are non-negative integer codes (n,). Interactions are counted as rows: a repeated (user, item)
    pair counts each time, as in RecBole's `user_inter_num_interval`. `k` of 0 or 1 keeps everything. The k-core is
    unique, so the order of removal does not matter; users and items are removed together, until nothing changes.
    """
    mask = np.ones(len(users), dtype=bool)
    if k <= 1:
        return mask
    kept = np.arange(len(users))
    while True:
        kept_users, kept_items = users[kept], items[kept]
        enough = (np.bincount(kept_users)[kept_users] >= k) & (np.bincount(kept_items)[kept_items] >= k)
        if enough.all():
            mask[:] = False
            mask[kept] = True
            return mask
        kept = kept[enough]
