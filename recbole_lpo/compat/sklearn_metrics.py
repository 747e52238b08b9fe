"""scikit-learn at the top of RecBole's metrics, imported when one of them is computed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from recbole_lpo.compat.ledger import Outcome, Recipe
from recbole_lpo.compat.stand_ins import standing_in

_USED = ("auc", "mean_absolute_error", "mean_squared_error")


class _MetricsStandIn(ModuleType):
    """A `sklearn.metrics` of the functions that RecBole takes from it, each of which imports the real one."""

    def __init__(self) -> None:
        super().__init__("sklearn.metrics")
        for name in _USED:
            setattr(self, name, _imported_when_called(name))


def _imported_when_called(name: str) -> Callable[..., Any]:
    def metric(*args: Any, **settings: Any) -> Any:
        return getattr(importlib.import_module("sklearn.metrics"), name)(*args, **settings)

    metric.__name__ = metric.__qualname__ = name
    return metric


@contextmanager
def sklearn_can_wait() -> Iterator[None]:
    """`from sklearn.metrics import ...` inside imports nothing, unless scikit-learn is imported already."""
    if "sklearn" in sys.modules:
        yield
        return
    sklearn = ModuleType("sklearn")
    sklearn.metrics = _MetricsStandIn()
    with standing_in(sklearn, sklearn.metrics):
        yield


def import_sklearn_when_needed(metrics: ModuleType) -> Outcome:
    """Without it every command imports scikit-learn: 0.7 s and 70 MB, for AUC, MAE and RMSE alone."""
    if metrics.sk_auc.__module__ != __name__:
        return "not needed", "scikit-learn was imported already"
    return "applied", "AUC, MAE and RMSE import scikit-learn when they are computed"


RECIPES = (
    Recipe(
        "scikit-learn",
        "any",
        ("recbole.evaluator.metrics",),
        import_sklearn_when_needed,
        around=sklearn_can_wait,
    ),
)
