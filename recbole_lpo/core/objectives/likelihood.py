"""Likelihood objectives over the whole catalogue: what each of them changes in the cross-entropy of a row.

    row = item_weight(counts)[target] * row_loss(nll),   nll = -log softmax(scores + score_bias(counts))[target]

An objective changes one of the three parts. All are pure functions; counts (N,) are the training interactions of each
column of the score matrix, >= 0. A column that training never saw, and so the padding too, counts as met once: no
target falls on it, and a prior of 0 would leave it out of the softmax, so that nothing held its score down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recbole_lpo.core.item_softmax import log1mexp
from recbole_lpo.core.logit_adjustment import log_prior
from recbole_lpo.core.objectives._pairs import check
from recbole_lpo.core.precision import at_least_float32

# Below it a row weighs nothing, and the logarithm of 1 - p would have no finite slope.
_LEAST_NLL = 1e-20


def logit_adjustment_bias(counts: Tensor, *, strength: float = 1.0) -> Tensor:
    """Logit-adjusted cross-entropy (Menon et al., ICLR 2021, arXiv 2007.07314, Eq. 10): strength * log prior.

    counts    (N,)
    strength  >= 0, the paper's tau; 1 is consistent for the balanced error, 0 is plain cross-entropy
    returns   (N,) float32, to be added to the scores in training alone: ranking is by the scores as they are

    One interaction is added to every count, as in the post-hoc adjustment; the paper's classes all have some.
    """
    check(0 <= strength < math.inf, "strength", strength, ">= 0 and finite (how much of the log prior is added)")
    return strength * log_prior(counts)


def balanced_softmax_bias(counts: Tensor) -> Tensor:
    """Balanced softmax (Ren et al., NeurIPS 2020, arXiv 2007.10740): log n, the scores of training alone.

    counts (N,); returns (N,) float32. It is logit adjustment of strength 1 with the counts themselves as the prior; a
    count of 0, which the paper does not have, is taken for 1.
    """
    return counts.double().clamp(min=1).log().float()


def focal(nll: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017, arXiv 1708.02002, Eq. 4, without its class weight alpha).

        L = (1 - p)^gamma nll,   p = exp(-nll)

    nll      (B,) nats, >= 0
    gamma    >= 0; 2 in the paper, 0.5 to 5 tried there; 0 is plain cross-entropy
    returns  (B,) float32 or better

    It turns to the rows that the model gets wrong, of the head or of the tail; the counts play no part. The paper has
    a sigmoid for each class, here p comes from the softmax. Written with log(1 - p), so that for gamma < 1 the slope at
    p = 1, which is 0, is not 0 times infinity.
    """
    check(0 <= gamma < math.inf, "gamma", gamma, ">= 0 and finite (how much a likely target is passed over)")
    nll = at_least_float32(nll)
    return (gamma * log1mexp(-nll.clamp(min=_LEAST_NLL))).exp() * nll


def class_balanced_weights(counts: Tensor, *, beta: float = 0.99) -> Tensor:
    """Weights by the effective number of samples (Cui et al., CVPR 2019, arXiv 1901.05555).

        w_n = (1 - beta) / (1 - beta^count_n),   scaled to sum to the number of columns

    counts   (N,)
    beta     [0, 1); 0 weighs all alike, towards 1 the weight goes as 1 / count. Counts far beyond 1 / (1 - beta), 100
             at 0.99, weigh much alike. The paper tries 0.9 to 0.9999, for classes of thousands
    returns  (N,) float64
    """
    check(0 <= beta < 1, "beta", beta, ">= 0 and < 1 (1 / (1 - beta) is the count at which the weight levels off)")
    counts = counts.double().clamp(min=1)
    # 1 - beta^n without loss of digits where beta is near 1.
    effective = -torch.expm1(counts * (math.log(beta) if beta > 0 else -math.inf)) / (1 - beta)
    weight = 1 / effective
    return weight * (len(weight) / weight.sum())


def inverse_propensity_weights(counts: Tensor, *, power: float = 0.5, clip: float = 10.0) -> Tensor:
    """Inverse propensity weights (Schnabel et al., ICML 2016, arXiv 1602.05352), clipped and self-normalised.

        w_n = min((count_n / largest count)^-power, clip),   scaled so that the mean over training interactions is 1

    counts   (N,)
    power    >= 0; the propensity of an item is a power of its share of the most popular item's count, 0.5 in Saito et
             al. (WSDM 2020, arXiv 1909.03601); 0 weighs all alike, 1 gives every item of the catalogue the same say
    clip     >= 1; the largest weight in terms of the most popular item's: it bounds the variance
    returns  (N,) float64

    Self-normalised (Swaminathan & Joachims, NeurIPS 2015) over the training data, not over each batch, so that a row's
    weight does not depend on what else is in its batch.
    """
    check(0 <= power < math.inf, "power", power, ">= 0 and finite (exponent of the popularity)")
    check(1 <= clip < math.inf, "clip", clip, ">= 1 and finite (the largest weight)")
    counts = counts.double().clamp(min=1)
    weight = ((counts / counts.max()) ** -power).clamp(max=clip)
    return weight * (counts.sum() / (counts * weight).sum())
