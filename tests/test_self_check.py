"""The checks of `recbole-lpo doctor`: they know the right numbers, and see what is broken."""

from __future__ import annotations

import functools
import math
import os
from statistics import mean

import pytest
import torch

from recbole_lpo import quick_start, self_check
from recbole_lpo.core import sampling, streamed_sampling, weighted_sampling
from recbole_lpo.core.objectives import LIKELIHOODS, OBJECTIVES
from tests.core.test_dynamicpo import slow as slow_dynamicpo

SCORES = (2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0)
COUNTS = (100, 50, 20, 10, 5, 2, 1)


def losses() -> dict[str, float]:
    """Every objective by its formula, in Python's own numbers: item 3 against items 1, 4 and 7."""

    def soft(x):
        return math.log1p(math.exp(x))

    def likelihood(scores):
        return math.log(sum(map(math.exp, scores))) - scores[2]

    log_sum = math.log(sum(map(math.exp, SCORES)))
    chosen, rivals = SCORES[2] - log_sum, [SCORES[place] - log_sum for place in (0, 3, 6)]
    p, q = math.exp(chosen), [math.exp(value) for value in rivals]
    gaps = [chosen - value for value in rivals]
    odds = [math.log(p / (1 - p)) - math.log(other / (1 - other)) for other in q]
    uniform = -math.log(7)
    nll = likelihood(SCORES)
    effective = [(1 - 0.99**count) / (1 - 0.99) for count in COUNTS]
    to_sum_of_items = 7 / sum(1 / number for number in effective)
    inverse = [min((count / 100) ** -0.5, 10) for count in COUNTS]
    to_mean_one = sum(COUNTS) / sum(count * weight for count, weight in zip(COUNTS, inverse, strict=True))
    prior = [math.log((count + 1) / sum(count + 1 for count in COUNTS)) for count in COUNTS]
    return {
        "lpo": math.log(sum(math.exp((other - p) / 0.1) for other in (p, *q))),
        "dpo": mean(0.9 * soft(-gap / 2) + 0.1 * soft(gap / 2) for gap in gaps),
        "sdpo": math.log(1 + sum(math.exp(-gap / 2) for gap in gaps)),
        "dmpo": soft(-mean(gaps) / 2),
        "dynamicpo": slow_dynamicpo(chosen, rivals, uniform, [uniform] * 3, beta=0.5),
        "simpo": mean(soft(1 - gap / 2) for gap in gaps),
        "orpo": mean(soft(-gap) for gap in odds),
        "cpo": mean(soft(-gap / 2) for gap in gaps),
        "ipo": mean((gap - 1) ** 2 for gap in gaps),
        "mppo": soft(-sum(p - other for other in q)),
        "bpr": mean(soft(-gap) for gap in gaps),
        "ce": nll,
        "weighted_ce": nll,
        "r2rec": nll,
        "logit_adjusted_ce": likelihood([score + bias for score, bias in zip(SCORES, prior, strict=True)]),
        "balanced_softmax": likelihood([score + math.log(n) for score, n in zip(SCORES, COUNTS, strict=True)]),
        "focal": (1 - p) ** 2 * nll,
        "class_balanced": nll * to_sum_of_items / effective[2],
        "ips": nll * inverse[2] * to_mean_one,
        "gbce": (soft(-SCORES[2]) + sum(soft(SCORES[place]) for place in (0, 3, 6))) / 4,
        "sampled_softmax": math.log(sum(math.exp(SCORES[place]) for place in (0, 2, 3, 6))) - SCORES[2],
    }


def test_every_known_loss_is_that_of_the_formula():
    assert set(self_check.LOSSES) == {*OBJECTIVES, *LIKELIHOODS}
    assert pytest.approx(losses(), abs=1e-6) == self_check.LOSSES


@pytest.mark.parametrize("name", [*OBJECTIVES, *LIKELIHOODS])
def test_a_known_loss_that_differs_is_named(name, monkeypatch):
    monkeypatch.setitem(self_check.LOSSES, name, self_check.LOSSES[name] + 1e-5)
    assert self_check.losses_are_right().startswith(f"{name} is ")


def test_a_softmax_that_is_off_is_found(monkeypatch):
    right = self_check.target_nll
    monkeypatch.setattr(self_check, "target_nll", lambda *args, **how: right(*args, **how) * 1.001)
    assert "chunked is 0.0" in self_check.softmax_is_right()


@pytest.mark.parametrize(
    ("module", "name"),
    [(sampling, "gumbel_top_k"), (weighted_sampling, "weighted_draw"), (streamed_sampling, "draw_from_scores")],
)
def test_a_sampler_with_other_weights_is_found(module, name, monkeypatch):
    right = getattr(module, name)

    def biased(*args, **how):
        drawn = right(*args, **how)
        return torch.where(torch.rand(drawn.shape) < 0.1, drawn.flip(1), drawn)

    monkeypatch.setattr(module, name, biased)
    assert self_check.draws_are_right().startswith(f"{name} draws ")


def test_a_model_that_does_not_learn_is_found(monkeypatch):
    monkeypatch.setattr(quick_start, "run", functools.partial(_with_settings, quick_start.run, learning_rate=0.0))
    assert self_check.a_run_is_right().startswith("the loss went from ")


def test_a_run_that_is_loaded_with_other_figures_is_found(monkeypatch):
    monkeypatch.setattr(quick_start, "evaluate", lambda folder: [{"test": {"hit@3": -1.0}}])
    assert self_check.a_run_is_right() == "the saved run has other figures when it is loaded again"


def _with_settings(run, model, dataset, files, settings, *, quiet, **changes):
    return run(model, dataset, files, {**settings, **changes}, quiet=quiet)


def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(self_check, "write_whole", refuse)
    assert self_check.a_file_can_be_written() == f"{os.getcwd()}: cannot be written to (Read-only file system)"
