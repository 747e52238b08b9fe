"""Drawing the rivals of a batch of targets: from the head, the catalogue, the batch, or a policy's own best items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lpo.core.precision import at_least_float32
from recbole_lpo.core.sampling import gumbel_noise, gumbel_top_k, straight_through_inclusion
from recbole_lpo.core.streamed_sampling import (
    ScoreOf,
    best_scored,
    draw_from_probabilities,
    draw_from_scores,
    draws_at_once,
)
from recbole_lpo.core.weighted_sampling import weighted_draw
from recbole_lpo.settings import LossSettings


@dataclass(frozen=True)
class Rivals:
    """Rivals of B targets.

    columns (B, K) int64; -1 where a row has fewer than K
    score   None, or where the draw has a gradient (straight-through sampling: K is the whole head) (B, K) with theirs
    weight  (B, K) how often each counts then
    """

    columns: Tensor
    score: Tensor | None = None
    weight: Tensor | None = None


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
    with torch.no_grad():
        drawn = _draw_from_head(hidden, item_table, log_sum, head_ids, barred, settings, generator)
        return Rivals(torch.where(drawn < 0, -1, head_ids[drawn.clamp(min=0)]))


@torch.no_grad()
def draw_from_best(
    hidden: Tensor,
    item_table: Tensor,
    barred: Tensor,
    settings: LossSettings,
    generator: torch.Generator | None,
) -> Tensor:
    """K of each row's `pref_self_play_top` best-scored items, any of these as likely as another; (B, K).

    hidden (B, D) and item_table (N, D) are those of the policy that ranks; barred (B, E) column numbers that are not
    ranked (negative: none).
    """

    def score_of(rows: Tensor | slice) -> Tensor:
        return at_least_float32(torch.matmul(hidden[rows], item_table.T))

    shape = (len(hidden), len(item_table))
    best = best_scored(score_of, shape, settings.pref_self_play_top, exclude=barred)
    even = torch.zeros_like(best, dtype=torch.float32)
    drawn = gumbel_top_k(even, settings.pref_num_rejected, exclude=best < 0, generator=generator)
    return torch.where(drawn < 0, -1, best.gather(1, drawn.clamp(min=0)))


def _draw_from_head(hidden, item_table, log_sum, head_ids, barred, settings, generator) -> Tensor:
    """(B, K) positions in the head, -1 for none."""
    shape, k, scale = (len(hidden), len(head_ids)), settings.pref_num_rejected, settings.pref_gumbel_scale
    in_space = settings.pref_sample_space if settings.pref_negatives == "head_gumbel" else None
    score_of = _head_scores(hidden, item_table, log_sum, head_ids, in_space)
    if settings.pref_negatives == "head_random":
        evenly = torch.arange(1, len(head_ids) + 1, dtype=torch.float64, device=hidden.device)
        return weighted_draw(evenly, k, exclude=barred, generator=generator)
    if settings.pref_negatives == "head_top_k" or scale == 0:
        return best_scored(score_of, shape, k, exclude=barred)
    if draws_at_once(shape, k, hidden.device):
        return gumbel_top_k(score_of(slice(None)), k, scale=scale, exclude=barred, generator=generator)
    draw = draw_from_probabilities if in_space == "prob" else draw_from_scores
    return draw(score_of, shape, k, scale=scale, exclude=barred, generator=generator)


def _head_scores(hidden, item_table, log_sum, head_ids, space: str | None) -> ScoreOf:
    """The head's scores in the space that is drawn in (None: as they are); its vectors are gathered once, if at all."""
    gathered: list[Tensor] = []

    def score_of(rows: Tensor | slice) -> Tensor:
        if not gathered:
            gathered.append(item_table[head_ids].T)
        scores = torch.matmul(hidden[rows], gathered[0]).float()
        return scores if space is None else _in_sample_space(scores, log_sum[rows], space)

    return score_of


def _in_sample_space(scores: Tensor, log_sum: Tensor, space: str) -> Tensor:
    log_prob = scores - log_sum[:, None]
    return log_prob.exp() if space == "prob" else log_prob


def _draw_with_gradient(hidden, item_table, log_sum, head_ids, barred, settings, generator) -> Rivals:
    scores = torch.matmul(hidden, item_table[head_ids].T).float()
    sampled = _in_sample_space(scores, log_sum, settings.pref_sample_space)
    noise = settings.pref_gumbel_scale * gumbel_noise(scores.shape, generator=generator, device=scores.device)
    drawn = gumbel_top_k(sampled + noise, settings.pref_num_rejected, scale=0.0, exclude=barred)
    weight = straight_through_inclusion(
        sampled, drawn, temperature=settings.pref_straight_through_temperature, noise=noise, exclude=barred
    )
    return Rivals(head_ids.expand_as(scores), scores, weight)
