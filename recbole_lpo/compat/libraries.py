"""Names and methods that numpy, scipy and hyperopt gave up and RecBole still uses, and warnings about its own code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

from recbole_lpo.compat.ledger import Outcome, Recipe
from recbole_lpo.compat.versions import at_least, installed

_NUMPY_1_NAMES = {"float_": "float64", "complex_": "complex128", "unicode_": "str_"}
_UPDATES_DOK_MATRIX = (
    "recbole.model.general_recommender.lightgcn",
    "recbole.model.general_recommender.ngcf",
    "recbole.model.general_recommender.ncl",
    "recbole.model.general_recommender.spectralcf",
    "recbole.model.general_recommender.gcmc",
    "recbole.model.knowledge_aware_recommender.kgin",
    "recbole.model.knowledge_aware_recommender.mcclk",
)
# Start of the message, category, module that the warning points at; texts are regular expressions.
_WARNINGS_ABOUT_RECBOLE = (
    (r"`torch\.cuda\.amp\.GradScaler\(", FutureWarning, r"recbole\.trainer\."),
    (r"A value is trying to be set on a copy of a DataFrame or Series", FutureWarning, r"recbole\.data\."),
    (r"using <.*> in Series\.agg cannot aggregate", FutureWarning, r"recbole\.data\."),
    (r"torch\.sparse\.SparseTensor\(", UserWarning, r"recbole\.model\."),
)


def supply_numpy_names(recbole: ModuleType) -> Outcome:
    """Without it no Config can be made, and metrics and Interaction fail where none was made before.

    RecBole's Config sets old names of numpy types (np.float and others) from names that numpy 2 dropped. The missing
    ones are set, then RecBole's own `compatibility_settings` is called once.
    """
    import numpy

    missing = [name for name in _NUMPY_1_NAMES if not hasattr(numpy, name)]
    for name in missing:
        setattr(numpy, name, getattr(numpy, _NUMPY_1_NAMES[name]))
    from recbole.config.configurator import Config

    Config.compatibility_settings(Config)
    given = ", ".join(f"np.{name}" for name in missing) or "none missing"
    return "applied", f"names for numpy {numpy.__version__}: {given}; RecBole's own settings called"


def supply_dok_update(model: ModuleType) -> Outcome:
    """Without it the graph models LightGCN, NGCF, NCL, SpectralCF, GCMC, KGIN and MCCLK cannot be built.

    They fill their adjacency matrix through `dok_matrix._update`, which scipy 1.13 dropped.
    """
    from scipy.sparse import dok_matrix

    if getattr(dok_matrix, "_update", _update_dok_matrix) is not _update_dok_matrix:
        return "not needed", "scipy.sparse.dok_matrix has its own _update"
    dok_matrix._update = _update_dok_matrix
    return "applied", "scipy.sparse.dok_matrix got an _update"


def give_exhaustive_search_a_generator(hyper_tuning: ModuleType) -> Outcome:
    """Without it HyperTuning(algo="exhaustive") fails at its first trial.

    It hands hyperopt a numpy RandomState, on which hyperopt since 0.2.6 calls a method that only a numpy Generator has.
    The module sees a numpy whose `random.RandomState(seed)` gives a Generator; numpy itself stays as it is.
    """
    import numpy

    numpy_for_recbole = _stands_in_for(numpy)
    numpy_for_recbole.random = _stands_in_for(numpy.random)
    numpy_for_recbole.random.RandomState = numpy.random.default_rng
    hyper_tuning.np = numpy_for_recbole
    return "applied", "recbole.trainer.hyper_tuning draws from a numpy Generator"


def silence_warnings_about_recbole(recbole: ModuleType) -> Outcome:
    """Without it torch and pandas warn of RecBole's own code, which the user cannot change.

    Exactly these messages are silenced, and only when they point at RecBole's modules. Filters that the user sets
    (python -W, PYTHONWARNINGS, warnings.simplefilter) come first.
    """
    for message, category, module in _WARNINGS_ABOUT_RECBOLE:
        warnings.filterwarnings("ignore", message=message, category=category, module=module, append=True)
    return "applied", f"{len(_WARNINGS_ABOUT_RECBOLE)} messages about RecBole's own code are not shown"


def _update_dok_matrix(matrix: Any, entries: Mapping[tuple[int, int], Any]) -> None:
    """Set many entries at once, unchecked, as scipy's own method did."""
    matrix._dict.update(entries)


def _stands_in_for(module: ModuleType) -> ModuleType:
    """A module that hands every name it does not hold on to `module` (PEP 562)."""
    stand_in = ModuleType(module.__name__)
    stand_in.__getattr__ = partial(getattr, module)
    return stand_in


def _hyperopt_takes_random_state() -> str:
    version = installed("hyperopt")
    if version is None:
        return "hyperopt is not installed"
    return "" if at_least(version, (0, 2, 6)) else f"hyperopt {version} takes a RandomState"


RECIPES = (
    Recipe("quiet", "torch >= 2.4, pandas >= 2.1", ("recbole",), silence_warnings_about_recbole),
    Recipe("numpy names", "names: numpy >= 2; settings: any numpy", ("recbole",), supply_numpy_names),
    Recipe("sparse update", "scipy >= 1.13", _UPDATES_DOK_MATRIX, supply_dok_update),
    Recipe(
        "exhaustive search",
        "hyperopt >= 0.2.6",
        ("recbole.trainer.hyper_tuning",),
        give_exhaustive_search_a_generator,
        _hyperopt_takes_random_state,
    ),
)
