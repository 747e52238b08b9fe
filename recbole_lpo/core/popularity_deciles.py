"""Tenths of the catalogue by popularity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def popularity_deciles(most_popular_first: Sequence[int] | np.ndarray, n_columns: int) -> np.ndarray:
    """The tenth of the catalogue that each item is in: 1 for the most popular items, 10 for the least; (N,) int64.

    most_popular_first  (M,) column numbers of the items, each once
    n_columns           N; a column that is no item (padding) gets 0

    The tenths hold M / 10 items each, to within one; of fewer than ten items some tenths hold none. With the split
    `item_share` at 0.2 the head is tenths 1 and 2.
    """
    deciles = np.zeros(n_columns, dtype=np.int64)
    place = np.arange(len(most_popular_first))
    deciles[np.asarray(most_popular_first, dtype=np.int64)] = 1 + place * 10 // max(1, len(place))
    return deciles
