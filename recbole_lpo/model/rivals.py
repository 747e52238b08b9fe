"""Drawing the rivals of a batch of targets: from the head of the catalogue, or from all of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lpo.core.item_softmax import item_scores
from recbole_lpo.core.sampling import gumbel_noise, gumbel_top_k, straight_through_inclusion
from recbole_lpo.core.weighted_sampling import weighted_draw
from recbole_lpo.settings import LossSettings


@dataclass(frozen=True)
class Rivals:
    """Rivals of B targets.

    columns (B, K) int64; -1 where a row has fewer than K
    score   (B, K) with gradient; -inf there
    weight  (B, K) how often each counts, or None for once (straight-through sampling: K is the whole head)
    """

    columns: Tensor
    score: Tensor
    weight: Tensor | None


def draw_rivals(
    hidden: Tensor,
    item_table: Tensor,
    log_sum: Tensor,
    head_ids: Tensor,
    barred: Tensor,
    settings: LossSettings,
    generator: torch.Generator | None,
) -> Rivals:
    """K head items for each row, none of them barred (LPO4Rec Eq. 14 and 15, and the ablations of its Table II).

    hidden (B, D) and item_table (N, D) give the scores; log_sum (B,) log of their softmax denominator; head_ids (H,)
    column numbers; barred (B, E) positions in `head_ids` that must not be drawn (negative: none); generator the rivals'
    own random stream.
    """
    if settings.pref_straight_through:
        return _draw_with_gradient(hidden, item_table, log_sum, head_ids, barred, settings, generator)
    scale = settings.pref_gumbel_scale
    with torch.no_grad():
        scores = torch.matmul(hidden, item_table[head_ids].T).float()
        if settings.pref_negatives == "head_random":
            scores, scale = torch.zeros_like(scores), 1.0
        elif settings.pref_negatives == "head_top_k":
            scale = 0.0
        else:
            scores = _in_sample_space(scores, log_sum, settings)
        drawn = gumbel_top_k(scores, settings.pref_num_rejected, scale=scale, exclude=barred, generator=generator)
        columns = torch.where(drawn < 0, -1, head_ids[drawn.clamp(min=0)])
    return Rivals(columns, item_scores(hidden, item_table, columns), None)


def draw_from_catalogue(
    hidden: Tensor,
    item_table: Tensor,
    draw_weight: Tensor,
    barred: Tensor,
    settings: LossSettings,
    generator: torch.Generator | None,
) -> Rivals:
    """K items of the whole catalogue for each row, whatever the model thinks of them.

    draw_weight (N,): an item is drawn in proportion to it (0: never); barred (B, E) column numbers that must not be
    drawn (negative: none).
    """
    columns = weighted_draw(draw_weight, settings.pref_num_rejected, exclude=barred, generator=generator)
    return Rivals(columns, item_scores(hidden, item_table, columns), None)


def _in_sample_space(scores: Tensor, log_sum: Tensor, settings: LossSettings) -> Tensor:
    log_prob = scores - log_sum[:, None]
    return log_prob.exp() if settings.pref_sample_space == "prob" else log_prob


def _draw_with_gradient(hidden, item_table, log_sum, head_ids, barred, settings, generator) -> Rivals:
    scores = torch.matmul(hidden, item_table[head_ids].T).float()
    sampled = _in_sample_space(scores, log_sum, settings)
    noise = settings.pref_gumbel_scale * gumbel_noise(scores.shape, generator=generator, device=scores.device)
    drawn = gumbel_top_k(sampled + noise, settings.pref_num_rejected, scale=0.0, exclude=barred)
    weight = straight_through_inclusion(
        sampled, drawn, temperature=settings.pref_straight_through_temperature, noise=noise, exclude=barred
    )
    return Rivals(head_ids.expand_as(scores), scores, weight)
