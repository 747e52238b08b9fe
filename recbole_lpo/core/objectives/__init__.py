"""Preference objectives: pure functions of the chosen and the rejected items' log-probabilities.

Every one has the shape

    f(log_prob_chosen, log_prob_rejected, ref_log_prob_chosen=None, ref_log_prob_rejected=None, **hyper) -> loss

with (B,), (B, K), (B,), (B, K) in and (B,) out: unreduced, in nats, float32 or better. An absent rival is -inf.
"""

from recbole_lpo.core.objectives.lpo import lpo

OBJECTIVES = {"lpo": lpo}

__all__ = ["OBJECTIVES", "lpo"]
