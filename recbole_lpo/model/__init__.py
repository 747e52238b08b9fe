"""Models named `<Objective><Backbone>`: RecBole's backbone classes with a loss of ours.

A name is made into a class when it is first asked for, and only once: `recbole_lpo.model.LPOSASRec` is a subclass of
RecBole's SASRec, found again by pickle under this very name.
"""

from __future__ import annotations

from recbole_lpo.core.objectives import LIKELIHOODS, NEEDS_REFERENCE
from recbole_lpo.model.backbones import BACKBONES, NO_BACKBONES
from recbole_lpo.model.cities import CITIESMixin
from recbole_lpo.model.likelihood import LikelihoodMixin
from recbole_lpo.model.melt import MELTMixin
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
# Methods that give rare items other vectors: what stands in front of a backbone's name, and their settings file.
TRANSFER_NAMES = {"CITIES": "cities", "MELT": "melt"}
_TRANSFERS = {"CITIES": CITIESMixin, "MELT": MELTMixin}
# Those that begin with a trained model: they compare with it, or change what it has learned.
WITH_REFERENCE = NEEDS_REFERENCE | {*TRANSFER_NAMES.values()}


def names_on(backbone: str) -> list[str]:
    """Every name of ours on a backbone."""
    _, encoder = BACKBONES[backbone]
    transfers = [prefix for prefix, mixin in _TRANSFERS.items() if not mixin.unfit(encoder)]
    return [prefix + backbone for prefix in (*OBJECTIVE_NAMES, *transfers)]


def model_names() -> list[str]:
    """Every name of ours, those on backbones of the user's own among them."""
    return [name for backbone in BACKBONES for name in names_on(backbone)]


MODEL_NAMES = tuple(model_names())

__all__ = [*MODEL_NAMES]


def parts_of(name: str) -> tuple[str, str] | None:
    """(method, backbone) of one of our names, as ("lpo", "SASRec"); None for any other name."""
    for prefix, method in (OBJECTIVE_NAMES | TRANSFER_NAMES).items():
        backbone = name.removeprefix(prefix)
        if name.startswith(prefix) and backbone in BACKBONES and name in names_on(backbone):
            return method, backbone
    return None


def refusal(name: str) -> str:
    """Why there is no such model of ours, where its name is an objective's and that of a model of RecBole; or ''."""
    for prefix in (*OBJECTIVE_NAMES, *TRANSFER_NAMES):
        backbone = name.removeprefix(prefix)
        if not name.startswith(prefix):
            continue
        here, reason = "", NO_BACKBONES.get(backbone)
        if backbone in BACKBONES and name not in names_on(backbone):
            here, reason = f" of {prefix}", _TRANSFERS[prefix].unfit(BACKBONES[backbone][1])
        if reason:
            there = [other for other in BACKBONES if prefix + other in names_on(other)]
            return (
                f"{backbone} cannot be a backbone{here}: {reason}. "
                f"{prefix} can be had on {', '.join(there)}, as {prefix}SASRec."
            )
    return ""


def __getattr__(name: str) -> type:
    if name in BACKBONES:
        return BACKBONES[name][0]
    parts = parts_of(name)
    if parts is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    method, backbone = parts
    base, encoder = BACKBONES[backbone]
    prefix = name.removesuffix(backbone)
    if prefix in _TRANSFERS:
        mixin, own = _TRANSFERS[prefix], {}
        summary = f"RecBole's {backbone}, trained before, with vectors of rare items by `{method}`."
    else:
        mixin, own = LikelihoodMixin if method in LIKELIHOODS else PreferenceMixin, {"objective": method}
        summary = f"RecBole's {backbone} trained with the objective `{method}`; its scores are those of {backbone}."
    body = {"__module__": __name__, "__doc__": summary, **own}
    model_class = type(name, (mixin, encoder, base), body)
    globals()[name] = model_class
    return model_class
