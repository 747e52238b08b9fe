"""Post-hoc logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor


def log_prior(counts: Tensor, *, pad_id: int | None = None) -> Tensor:
    """Log of how often each item is met in training, (N,) float32, from its training interactions.

    One interaction is added to every item, so that an item that training never saw has a finite prior. The padding
    column, where there is one, is no item: its entry is 0.
    """
    items = torch.ones(len(counts), dtype=torch.bool)
    if pad_id is not None:
        items[pad_id] = False
    smoothed = counts.double() + 1
    prior = (smoothed / smoothed[items].sum()).log()
    return torch.where(items, prior, 0.0).float()


def adjustment(log_prior: Tensor, strength: float) -> Tensor | None:
    """-strength * log prior, (N,): what is added to the scores of every row; None where strength is 0.

    Takes off what a model scores for popularity alone. Strength 1 ranks by p(item | history) / p(item). Needs no
    training, so every method for the tail has to be held against its curve over the strength.
    """
    return -(strength * log_prior) if strength else None


def adjust(scores: Tensor, log_prior: Tensor, strength: float) -> Tensor:
    """The scores under the adjustment; (B, N), (N,) -> (B, N). Strength 0 gives them back as they are."""
    bias = adjustment(log_prior, strength)
    return scores if bias is None else scores + bias.to(scores.device)
