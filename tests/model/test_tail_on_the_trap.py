"""The popularity trap: which objectives put the right tail item before the likelier popular one.

After each cue a popular item has probability 0.6, the right tail item 0.4 (dataset/README.md). Cross-entropy learns
just that; both items are among its first ten, so what tells objectives apart is the first place, tail HR@1. An
objective passes where it turns 0.4 against 0.6 round.
"""

from __future__ import annotations

import functools

import pytest

import recbole_lpo
from recbole_lpo.core.objectives import NEEDS_REFERENCE, OBJECTIVES
from recbole_lpo.model import OBJECTIVE_NAMES
from tests.conftest import ROOT

# A small SASRec for 20 epochs: long enough to find the second tail item of a triple, too short to overfit.
SETTINGS = {
    "dataset": "popularity-trap", "data_path": str(ROOT / "dataset"), "seed": 2020, "epochs": 20, "eval_step": 20,
    "hidden_size": 32, "inner_size": 64, "n_layers": 1, "n_heads": 2, "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2, "learning_rate": 0.003, "train_batch_size": 512, "topk": [1, 10],
    "valid_metric": "NDCG@10", "show_progress": False,
}  # fmt: skip
# One rival, the head item that the model scores best, which on the trap is the popular item itself. A logistic loss of
# weight lambda then turns the odds of the tail item, 0.4 to 0.6, into 0.4 (1 + lambda) to 0.6; beside a reference that
# knows the odds, and on probabilities, its pull is weaker. The defaults, uniform rivals at weight 0.5, are too weak.
HARDEST = (("pref_negatives", "head_top_k"), ("pref_num_rejected", 1), ("pref_weight", 3.0))
# Objectives whose default strength, 0.1, suits language models; the margin that IPO asks for is 1 / (2 beta).
WEAK = {"dpo": (("pref_beta", 1.0),), "cpo": (("pref_beta", 1.0),)}
FOR_THE_TAIL = ("WeightedCE", "R2Rec", "LogitAdjustedCE", "BalancedSoftmax", "ClassBalanced", "IPS")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains a model on the trap, each but once, and gives its test metrics and its run folder."""
    folder = tmp_path_factory.mktemp("trap")

    @functools.cache
    def run(name, changes=()):
        run_dir = folder / f"{name}-{len(list(folder.iterdir()))}"
        found = recbole_lpo.run(name, config_dict={**SETTINGS, **dict(changes), "run_dir": str(run_dir)}, quiet=True)
        return found["test"], str(run_dir)

    return run


def tail_hit_at_1(trained, prefix, changes=()):
    return trained(f"{prefix}SASRec", changes)[0]["tailhit@1"]


@pytest.fixture(scope="module")
def plain(trained):
    """What cross-entropy reaches; in 70 more epochs it stays below 0.21."""
    return tail_hit_at_1(trained, "CE")


def test_cross_entropy_finds_the_tail_item_but_does_not_put_it_first(trained, plain):
    assert trained("CESASRec")[0]["tailhit@10"] > 0.95
    assert plain < 0.3


@pytest.mark.parametrize("prefix", ["LPO", *FOR_THE_TAIL])
def test_an_objective_for_the_tail_puts_its_items_first_by_its_default_settings(prefix, trained, plain):
    assert tail_hit_at_1(trained, prefix) > plain + 0.4


@pytest.mark.parametrize("prefix", [name for name, objective in OBJECTIVE_NAMES.items() if objective in OBJECTIVES])
def test_a_preference_over_the_best_scored_head_item_puts_tail_items_first(prefix, trained, plain):
    objective = OBJECTIVE_NAMES[prefix]
    changes = (*HARDEST, ("tail_reweight", False), *WEAK.get(objective, ()))
    if objective in NEEDS_REFERENCE:
        changes = (*changes, ("pref_reference", trained("CESASRec")[1]))
    assert tail_hit_at_1(trained, prefix, changes) > plain + 0.1


def test_r2rec_still_finds_the_tail_after_its_vectors_were_drawn_anew(trained, plain):
    assert tail_hit_at_1(trained, "R2Rec", (("likelihood_reembed_epoch", 5),)) > plain + 0.1
