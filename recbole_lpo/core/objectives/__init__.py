"""Preference objectives: pure functions of the chosen and the rejected items' log-probabilities.

Every one has the shape

    f(log_prob_chosen, log_prob_rejected, ref_log_prob_chosen=None, ref_log_prob_rejected=None, **hyper) -> loss

with (B,), (B, K), (B,), (B, K) in and (B,) out: unreduced, in nats, float32 or better. An absent rival is -inf and
contributes nothing. Those named in NEEDS_REFERENCE refuse to work without the log-probabilities of a reference policy,
the others do not read them.
"""

from recbole_lpo.core.objectives.dpo import dmpo, dpo, ipo, sdpo
from recbole_lpo.core.objectives.dynamicpo import dynamicpo
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.core.objectives.reference_free import bpr, cpo, mppo, orpo, simpo

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

__all__ = ["NEEDS_REFERENCE", "OBJECTIVES", "bpr", "cpo", "dmpo", "dpo", "dynamicpo", "ipo", "lpo", "mppo", "orpo"]
__all__ += ["sdpo", "simpo"]
