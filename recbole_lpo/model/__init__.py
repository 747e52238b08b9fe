"""Models named `<Objective><Backbone>`: RecBole's backbone classes with a loss of ours.

A name is made into a class when it is first asked for, and only once: `recbole_lpo.model.LPOSASRec` is a subclass of
RecBole's SASRec, found again by pickle under this very name.
"""

from __future__ import annotations

from recbole_lpo.core.objectives import LIKELIHOODS
from recbole_lpo.model.backbones import BACKBONES, NO_BACKBONES
from recbole_lpo.model.likelihood import LikelihoodMixin
from recbole_lpo.model.preference import PreferenceMixin

# What stands in front of a backbone's name, and the objective that it means.
OBJECTIVE_NAMES = {
    "LPO": "lpo",
    "DPO": "dpo",
    "SDPO": "sdpo",
    "DMPO": "dmpo",
    "DynamicPO": "dynamicpo",
    "SimPO": "simpo",
    "ORPO": "orpo",
    "CPO": "cpo",
    "IPO": "ipo",
    "MPPO": "mppo",
    "BPR": "bpr",
    "CE": "ce",
    "WeightedCE": "weighted_ce",
    "R2Rec": "r2rec",
    "LogitAdjustedCE": "logit_adjusted_ce",
    "BalancedSoftmax": "balanced_softmax",
    "Focal": "focal",
    "ClassBalanced": "class_balanced",
    "IPS": "ips",
    "GBCE": "gbce",
    "SampledSoftmax": "sampled_softmax",
}


def model_names() -> list[str]:
    """Every name of ours, those on backbones of the user's own among them."""
    return [objective + backbone for objective in OBJECTIVE_NAMES for backbone in BACKBONES]


MODEL_NAMES = tuple(model_names())

__all__ = [*MODEL_NAMES]


def parts_of(name: str) -> tuple[str, str] | None:
    """(objective, backbone) of one of our names, as ("lpo", "SASRec"); None for any other name."""
    for prefix, objective in OBJECTIVE_NAMES.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in BACKBONES:
            return objective, name.removeprefix(prefix)
    return None


def refusal(name: str) -> str:
    """Why there is no such model of ours, where its name is an objective's and that of a model of RecBole; or ''."""
    for prefix in OBJECTIVE_NAMES:
        reason = NO_BACKBONES.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if reason:
            return (
                f"{name.removeprefix(prefix)} cannot be a backbone: {reason}. "
                f"{prefix} can be had on {', '.join(BACKBONES)}, as {prefix}SASRec."
            )
    return ""


def __getattr__(name: str) -> type:
    if name in BACKBONES:
        return BACKBONES[name][0]
    parts = parts_of(name)
    if parts is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    objective, backbone = parts
    base, encoder = BACKBONES[backbone]
    summary = f"RecBole's {backbone} trained with the objective `{objective}`; its scores are those of {backbone}."
    body = {"__module__": __name__, "__doc__": summary, "objective": objective}
    mixin = LikelihoodMixin if objective in LIKELIHOODS else PreferenceMixin
    model_class = type(name, (mixin, encoder, base), body)
    globals()[name] = model_class
    return model_class
