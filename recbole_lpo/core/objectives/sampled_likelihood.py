"""Likelihood objectives on the target and K drawn columns: nothing is summed over the catalogue.

Both take scores of the model, not log-probabilities: score_target (B,), score_drawn (B, K). A drawn column that is to
be passed over, such as the target itself, is -inf and contributes nothing.
"""

from __future__ import annotations

import math

from torch import Tensor

from recbole_lpo.core.objectives._pairs import check, log1p_sum_exp, margins, present_rivals, softplus
from recbole_lpo.core.precision import at_least_float32


def gbce(score_target: Tensor, score_drawn: Tensor, *, beta: float = 1.0) -> Tensor:
    """Generalised binary cross-entropy (gSASRec, Petrov & Macdonald, RecSys 2023, arXiv 2308.07192).

        L = (beta softplus(-s_w) + sum_l softplus(s_l)) / (K + 1)

    score_target  (B,)
    score_drawn   (B, K) of uniformly drawn items; -inf: absent, and not counted in K
    beta          (0, 1], from `gbce_beta`; 1 is the binary cross-entropy with K negatives
    returns       (B,) float32 or better, >= 0

    Against the overconfidence that few negatives cause, the target's own term counts less. The first published code
    moves the target's score in float64 so that an ordinary binary cross-entropy gives the same; here in closed form.
    In its PyTorch code the target may be among the drawn items, here it should be absent. A constant added to all
    scores does matter: sigmoid(score) itself is what is learned.
    """
    check(0 < beta <= 1, "beta", beta, "> 0 and <= 1 (power of the target's probability)")
    present = present_rivals(score_drawn)
    # A harmless score where there is none: its own gradient is cut off by the mask, an infinite one would leave NaN.
    drawn = softplus(at_least_float32(score_drawn).masked_fill(~present, 0.0)).masked_fill(~present, 0.0)
    own = beta * softplus(-at_least_float32(score_target))
    return (own + drawn.sum(dim=1)) / (present.sum(dim=1) + 1)


def gbce_beta(calibration: float, sampling_rate: float) -> float:
    """The beta of gBCE (arXiv 2308.07192): from its calibration t and the share a of the other items that is drawn.

        beta = a (t (1 - 1/a) + 1/a) = 1 - t (1 - a)

    calibration [0, 1]: 0 gives beta = 1, plain binary cross-entropy; 1 gives beta = a, fully calibrated probabilities.
    sampling_rate > 0: K by the number of items other than the target; beyond 1 (draws with repetition) taken as 1. The
    published PyTorch code subtracts 1 twice from the number of items.
    """
    check(0 <= calibration <= 1, "calibration", calibration, "from 0 to 1 (how much overconfidence is taken back)")
    check(0 < sampling_rate < math.inf, "sampling_rate", sampling_rate, "> 0 and finite (negatives by other items)")
    return 1 - calibration * (1 - min(sampling_rate, 1.0))


def sampled_softmax(score_target: Tensor, score_drawn: Tensor, log_draw_prob: Tensor | None = None) -> Tensor:
    """Cross-entropy of the target among K drawn items (Bengio & Senecal 2008; with logQ as in Yi et al., RecSys 2019).

        L = log(exp(s_w) + sum_l exp(s_l - log(K q_l))) - s_w

    score_target   (B,)
    score_drawn    (B, K); -inf: absent. K counts all draws, absent ones too
    log_draw_prob  (B, K) nats, log q of drawing each column in one draw with repetition. With it the sum is an unbiased
                   estimate of the catalogue's; None: no correction, every drawn item counts once
    returns        (B,) float32 or better, >= 0

    The target must be absent among the drawn: what is left of the draws then estimates the sum over all other items.
    Without the correction it is LPO on log-probabilities with tau = 1. A constant added to all scores does not matter.
    """
    present = present_rivals(score_drawn)
    drawn = at_least_float32(score_drawn)
    if log_draw_prob is not None:
        drawn = drawn - (log_draw_prob + math.log(max(1, drawn.shape[1]))).masked_fill(~present, 0.0)
    return log1p_sum_exp(-margins(score_target, drawn, present), present)
