"""LPO: listwise preference optimization (LPO4Rec, arXiv 2507.02255, Eq. 12)."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.precision import at_least_float32

SCORES = ("prob", "log_prob")
FORMS = ("paper", "published_code")


def lpo(
    log_prob_chosen: Tensor,
    log_prob_rejected: Tensor,
    ref_log_prob_chosen: Tensor | None = None,
    ref_log_prob_rejected: Tensor | None = None,
    *,
    tau: float = 0.1,
    score: str = "prob",
    form: str = "paper",
    rejected_weight: Tensor | None = None,
) -> Tensor:
    """Minus the log of the share that the chosen item holds among itself and its rivals.

        L = -log q,   q = exp(s_w / tau) / (exp(s_w / tau) + sum_l exp(s_l / tau))

    log_prob_chosen    (B,)    nats, normalised over the catalogue
    log_prob_rejected  (B, K)  nats; -inf marks an absent rival, which contributes nothing
    ref_log_prob_*             not used: LPO has no reference policy
    tau                > 0
    score              `prob`      s = the probability: Eq. 12 as printed
                       `log_prob`  s = the log-probability: what the derivation supports. Eq. 11 puts exp(r) for r under
                                   a proportional sign that does not hold; the bound applied to Eq. 10 itself gives this
                                   form, a sampled softmax, S-DPO without a reference and with beta = 1 / tau
    form               `paper`           L as above
                       `published_code`  the released code returns q itself and adds it to the loss that is minimised,
                                         so it lowers the chosen item: the opposite of Eq. 12. For comparison only
    rejected_weight    (B, K)  how often each rival counts, >= 0 (straight-through sampling); None: once each
    returns            (B,)    float32 or better, unreduced. `paper`: >= 0, log(1 + K) when all scores are equal

    With `prob` the gradient carries a factor of the target's own probability, so it fades for the very items that it
    is meant to lift; with `log_prob` it does not.
    """
    if tau <= 0:
        raise ValueError(f"tau = {tau}: must be > 0 (temperature of the list softmax).")
    if score not in SCORES:
        raise ValueError(f"score = {score!r}: must be one of {', '.join(SCORES)}.")
    if form not in FORMS:
        raise ValueError(f"form = {form!r}: must be one of {', '.join(FORMS)}.")
    chosen, rejected = at_least_float32(log_prob_chosen), at_least_float32(log_prob_rejected)
    if score == "prob":
        absent = torch.isneginf(rejected)
        chosen, rejected = chosen.exp(), rejected.exp().masked_fill(absent, -torch.inf)
    chosen, rejected = chosen[:, None] / tau, rejected / tau
    if rejected_weight is None:
        log_share = torch.log_softmax(torch.cat([chosen, rejected], dim=1), dim=1)[:, 0]
    else:
        counted = rejected.masked_fill(rejected_weight == 0, -torch.inf)
        highest = torch.cat([chosen, counted], dim=1).amax(dim=1, keepdim=True).detach()
        # A rival of weight 0 may stand far above all that count: the limit keeps the gradient of its weight finite.
        rivals = (rejected_weight * (rejected - highest).clamp(max=40).exp()).sum(dim=1)
        own = (chosen - highest)[:, 0]
        log_share = own - (own.exp() + rivals).log()
    return log_share.exp() if form == "published_code" else -log_share
