"""The likelihood of items under the softmax over the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.precision import at_least_float32


def target_nll(hidden: Tensor, item_table: Tensor, target: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Cross-entropy of each row: minus the target's log-probability over the whole catalogue, in nats.

    hidden      (B, D)
    item_table  (N, D); the score of item n is hidden . item_table[n]
    target      (B,) column numbers
    bias        (N,) added to the score of each item, the same in every row; None: nothing
    returns     (B,) float32 or better

    The padding column takes part, as in RecBole's own cross-entropy.
    """
    logits = at_least_float32(torch.matmul(hidden, item_table.transpose(0, 1)))
    if bias is not None:
        logits = logits + bias
    return functional.cross_entropy(logits, target, reduction="none")


def item_scores(hidden: Tensor, item_table: Tensor, columns: Tensor) -> Tensor:
    """Scores of a few items for each row, differentiable: (B, D), (N, D), (B, K) column numbers -> (B, K).

    -inf where the column is -1. Dot products with K gathered rows: a gather from (B, N) logits would make its backward
    pass fill a (B, N) gradient with zeros.
    """
    rows = item_table[columns.clamp(min=0)]
    scores = torch.bmm(rows, hidden[:, :, None])[:, :, 0]
    return at_least_float32(scores).masked_fill(columns < 0, -torch.inf)


def catalogue_log_sum(nll: Tensor, target_score: Tensor, pad_score: Tensor | None = None) -> Tensor:
    """The log of the softmax denominator; (B,), without the padding column where its score is given.

    From `log sum = nll + score of the target` (all (B,)), so it needs no second walk over the catalogue. A padding
    column that holds all but a millionth of the probability is taken to hold just that much, so that the result stays
    finite.
    """
    log_sum = nll + target_score
    if pad_score is None:
        return log_sum
    return log_sum + log1mexp((pad_score - log_sum).clamp(max=-1e-6))


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without loss of digits near 0 and far from it."""
    near_zero = x > -0.6931471805599453
    # Each branch gets a harmless value where the other one is taken: its gradient is multiplied by 0, not by inf.
    small = torch.where(near_zero, x, -1.0)
    large = torch.where(near_zero, -1.0, x)
    return torch.where(near_zero, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
