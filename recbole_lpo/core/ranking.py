"""The rank of the held-out item, and the metrics that follow from that one integer."""

from __future__ import annotations

import torch
from torch import Tensor


def target_rank(scores: Tensor, target: Tensor, *, exclude: Tensor | None = None) -> Tensor:
    """Where the target stands among all items, counted from 1.

    An item that scores the same as the target counts half, and the sum is rounded up (mid-rank): with t such items
    rank = 1 + (items above) + ceil(t / 2). So a model that scores every item alike gets the middle of the list, not its
    top. RecBole leaves the order of equal scores to `torch.topk`.

    scores   (B, N) any float type; NaN is refused
    target   (B,) column numbers
    exclude  (B, N) bool: items that do not take part; the target itself always does
    returns  (B,) int64, 1 to N
    """
    return rank_and_ties(scores, target, exclude=exclude)[0]


def rank_and_ties(scores: Tensor, target: Tensor, *, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`target_rank`, and how many other items score the same as the target; two (B,) int64."""
    if torch.isnan(scores).any():
        rows = int(torch.isnan(scores).any(dim=1).sum())
        raise ValueError(f"{rows} of {len(scores)} rows of scores hold NaN: the model gave no usable score.")
    own = scores.gather(1, target[:, None])
    above, level = scores > own, scores == own
    if exclude is not None:
        above, level = above & ~exclude, level & ~exclude
    ties = level.scatter(1, target[:, None], False).sum(dim=1)
    return 1 + above.sum(dim=1) + (ties + 1) // 2, ties


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
