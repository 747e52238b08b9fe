"""DynamicPO: only the rivals at the border of the preference, each with a beta of its own (arXiv 2605.00327)."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.objectives._pairs import (
    check,
    check_positive,
    log1p_sum_exp,
    log_ratio_margins,
    margins,
    mean_over,
    present_rivals,
    softplus,
    zero_without_rivals,
)
from recbole_lpo.core.precision import at_least_float32

BASES = ("dmpo", "sdpo")


def dynamicpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 1.0,
    margin: float = 2.0,
    scale: float = 0.5,
    base: str = "dmpo",
) -> Tensor:
    """DMPO or S-DPO over the borderline rivals b in Bd alone, with beta_b = beta f_b.

        base = dmpo:  L = -log sigmoid((1 / |Bd|) sum_b beta_b D_b)
        base = sdpo:  L = log(1 + sum_b exp(-beta_b D_b))
        D_b = log(pi_w / ref_w) - log(pi_b / ref_b)

    log_prob_*       (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*   the same items under the reference, same shapes; needed. They enter D only: which rivals are
                     borderline (`borderline_rivals`) and f (`beta_factor`) follow from the policy alone
    beta             > 0; 1 in the published code
    margin           >= 0 nats: how much farther the borderline rivals should stand from the chosen item than from the
                     easy rivals, where f = 1. The published code has had none, 2, and 6
    scale            0 <= scale < 1: f lies between 1 - scale and 1 + scale. 0: beta everywhere. 0.5 in the code
    base             `dmpo` (the paper's main form) or `sdpo`
    returns          (B,)  unreduced, float32 or better, >= 0; 0 in a row without rivals

    No gradient flows through the choice of rivals or through f; in the published code neither. That code clusters row
    by row on the CPU with a seeded k-means, which may miss the optimum and fails on fewer distinct values than
    clusters, and leaves f undefined at 0 / 0. An early form of it found the borderline rivals again by equality of
    values, so that ties counted twice. Its S-DPO flavour adds 1e-8 inside the logarithm and overflows.
    """
    check_positive("beta", beta, "how much a deviation from the reference counts")
    check(0 <= margin < float("inf"), "margin", margin, ">= 0 and finite (nats)")
    check(0 <= scale < 1, "scale", scale, ">= 0 and < 1 (how far beta may move, as a share of beta)")
    check(base in BASES, "base", base, f"one of {', '.join(BASES)}")
    gap, _ = log_ratio_margins(
        "dynamicpo", log_prob_chosen, log_prob_rejected, ref_log_prob_chosen, ref_log_prob_rejected
    )
    borderline = borderline_rivals(log_prob_chosen, log_prob_rejected)
    factor = beta_factor(log_prob_chosen, log_prob_rejected, borderline, margin=margin, scale=scale)
    pull = beta * factor * gap
    if base == "sdpo":
        return log1p_sum_exp(-pull, borderline)
    return zero_without_rivals(softplus(-mean_over(pull, borderline)), borderline)


@torch.no_grad()
def borderline_rivals(log_prob_chosen: Tensor, log_prob_rejected: Tensor) -> Tensor:
    """Which rivals are borderline; (B,), (B, K) -> (B, K) bool.

    Those that reach the chosen item, log pi_l >= log pi_w. Where none does, the top cluster of an exact 3-means of the
    row's log-probabilities; with fewer than three distinct values among them, the highest value and all that equal it.
    Every row with a rival has a borderline one.
    """
    present = present_rivals(log_prob_rejected)
    if log_prob_rejected.shape[1] == 0:
        return present
    reach = present & (log_prob_rejected >= log_prob_chosen[:, None])
    top = present & (log_prob_rejected >= _lowest_of_top_cluster(log_prob_rejected))
    return torch.where(reach.any(dim=1, keepdim=True), reach, top)


@torch.no_grad()
def beta_factor(
    log_prob_chosen: Tensor, log_prob_rejected: Tensor, borderline: Tensor, *, margin: float = 2.0, scale: float = 0.5
) -> Tensor:
    """What beta is multiplied by for each borderline rival b; (B, K), 0 for the others.

        f_b = 1 + scale tanh((d1 - d2 - margin) / (|d1| + |d2|))
        d1 = log pi_w - log pi_b,   d2 = log pi_b - mean of log pi over the present rivals that are not borderline

    Where all rivals are borderline the mean is over them. f = 1 where d1 - d2 is the margin. Where d1 = d2 = 0 the
    fraction is -infinity, f = 1 - scale; with a margin of 0 it is taken as 0, f = 1.
    """
    rejected = at_least_float32(log_prob_rejected)
    easy = present_rivals(rejected) & ~borderline
    easy = torch.where(easy.any(dim=1, keepdim=True), easy, borderline)
    to_chosen = margins(log_prob_chosen, rejected, borderline)
    to_easy = -margins(mean_over(rejected, easy), rejected, borderline)
    distance = (to_chosen.abs() + to_easy.abs()).clamp(min=torch.finfo(rejected.dtype).tiny)
    factor = 1 + scale * torch.tanh((to_chosen - to_easy - margin) / distance)
    return factor.masked_fill(~borderline, 0.0)


def _lowest_of_top_cluster(values: Tensor) -> Tensor:
    """The lowest value of the top cluster of an exact one-dimensional 3-means of each row; (B, K) -> (B, 1), K >= 1.

    Clusters of numbers on a line are intervals, so two cuts through the sorted row are all there is to try: all of the
    K (K - 1) / 2 pairs at once, in float64. -inf takes no part. Of pairs that are equally good (to 1e-12 of the row's
    sum of squares, so that rounding does not decide) one with the fewest values on top is taken. A cut between equal
    values is never better than one beside them, and the caller takes all that reach the value found: ties stay
    together. With fewer than three distinct values the top is the highest one.
    """
    ordered = values.sort(dim=1, descending=True).values
    k = ordered.shape[1]
    if k < 3:
        return ordered[:, :1]
    there = present_rivals(ordered)
    n = there.sum(dim=1, keepdim=True)
    x = ordered.double().masked_fill(~there, 0.0)
    x = (x - x.sum(dim=1, keepdim=True) / n.clamp(min=1)).masked_fill(~there, 0.0)

    # Cuts after columns p < q, pairs with the smallest p first. With the row's mean at 0, the least sum of squares
    # within clusters is the most of (sum of a cluster)^2 / size.
    p, q = torch.triu_indices(k, k, offset=1, device=ordered.device)
    size = torch.arange(1, k + 1, device=ordered.device)
    top = x.cumsum(dim=1)
    gain = (top[:, q] - top[:, p]).square() / (q - p)
    gain += (top.square() / size)[:, p]
    gain += (top.square() / (n - size).clamp(min=1))[:, q]
    gain.masked_fill_(size[q] >= n, -torch.inf)
    as_good = gain >= gain.amax(dim=1, keepdim=True) - 1e-12 * x.square().sum(dim=1, keepdim=True)
    # argmax finds the first True. Without any allowed pair all are, and the first pair has the highest value on top.
    first = p[as_good.byte().argmax(dim=1)]
    return ordered.gather(1, first[:, None])
