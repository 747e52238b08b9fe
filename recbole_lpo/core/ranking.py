"""The rank of the held-out item, and the metrics that follow from that one integer."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.catalogue_walk import rank_scores


def target_rank(scores: Tensor, target: Tensor, *, exclude: Tensor | None = None) -> Tensor:
    """Where the target stands among all items, counted from 1: the mid-rank of `catalogue_walk.Ranking`.

    scores   (B, N) any float type; NaN is refused
    target   (B,) column numbers
    exclude  (B, N) bool: items that score -inf; the target itself keeps its score
    returns  (B,) int64, 1 to N
    """
    if exclude is not None:
        own = scores.gather(1, target[:, None])
        scores = scores.masked_fill(exclude, -torch.inf).scatter(1, target[:, None], own)
    return rank_scores(scores, target)[0].rank


def hit_at(rank: Tensor, k: int) -> Tensor:
    """1 where the rank is at most k, else 0. rank (U,) from 1; returns (U,) float64. The hit rate is its mean."""
    return (rank <= k).double()


def ndcg_at(rank: Tensor, k: int) -> Tensor:
    """1 / log2(1 + rank) where the rank is at most k, else 0: NDCG for one held-out item. (U,) -> (U,) float64."""
    return torch.where(rank <= k, 1.0 / torch.log2(1.0 + rank.double()), 0.0)


def mrr_at(rank: Tensor, k: int) -> Tensor:
    """1 / rank where the rank is at most k, else 0: MRR cut at k, as RecBole's. (U,) -> (U,) float64."""
    return torch.where(rank <= k, 1.0 / rank.double(), 0.0)


def group_mean(values: Tensor, member: Tensor | None = None) -> float:
    """The mean over the users of a group; NaN for a group without users, never 0. values (U,), member (U,) bool."""
    chosen = values if member is None else values[member]
    return float(chosen.double().mean()) if len(chosen) else float("nan")
