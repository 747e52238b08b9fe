"""The likelihood of items under the softmax over the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def target_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each row: minus the target's log-probability over all columns, in nats.

    logits (B, N), target (B,) column numbers; returns (B,) float32 or better. The padding column takes part, as in
    RecBole's own cross-entropy.
    """
    return functional.cross_entropy(_at_least_float32(logits), target, reduction="none")


def catalogue_log_sum(logits: Tensor, target: Tensor, nll: Tensor, *, pad_id: int | None = None) -> Tensor:
    """The log of the softmax denominator, without the padding column; (B,).

    From `lse = nll + score of the target`, so it needs no second walk over the catalogue. A padding column that holds
    all but a millionth of the probability is taken to hold just that much, so that the result stays finite.
    """
    log_sum = nll + logits.gather(1, target[:, None])[:, 0]
    if pad_id is None:
        return log_sum
    pad_log_prob = (logits[:, pad_id] - log_sum).clamp(max=-1e-6)
    return log_sum + log1mexp(pad_log_prob)


def gather_log_prob(logits: Tensor, columns: Tensor, log_sum: Tensor) -> Tensor:
    """Log-probabilities of some columns of each row: (B, N), (B, K), (B,) -> (B, K); -inf where the column is -1."""
    gathered = logits.gather(1, columns.clamp(min=0)) - log_sum[:, None]
    return gathered.masked_fill(columns < 0, -torch.inf)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without loss of digits near 0 and far from it."""
    near_zero = x > -0.6931471805599453
    # Each branch gets a harmless value where the other one is taken: its gradient is multiplied by 0, not by inf.
    small = torch.where(near_zero, x, -1.0)
    large = torch.where(near_zero, -1.0, x)
    return torch.where(near_zero, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
