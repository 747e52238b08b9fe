"""Drawing the rivals of a batch of targets from the head of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lpo.core.item_softmax import gather_log_prob
from recbole_lpo.core.sampling import gumbel_noise, gumbel_top_k, straight_through_inclusion
from recbole_lpo.settings import LossSettings


@dataclass(frozen=True)
class Rivals:
    """Rivals of B targets.

    log_prob  (B, K) with gradient; -inf where a row has fewer than K
    weight    (B, K) how often each counts, or None for once (straight-through sampling: K is the whole head)
    """

    log_prob: Tensor
    weight: Tensor | None


def draw_rivals(
    logits: Tensor,
    log_sum: Tensor,
    head_ids: Tensor,
    barred: Tensor,
    settings: LossSettings,
    generator: torch.Generator | None,
) -> Rivals:
    """K head items for each row, none of them barred (LPO4Rec Eq. 14 and 15, and the ablations of its Table II).

    logits (B, N), log_sum (B,) log of the softmax denominator, head_ids (H,) column numbers, barred (B, E) positions
    in `head_ids` that must not be drawn (negative: none), generator the rivals' own random stream.
    """
    if settings.pref_straight_through:
        return _draw_with_gradient(logits, log_sum, head_ids, barred, settings, generator)
    scale = settings.pref_gumbel_scale
    with torch.no_grad():
        if settings.pref_negatives == "head_random":
            scores, scale = torch.zeros_like(logits[:, head_ids]), 1.0
        elif settings.pref_negatives == "head_top_k":
            scores, scale = logits[:, head_ids], 0.0
        else:
            scores = _head_scores(logits, log_sum, head_ids, settings)
    drawn = gumbel_top_k(scores, settings.pref_num_rejected, scale=scale, exclude=barred, generator=generator)
    columns = torch.where(drawn < 0, -1, head_ids[drawn.clamp(min=0)])
    return Rivals(gather_log_prob(logits, columns, log_sum), None)


def _head_scores(logits: Tensor, log_sum: Tensor, head_ids: Tensor, settings: LossSettings) -> Tensor:
    log_prob = logits[:, head_ids] - log_sum[:, None]
    return log_prob.exp() if settings.pref_sample_space == "prob" else log_prob


def _draw_with_gradient(logits, log_sum, head_ids, barred, settings, generator) -> Rivals:
    scores = _head_scores(logits, log_sum, head_ids, settings)
    noise = settings.pref_gumbel_scale * gumbel_noise(scores.shape, generator=generator, device=scores.device)
    drawn = gumbel_top_k(scores + noise, settings.pref_num_rejected, scale=0.0, exclude=barred)
    weight = straight_through_inclusion(
        scores, drawn, temperature=settings.pref_straight_through_temperature, noise=noise, exclude=barred
    )
    return Rivals(logits[:, head_ids] - log_sum[:, None], weight)
