"""Autograd's anomaly mode, which one of RecBole's model files turns on for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from recbole_lpo.compat.ledger import Outcome, Recipe

_kept = []


@contextmanager
def _keep_anomaly_mode() -> Iterator[None]:
    import torch

    before = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(before)
        _kept.append(before)


def leave_anomaly_mode_alone(sine: ModuleType) -> Outcome:
    """Without it every model of the process trains about half as fast.

    RecBole's `sine.py` calls `torch.autograd.set_detect_anomaly(True)` when it is imported, and importing any
    sequential model imports it: from then on every backward pass checks every gradient for NaN. The mode is put back to
    what it was. Numbers do not change.
    """
    import torch

    if not _kept:
        # The module was imported before this patch: nobody can tell whether the user wanted the mode as well.
        torch.autograd.set_detect_anomaly(False)
    return "applied", f"anomaly mode is {'on' if torch.is_anomaly_enabled() else 'off'}"


RECIPES = (
    Recipe("anomaly mode", "any", ("recbole.model.sequential_recommender.sine",), leave_anomaly_mode_alone,
           around=_keep_anomaly_mode),
)  # fmt: skip
