"""The DPO family: the chosen item against its rivals, both measured against a frozen reference policy.

In all of them D_l = log(pi_w / ref_w) - log(pi_l / ref_l), w the chosen item, l a rival. The softmax denominators
cancel in D, so logits of the K + 1 items give the same losses.
"""

from __future__ import annotations

from torch import Tensor

from recbole_lpo.core.objectives._pairs import (
    check,
    check_positive,
    log1p_sum_exp,
    log_ratio_margins,
    mean_over,
    softplus,
    zero_without_rivals,
)


def dpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    robust: bool = False,
) -> Tensor:
    """Direct preference optimization, the mean over the rivals of

        L_l = -log sigmoid(beta D_l)                                              DPO, arXiv 2305.18290, Eq. 7
        L_l = -(1 - e) log sigmoid(beta D_l) - e log sigmoid(-beta D_l)           cDPO, ericmitchell.ai/cdpo.pdf, Eq. 3
        L_l = (-(1 - e) log sigmoid(beta D_l) + e log sigmoid(-beta D_l)) / (1 - 2 e)    robust DPO, arXiv 2403.00409

    log_prob_*       (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*   the same items under the reference, same shapes; needed
    beta             > 0; 0.1 to 0.5 in TRL, 0.01 in SimPO's tuned DPO, 1 in S-DPO's code
    label_smoothing  e, 0 <= e < 0.5: how often a preference is thought to be the wrong way round. 0: DPO
    robust           False: cDPO. True: the form whose mean over such errors is DPO's loss on the true preferences; it
                     falls below 0 and has no lower bound
    returns          (B,)  unreduced, float32 or better; log 2 without smoothing where the policy is the reference; 0 in
                     a row without rivals

    The papers compare one pair; the mean over K pairs is ours. (The name sDPO in TRL is self-distillation, not `sdpo`.)
    """
    check_positive("beta", beta, "how much a deviation from the reference counts")
    check(0 <= label_smoothing < 0.5, "label_smoothing", label_smoothing, ">= 0 and < 0.5 (share of wrong preferences)")
    check(isinstance(robust, bool), "robust", robust, "True or False")
    margin, present = log_ratio_margins(
        "dpo", log_prob_chosen, log_prob_rejected, ref_log_prob_chosen, ref_log_prob_rejected
    )
    loss = softplus(-beta * margin)
    if label_smoothing > 0:
        right, wrong = (1 - label_smoothing) * loss, label_smoothing * softplus(beta * margin)
        loss = (right - wrong) / (1 - 2 * label_smoothing) if robust else right + wrong
    return mean_over(loss, present)


def sdpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 1.0,
) -> Tensor:
    """S-DPO: softmax DPO over all rivals at once (arXiv 2406.09215).

        L = -log sigmoid(-log sum_l exp(-beta D_l)) = log(1 + sum_l exp(-beta D_l))

    log_prob_*       (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*   the same items under the reference, same shapes; needed
    beta             > 0; 1 in the published script, 0.1 the default of its function. Plays the part of LPO's 1 / tau
    returns          (B,)  unreduced, float32 or better, >= 0; log(1 + K) where the policy is the reference; 0 in a row
                     without rivals

    Between the largest and the sum of the pairwise DPO losses. With a constant reference it is LPO on log-probabilities
    with tau = 1 / beta. The published code takes the log of a plain sum of exponentials, which overflows; this is the
    same number by log-sum-exp.
    """
    check_positive("beta", beta, "how much a deviation from the reference counts")
    margin, present = log_ratio_margins(
        "sdpo", log_prob_chosen, log_prob_rejected, ref_log_prob_chosen, ref_log_prob_rejected
    )
    return log1p_sum_exp(-beta * margin, present)


def dmpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 1.0,
) -> Tensor:
    """DMPO: the chosen item against the mean of its rivals (arXiv 2405.16127, CIKM 2024).

        L = -log sigmoid((beta / K) sum_l D_l)

    log_prob_*       (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival; K counts the present ones
    ref_log_prob_*   the same items under the reference, same shapes; needed
    beta             > 0; 1 in DynamicPO's code
    returns          (B,)  unreduced, float32 or better, >= 0; log 2 where the policy is the reference; 0 in a row
                     without rivals

    Never above the mean of the pairwise DPO losses (convexity). The published DMPO code gives the chosen item's
    reference to both sides, so the reference cancels there; here it does not. Its `dpo_ftx`, a cross-entropy added to
    this term, is the trainer's affair. DynamicPO's README once printed this loss without its minus sign.
    """
    check_positive("beta", beta, "how much a deviation from the reference counts")
    margin, present = log_ratio_margins(
        "dmpo", log_prob_chosen, log_prob_rejected, ref_log_prob_chosen, ref_log_prob_rejected
    )
    return zero_without_rivals(softplus(-beta * mean_over(margin, present)), present)


def ipo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    beta: float = 0.1,
) -> Tensor:
    """IPO: each margin is drawn to a fixed width (arXiv 2310.12036, Eq. 17, where beta is called tau).

        L = mean_l (D_l - 1 / (2 beta))^2

    log_prob_*       (B,) and (B, K)  nats; -inf in (B, K) marks an absent rival, which contributes nothing
    ref_log_prob_*   the same items under the reference, same shapes; needed
    beta             > 0; the width is 1 / (2 beta): 5 nats at 0.1
    returns          (B,)  unreduced, float32 or better, >= 0, in nats squared; 1 / (4 beta^2) where the policy is the
                     reference; 0 in a row without rivals

    Unlike the logistic losses it pulls a margin back that is too wide, and its pull has no bound. TRL divides
    log-probabilities by the length of the answer; an item has length 1. The mean over K pairs is ours.
    """
    check_positive("beta", beta, "1 / (2 beta) is the margin aimed at")
    margin, present = log_ratio_margins(
        "ipo", log_prob_chosen, log_prob_rejected, ref_log_prob_chosen, ref_log_prob_rejected
    )
    return mean_over((margin - 1 / (2 * beta)).square(), present)
