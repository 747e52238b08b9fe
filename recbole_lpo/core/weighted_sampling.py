"""Drawing items with fixed weights, the same for every row: uniform or by popularity."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.sampling import gumbel_top_k


def weighted_draw(weight: Tensor, k: int, *, exclude: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """K columns of each row without replacement, one after another with probability in proportion to their weights.

    The ordered draw follows Plackett-Luce, as `gumbel_top_k` on log weights does, but costs K and not N random numbers
    a row: columns are drawn with replacement, and repeated or excluded ones are passed over. What a row still lacks
    then is drawn exactly among the columns that are left.

    weight     (N,) >= 0; 0 marks a column that is never drawn
    k          >= 1
    exclude    (B, E) column numbers that a row must not draw; negative: none
    generator  the random stream, on the device of `weight`
    returns    (B, k) int64 column numbers in the order drawn, -1 where fewer than k columns remain
    """
    if k < 1:
        raise ValueError(f"k = {k}: at least one column must be drawn.")
    if weight.ndim != 1 or not bool((weight >= 0).all()):
        raise ValueError(f"weight must be one-dimensional and >= 0, got shape {tuple(weight.shape)}.")
    candidates = _with_replacement(weight, (len(exclude), 2 * k + 8), generator)
    # A candidate of weight 0 comes up only where no column has any weight, or by rounding at the very end.
    fresh = ~_among(candidates, exclude) & ~_seen_before(candidates) & (weight[candidates] > 0)
    # Fresh ones first, each kind in the order drawn.
    order = torch.argsort((~fresh).to(torch.uint8), dim=1, stable=True)[:, :k]
    drawn = candidates.gather(1, order).masked_fill(~fresh.gather(1, order), -1)
    lacking = (drawn < 0).any(dim=1)
    if bool(lacking.any()):
        drawn[lacking] = _fill(drawn[lacking], weight, exclude[lacking], generator)
    return drawn


def _with_replacement(weight: Tensor, shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    # float64: in float32 the running sum of a million weights cannot tell neighbours apart.
    cumulative = torch.cumsum(weight.double(), 0)
    point = torch.rand(shape, dtype=torch.float64, generator=generator, device=weight.device) * cumulative[-1]
    return torch.searchsorted(cumulative, point, right=True).clamp_(max=len(weight) - 1)


def _among(candidates: Tensor, exclude: Tensor) -> Tensor:
    return (candidates[:, :, None] == exclude[:, None, :]).any(dim=2)


def _seen_before(candidates: Tensor) -> Tensor:
    same = candidates[:, :, None] == candidates[:, None, :]
    return torch.tril(same, diagonal=-1).any(dim=2)


def _fill(drawn: Tensor, weight: Tensor, exclude: Tensor, generator: torch.Generator | None) -> Tensor:
    """The rows with their missing columns (-1, all at the end) drawn from what they have neither drawn nor excluded."""
    scores = weight.double().log().float().expand(len(drawn), -1)
    more = gumbel_top_k(scores, drawn.shape[1], exclude=torch.cat([exclude, drawn], dim=1), generator=generator)
    have = (drawn >= 0).sum(dim=1, keepdim=True)
    nth = torch.arange(drawn.shape[1], device=drawn.device) - have
    return torch.where(nth >= 0, more.gather(1, nth.clamp(min=0)), drawn)
