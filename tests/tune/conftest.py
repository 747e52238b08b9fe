"""Searches that the tests share."""

from __future__ import annotations

import pytest

from tests.conftest import SMALL

# Small enough that a trial takes a moment.
QUICK = {**SMALL, "metrics": ["NDCG", "TailNDCG"], "topk": [5], "epochs": 2, "n_layers": 1}


@pytest.fixture
def plan_for(toy):
    """Makes a plan on the small dataset; what is given goes before the defaults."""
    pytest.importorskip("optuna")
    from recbole_lpo.tune.plan import Plan
    from recbole_lpo.tune.space import Range

    def make(**changes):
        told = {
            "model": "SASRec",
            "dataset": "toy",
            "settings": {**QUICK, "data_path": toy["data_path"], **changes.pop("settings", {})},
            "space": {"learning_rate": Range(1e-4, 1e-1, log=True)},
            "objectives": ("NDCG@5",),
            "seeds": (1,),
            "pruner": "none",
            "sampler_seed": 7,
        }
        return Plan(**{**told, **changes})

    return make


@pytest.fixture
def storage(tmp_path):
    """Where a study of a test is kept."""
    return f"sqlite:///{tmp_path / 'study.db'}"
