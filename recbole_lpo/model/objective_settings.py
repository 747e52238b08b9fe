"""Which settings an objective reads, and what may not be combined with it."""

from __future__ import annotations

from typing import Any

from recbole_lpo.core.objectives import NEEDS_REFERENCE
from recbole_lpo.errors import InputError
from recbole_lpo.settings import LikelihoodSettings, LossSettings

_HYPER = {
    "lpo": {"tau": "pref_tau", "score": "pref_score", "form": "pref_form"},
    "dpo": {"beta": "pref_beta", "label_smoothing": "pref_label_smoothing", "robust": "pref_robust"},
    "sdpo": {"beta": "pref_beta"},
    "dmpo": {"beta": "pref_beta"},
    "dynamicpo": {
        "beta": "pref_beta",
        "base": "pref_dynamic_base",
        "margin": "pref_dynamic_margin",
        "scale": "pref_dynamic_scale",
    },
    "simpo": {"beta": "pref_beta", "gamma": "pref_gamma"},
    "orpo": {},
    "cpo": {"beta": "pref_beta"},
    "ipo": {"beta": "pref_beta"},
    "mppo": {},
    "bpr": {},
    "ce": {},
    "weighted_ce": {},
    "r2rec": {},
    "logit_adjusted_ce": {"strength": "likelihood_adjust_strength"},
    "balanced_softmax": {},
    "focal": {"gamma": "likelihood_gamma"},
    "class_balanced": {"beta": "likelihood_beta"},
    "ips": {"power": "likelihood_ips_power", "clip": "likelihood_ips_clip"},
    # What these two need beside depends on the catalogue and on the draw: `model.likelihood`.
    "gbce": {},
    "sampled_softmax": {},
}


def hyper_of(objective: str, settings: LossSettings | LikelihoodSettings) -> dict[str, Any]:
    """The keyword arguments of an objective's function, from the settings of its kind."""
    return {name: getattr(settings, key) for name, key in _HYPER[objective].items()}


def check_combination(model: str, objective: str, settings: LossSettings, *, takes_reference: bool) -> None:
    """Raise InputError for settings that the objective cannot work with; takes_reference: whether pref_reference means
    anything to the model."""
    if settings.pref_straight_through and objective != "lpo":
        raise InputError(
            f"pref_straight_through = True: {model} does not take the weights that a gradient through the draw needs; "
            "only LPO does. Set it to False."
        )
    if settings.pref_reference is not None and not takes_reference:
        raise InputError(
            f"pref_reference = {settings.pref_reference}: {model} has no reference policy. Leave it out; the "
            f"objectives that have one are {', '.join(sorted(NEEDS_REFERENCE))}."
        )
