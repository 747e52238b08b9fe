"""The files of a search space that RecBole's HyperTuning reads, without the code that they may hold."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from recbole_lpo.compat.ledger import Outcome, Recipe


def read_space_files_as_data(hyper_tuning: ModuleType) -> Outcome:
    """Without it HyperTuning(params_file=...) runs whatever code the values of a `choice` hold.

    It hands them to `eval`, and passes over lines that it does not understand. The file is read as `recbole-lpo tune`
    reads it; the space that hyperopt gets is the same.
    """
    hyper_tuning.HyperTuning._build_space_from_file = staticmethod(_space_for_hyperopt)
    return "applied", "HyperTuning reads literals, and refuses lines that it does not understand"


def _space_for_hyperopt(file: str) -> dict[str, Any]:
    from hyperopt import hp

    from recbole_lpo.tune.recbole_space import read_recbole_space
    from recbole_lpo.tune.space import Choice

    space = {}
    for name, one in read_recbole_space(file).items():
        if isinstance(one, Choice):
            space[name] = hp.choice(name, list(one.values))
        elif one.log:
            space[name] = hp.loguniform(name, math.log(one.low), math.log(one.high))
        elif one.step is not None:
            space[name] = hp.quniform(name, one.low, one.high, one.step)
        else:
            space[name] = hp.uniform(name, one.low, one.high)
    return space


RECIPES = (Recipe("space files", "any", ("recbole.trainer.hyper_tuning",), read_space_files_as_data),)
