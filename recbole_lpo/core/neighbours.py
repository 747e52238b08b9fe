"""What followed what in the training histories, mixed into a model's probabilities without any training.

Co-occurrence counts keep what a model of few dimensions averages out, most of all for rare items. Pairs are weighted as
in the sequential rules of Ludewig and Jannach (2018, "Evaluation of session-based recommendation algorithms", section
3.2: one over the distance); the mixture is that of kNN language models (Khandelwal et al. 2020, "Generalization through
memorization", Eq. 3), with these counts in the place of stored hidden states.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

# What a pair counts in the direction against time.
_BACKWARD = 0.5


def neighbour_table(
    users: np.ndarray, items: np.ndarray, n_columns: int, *, reach: int, discount: float
) -> sparse.csr_matrix:
    """How strongly each item (row) speaks for each other item (column), (N, N) float32, N = n_columns.

    users, items  (E,) training events, sorted by user and within a user by time
    reach         items at most this far apart in a history are neighbours, at least 1; a pair d apart counts 1 / d
                  from the earlier item to the later, and half of that back
    discount      >= 0: a pair is divided by (the product of both counts in training) ** discount, so that items are not
                  neighbours for being popular, and popular items do not drown the others of a history; 0 leaves the
                  pairs as counted, 0.5 is the cosine of item-based neighbours
    """
    table = sparse.csr_matrix((n_columns, n_columns), dtype=np.float32)
    for distance in range(1, reach + 1):
        earlier, later = items[:-distance], items[distance:]
        pair = (users[:-distance] == users[distance:]) & (earlier != later)
        weight = np.full(int(pair.sum()), 1 / distance, dtype=np.float32)
        if not len(weight):
            continue
        table = table + sparse.csr_matrix((weight, (earlier[pair], later[pair])), shape=table.shape)
    count = np.maximum(np.bincount(items, minlength=n_columns), 1)
    both_ways = table + _BACKWARD * table.T
    scale = sparse.diags((1 / count**discount).astype(np.float32))
    return (scale @ both_ways @ scale).tocsr()


def with_alike_items(table: sparse.csr_matrix, alike: sparse.csr_matrix, strength: float) -> sparse.csr_matrix:
    """The neighbours of each item, and the items that are alike: (N, N) + (N, N) -> (N, N) float32.

    alike     its rows sum to one or to zero (`alike_items.alike_items`)
    strength  >= 0: what the items that are alike weigh together, in units of the median sum of a row that has
              neighbours. It is the same for all items: where few pairs were counted, likeness has more of the row
    """
    sums = np.asarray(table.sum(axis=1)).ravel()
    usual = np.median(sums[sums > 0]) if (sums > 0).any() else 1.0
    return (table + np.float32(strength * usual) * alike).tocsr()


def neighbour_weight(
    table: sparse.csr_matrix, history: Tensor, length: Tensor, *, reach: int, recency: float
) -> sparse.csr_matrix:
    """How much the latest items of each history speak for every item, (B, N) float32 >= 0.

    history  (B, L) item numbers, padded on the right; length (B,) how many there are
    reach    how many items of a history speak, the latest ones, at least 1
    recency  in (0, 1]: the latest item counts 1, the one before it `recency`, then its square, ...
    """
    items = history.cpu().numpy()
    back = np.arange(min(reach, items.shape[1]))
    place = length.cpu().numpy()[:, None] - 1 - back
    row, nth = np.nonzero(place >= 0)
    spoken = sparse.csr_matrix(
        ((recency**back).astype(np.float32)[nth], (row, items[row, place[row, nth]])),
        shape=(len(items), table.shape[0]),
    )
    return spoken @ table


def mixed_log_prob(scores: Tensor, weight: sparse.csr_matrix, share: float) -> Tensor:
    """log((1 - share) softmax(scores) + share * weight / its sum), (B, N) float32.

    scores  (B, N); items at -inf stay there, and neither their softmax nor their weight counts
    weight  (B, M) >= 0, M <= N: of the first M items, 0 for the others
    share   in [0, 1). A row that has no weight left keeps the softmax of its scores
    """
    log_prob = torch.log_softmax(scores.float(), dim=1)
    entries = weight.tocoo()
    row, item, value = (
        torch.from_numpy(part).to(scores.device)
        for part in (entries.row.astype(np.int64), entries.col.astype(np.int64), entries.data)
    )
    counts = (value > 0) & (scores[row, item] != -torch.inf)
    row, item, value = row[counts], item[counts], value[counts]
    total = torch.zeros(len(scores), device=scores.device).index_add_(0, row, value)
    known = torch.log(value / total[row]) + (math.log(share) if share else -math.inf)
    log_prob += torch.where(total > 0, math.log1p(-share), 0.0)[:, None]
    # Most items are nobody's neighbours: the mixture has a second part for few of a row.
    log_prob[row, item] = torch.logaddexp(log_prob[row, item], known)
    return log_prob
