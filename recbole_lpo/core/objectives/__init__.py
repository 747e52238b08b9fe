"""Objectives: pure functions of what a model can supply without probabilities of the whole catalogue.

Preference objectives (OBJECTIVES) take the chosen and the rejected items' log-probabilities. Every one has the shape

    f(log_prob_chosen, log_prob_rejected, ref_log_prob_chosen=None, ref_log_prob_rejected=None, **hyper) -> loss

with (B,), (B, K), (B,), (B, K) in and (B,) out: unreduced, in nats, float32 or better. An absent rival is -inf and
contributes nothing. Those named in NEEDS_REFERENCE refuse to work without the log-probabilities of a reference policy,
the others do not read them.

Likelihood objectives (LIKELIHOODS) stand in the place of the cross-entropy. One of them changes the cross-entropy over
the catalogue in one part (`likelihood.py`) or scores the target among drawn columns (`sampled_likelihood.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recbole_lpo.core.objectives.dpo import dmpo, dpo, ipo, sdpo
from recbole_lpo.core.objectives.dynamicpo import dynamicpo
from recbole_lpo.core.objectives.likelihood import (
    balanced_softmax_bias,
    class_balanced_weights,
    focal,
    inverse_propensity_weights,
    logit_adjustment_bias,
)
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.core.objectives.reference_free import bpr, cpo, mppo, orpo, simpo
from recbole_lpo.core.objectives.sampled_likelihood import gbce, sampled_softmax

OBJECTIVES = {
    "lpo": lpo,
    "dpo": dpo,
    "sdpo": sdpo,
    "dmpo": dmpo,
    "dynamicpo": dynamicpo,
    "simpo": simpo,
    "orpo": orpo,
    "cpo": cpo,
    "ipo": ipo,
    "mppo": mppo,
    "bpr": bpr,
}
NEEDS_REFERENCE = frozenset({"dpo", "sdpo", "dmpo", "dynamicpo", "ipo"})


@dataclass(frozen=True)
class Likelihood:
    """What a likelihood objective does to a row; a part that is None leaves the cross-entropy as it is.

    score_bias   counts (N,) -> (N,) added to the scores of the catalogue in training
    item_weight  counts (N,) -> (N,) how much a row counts by its target
    row_loss     nll (B,) -> (B,)
    sampled      scores of the target (B,) and of drawn columns (B, K) -> (B,), in place of all of these

    Each takes the objective's hyper-parameters by name.
    """

    score_bias: Callable[..., Tensor] | None = None
    item_weight: Callable[..., Tensor] | None = None
    row_loss: Callable[..., Tensor] | None = None
    sampled: Callable[..., Tensor] | None = None


# `weighted_ce` and `r2rec` are the cross-entropy under the row weights of `core.weighting`.
LIKELIHOODS = {
    "ce": Likelihood(),
    "weighted_ce": Likelihood(),
    "r2rec": Likelihood(),
    "logit_adjusted_ce": Likelihood(score_bias=logit_adjustment_bias),
    "balanced_softmax": Likelihood(score_bias=balanced_softmax_bias),
    "focal": Likelihood(row_loss=focal),
    "class_balanced": Likelihood(item_weight=class_balanced_weights),
    "ips": Likelihood(item_weight=inverse_propensity_weights),
    "gbce": Likelihood(sampled=gbce),
    "sampled_softmax": Likelihood(sampled=sampled_softmax),
}

__all__ = ["LIKELIHOODS", "NEEDS_REFERENCE", "OBJECTIVES", "Likelihood", "bpr", "cpo", "dmpo", "dpo", "dynamicpo"]
__all__ += ["ipo", "lpo", "mppo", "orpo", "sdpo", "simpo"]
