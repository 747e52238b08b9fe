"""`from ray import tune` at the top of RecBole's quick_start, where ray is missing, broken, or of today."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from recbole_lpo.compat.ledger import Outcome, Recipe
from recbole_lpo.compat.stand_ins import standing_in
from recbole_lpo.compat.versions import at_least

_REPORT_TAKES_A_DICT = (2, 7)


class _TuneStandIn(ModuleType):
    """A `ray.tune` that takes reports and drops them: what ray itself does outside a tuning session."""

    def __init__(self, reason: str) -> None:
        super().__init__("ray.tune", f"Stands in for ray.tune in recbole.quick_start: {reason}.")
        self.reason = reason

    def report(self, *args: Any, **metrics: Any) -> None:
        """Do nothing."""


class _TuneOfToday(ModuleType):
    """Today's `ray.tune`, with a `report` that takes keyword arguments, as RecBole calls it."""

    def __init__(self, tune: ModuleType) -> None:
        super().__init__("ray.tune", tune.__doc__)
        self._tune = tune
        self._report = _report_of_a_dict(tune)

    def report(self, **metrics: Any) -> None:
        """Report the metrics as the one dict that ray asks for."""
        self._report(metrics)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tune, name)


@contextmanager
def tune_can_be_imported() -> Iterator[None]:
    """`from ray import tune` works inside: with the real one where it can be imported, else with a stand-in."""
    reason = _why_tune_cannot_be_imported()
    if not reason:
        yield
        return
    ray = ModuleType("ray")
    ray.tune = _TuneStandIn(reason)
    with standing_in(ray, ray.tune):
        yield


def give_quick_start_a_tune(quick_start: ModuleType) -> Outcome:
    """Without it recbole.quick_start cannot be imported, or its objective_function fails in today's ray.

    It imports ray.tune at its top, for one call. ray 2.6.3, which RecBole asks for, does not exist for Python 3.12 and
    fails to import beside today's setuptools and numpy; later ones take reports in another form. Where ray.tune cannot
    be imported, that one module gets a stand-in, which is gone before anything else can see it.
    """
    tune = quick_start.tune
    if isinstance(tune, _TuneStandIn):
        return "applied", f"a stand-in for ray.tune, as {tune.reason}"
    version = getattr(sys.modules.get("ray"), "__version__", None)
    if not at_least(version, _REPORT_TAKES_A_DICT):
        return "not needed", f"ray {version} takes RecBole's reports"
    quick_start.tune = _TuneOfToday(tune)
    return "applied", f"ray {version} gets RecBole's reports as a dict"


def _why_tune_cannot_be_imported() -> str:
    """An empty text where it is imported by now. What a failed import left behind is taken away again."""
    if "ray" not in sys.modules and importlib.util.find_spec("ray") is None:
        return "ray is not installed"
    before = set(sys.modules)
    try:
        with _numpy_bool8():
            from ray import tune  # noqa: F401
    except Exception as error:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "ray":
                del sys.modules[name]
        return f"the installed ray cannot be imported ({type(error).__name__}: {error})"
    return ""


@contextmanager
def _numpy_bool8() -> Iterator[None]:
    """ray 2.6 reads np.bool8 while it is imported; numpy 2 has no such name."""
    import numpy

    if "bool8" in vars(numpy):
        yield
        return
    numpy.bool8 = numpy.bool_
    try:
        yield
    finally:
        del numpy.bool8


def _report_of_a_dict(tune: ModuleType) -> Callable[[dict[str, Any]], None]:
    report = getattr(tune, "report", None)
    if report is not None and "metrics" in inspect.signature(report).parameters:
        return report
    # From ray 2.7 to 2.42 ray.tune has none, or one that only tells to use this one.
    from ray import train

    return train.report


RECIPES = (
    Recipe(
        "ray",
        "ray missing, not importable, or >= 2.7",
        ("recbole.quick_start.quick_start",),
        give_quick_start_a_tune,
        around=tune_can_be_imported,
    ),
)
