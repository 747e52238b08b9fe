"""How much each row of a batch counts."""

from __future__ import annotations

import torch
from torch import Tensor


def tail_weights(
    is_tail: Tensor, *, alpha_tail: float = 1.0, alpha_head: float = 0.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Row weights by the group of the row's target (LPO4Rec Eq. 16): a softmax of alpha over the batch.

    is_tail (B,) bool; returns (B,) of `dtype` that sums to 1. A tail row weighs e^(alpha_tail - alpha_head) times a
    head row. A batch of one group only gives 1/B a row: the published code gives such a batch without tail rows the
    weight 1 a row, so a step B times larger (`published_code_tail_weights`).
    """
    alpha = torch.where(is_tail, float(alpha_tail), float(alpha_head))
    return torch.softmax(alpha.to(dtype), dim=0)


def published_code_tail_weights(
    is_tail: Tensor, *, alpha_tail: float = 1.0, alpha_head: float = 0.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Row weights as in LPO4Rec's published code, its defect included: all 1 in a batch without tail rows."""
    weights = tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head, dtype=dtype)
    return torch.where(is_tail.any(), weights, torch.ones_like(weights))


def r2rec_published_code_weights(
    is_tail: Tensor, *, alpha_tail: float = 2.0, alpha_head: float = 0.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Row weights as in R2Rec's published code: those of LPO4Rec's, divided once more by the number of rows.

    alpha_tail is 1 / tau of R2Rec, tau = 0.5. The weights sum to 1 / B; in a batch without tail rows, by the same
    defect, to 1. Adam notices the scale in its epsilon alone, but a backbone's own penalty beside the loss gains by it.
    """
    weights = published_code_tail_weights(is_tail, alpha_tail=alpha_tail, alpha_head=alpha_head, dtype=dtype)
    return weights / len(is_tail)
