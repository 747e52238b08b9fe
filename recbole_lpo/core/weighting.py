"""How much each row of a batch counts."""

from __future__ import annotations

import torch
from torch import Tensor


def group_counts(is_tail: Tensor) -> Tensor:
    """(2,) int64: how many head rows and how many tail rows there are; is_tail (B,) bool."""
    n_tail = is_tail.sum()
    return torch.stack([len(is_tail) - n_tail, n_tail])


def tail_weights(
    is_tail: Tensor,
    *,
    alpha_tail: float = 1.0,
    alpha_head: float = 0.0,
    counts: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Row weights by the group of the row's target (LPO4Rec Eq. 16): a softmax of alpha over the batch.

    is_tail (B,) bool; returns (B,) of `dtype` that sums to 1. A tail row weighs e^(alpha_tail - alpha_head) times a
    head row. A batch of one group only gives 1/B a row: the published code gives such a batch without tail rows the
    weight 1 a row, so a step B times larger (`published_code_tail_weights`).
    counts: the `group_counts` of the whole batch where `is_tail` is a part of it; the weights of all parts sum to 1.
    """
    alpha = torch.where(is_tail, float(alpha_tail), float(alpha_head)).to(dtype)
    if counts is None:
        return torch.softmax(alpha, dim=0)
    of_groups = counts.new_tensor([alpha_head, alpha_tail], dtype=dtype)
    return (alpha - torch.logsumexp(of_groups + counts.to(dtype).log(), dim=0)).exp()


def published_code_tail_weights(
    is_tail: Tensor,
    *,
    alpha_tail: float = 1.0,
    alpha_head: float = 0.0,
    counts: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Row weights as in LPO4Rec's published code, its defect included: all 1 in a batch without tail rows.

    counts: as in `tail_weights`.
    """
    weights = tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head, counts=counts, dtype=dtype)
    some_tail = is_tail.any() if counts is None else counts[1] > 0
    return torch.where(some_tail, weights, torch.ones_like(weights))


def r2rec_published_code_weights(
    is_tail: Tensor,
    *,
    alpha_tail: float = 2.0,
    alpha_head: float = 0.0,
    counts: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Row weights as in R2Rec's published code: those of LPO4Rec's, divided once more by the number of rows.

    alpha_tail is 1 / tau of R2Rec, tau = 0.5. The weights sum to 1 / B; in a batch without tail rows, by the same
    defect, to 1. Adam notices the scale in its epsilon alone, but a backbone's own penalty beside the loss gains by it.
    counts: as in `tail_weights`; B is then the rows of the whole batch.
    """
    alphas = {"alpha_tail": alpha_tail, "alpha_head": alpha_head}
    weights = published_code_tail_weights(is_tail, **alphas, counts=counts, dtype=dtype)
    return weights / (len(is_tail) if counts is None else counts.sum())
