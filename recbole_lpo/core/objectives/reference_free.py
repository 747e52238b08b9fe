"""Preference objectives without a reference policy. w is the chosen item, l a rival."""

from __future__ import annotations

from torch import Tensor

from recbole_lpo.core.item_softmax import log1mexp
from recbole_lpo.core.objectives._pairs import (
    check,
    check_positive,
    margins,
    mean_over,
    present_rivals,
    softplus,
    zero_without_rivals,
)
from recbole_lpo.core.precision import at_least_float32


def simpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> Tensor:
    """SimPO: the chosen item must lead by a margin (arXiv 2405.14734, Eq. 6).

        L = mean_l -log sigmoid(beta (log pi_w - log pi_l) - gamma)

    log_prob_*      (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*  not used
    beta            > 0; 2 to 2.5 in the paper, up to 10 in its code
    gamma           >= 0: the target margin gamma itself, in units of beta times nats. The paper's tables and code give
                    the ratio gamma / beta (0 to 1, mostly 0.5), the lead in nats: at the defaults 1 / 2 = 0.5
    returns         (B,)  unreduced, float32 or better, >= 0; log(1 + exp(gamma)) at equal scores; 0 in a row without
                    rivals

    The paper's division by the length of the answer is void: an item has length 1. TRL's `simpo` adds cross-entropy
    unless its `cpo_alpha` (1 by default) is set to 0, and its defaults beta 0.1, gamma 0.5 make a ratio of 5. The mean
    over K pairs is ours.
    """
    check_positive("beta", beta, "scale of the log-probabilities")
    check(0 <= gamma < float("inf"), "gamma", gamma, ">= 0 and finite (the target margin itself, not gamma / beta)")
    present = present_rivals(log_prob_rejected)
    margin = margins(log_prob_chosen, log_prob_rejected, present)
    return mean_over(softplus(gamma - beta * margin), present)


def orpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
) -> Tensor:
    """ORPO's odds-ratio term alone (arXiv 2403.07691, Eq. 4 and 7).

        L = mean_l -log sigmoid(o_w - o_l),   o_j = log(pi_j / (1 - pi_j))

    log_prob_*      (B,) and (B, K)  nats, < 0; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*  not used
    returns         (B,)  unreduced, float32 or better, >= 0; log 2 at equal probabilities; 0 in a row without rivals

    The paper's lambda (0.1; `beta` in TRL) is the weight of the preference term and its likelihood term is
    cross-entropy: both belong to the trainer. The only pairwise objective here that depends on the softmax denominator;
    where all probabilities are small it is BPR. The published codes take log1p(-exp(log pi)), which is -inf or NaN near
    pi = 1. Here a probability within a millionth of 1 counts as 1 - 1e-6 in the denominator of its odds: float32 does
    not tell them apart well enough to divide by the difference. The mean over K pairs is ours.
    """
    present = present_rivals(log_prob_rejected)
    gap = margins(_log_odds(log_prob_chosen), _log_odds(log_prob_rejected), present)
    return mean_over(softplus(-gap), present)


def _log_odds(log_prob: Tensor) -> Tensor:
    """-inf where the log-probability is -inf, with a gradient that stays finite."""
    log_prob = at_least_float32(log_prob)
    return log_prob - log1mexp(log_prob.clamp(max=-1e-6))


def cpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 0.1,
) -> Tensor:
    """CPO's preference term: DPO with a uniform reference (arXiv 2401.08417).

        L = mean_l -log sigmoid(beta (log pi_w - log pi_l))

    log_prob_*      (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*  not used
    beta            > 0; 0.1 in the paper
    returns         (B,)  unreduced, float32 or better, >= 0; log 2 at equal scores; 0 in a row without rivals

    CPO as published adds the negative log-likelihood of the chosen answer with weight 1 (`cpo_alpha` in TRL): here that
    is the trainer's `ce_weight`. The mean over K pairs is ours.
    """
    check_positive("beta", beta, "scale of the log-probabilities")
    present = present_rivals(log_prob_rejected)
    margin = margins(log_prob_chosen, log_prob_rejected, present)
    return mean_over(softplus(-beta * margin), present)


def bpr(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
) -> Tensor:
    """BPR, Bayesian personalised ranking (BPR-Opt of arXiv 1205.2618): CPO's preference term with beta = 1.

        L = mean_l -log sigmoid(log pi_w - log pi_l)

    log_prob_*      (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*  not used
    returns         (B,)  unreduced, float32 or better, >= 0; log 2 at equal scores; 0 in a row without rivals

    RecBole's BPRLoss adds 1e-10 inside the logarithm, so its gradient fades where the rival leads by some 23 nats; this
    one's does not. The mean over K pairs is ours.
    """
    present = present_rivals(log_prob_rejected)
    margin = margins(log_prob_chosen, log_prob_rejected, present)
    return mean_over(softplus(-margin), present)


def mppo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
) -> Tensor:
    """MPPO on probabilities (arXiv 2412.15244, COLING 2025, its pair-wise form with several rivals).

        L = -log sigmoid(K pi_w - sum_l pi_l)

    log_prob_*      (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival; K counts the present ones
    ref_log_prob_*  not used
    returns         (B,)  unreduced, float32 or better, in [log(1 + e^-K), log(1 + e]]; log 2 at equal probabilities; 0
                    in a row without rivals

    The formula is the one that DynamicPO's README quotes; its code multiplies each probability by a beta of 1. The
    paper's mean over the words of an answer is void: an item has length 1. Its gradient carries a factor of the
    probabilities themselves, so like LPO on probabilities it fades for the very items that it is meant to lift.
    """
    present = present_rivals(log_prob_rejected)
    gap = margins(at_least_float32(log_prob_chosen).exp(), at_least_float32(log_prob_rejected).exp(), present)
    return zero_without_rivals(softplus(-gap.sum(dim=1)), present)
